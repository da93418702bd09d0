import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from didvit.heads.labels import LabelStatistics, co_occurrence_of
from didvit.heads.ml_gcn import MLGCNHead, correlation_graph


def slow_graph(counts, threshold, reweight):
    """Conditional probabilities, binary, re-weighted, normalized: one entry at a time."""
    categories = range(len(counts))

    def edge(i, j):
        return i != j and counts[i][i] > 0 and counts[i][j] / counts[i][i] >= threshold

    weights = np.zeros((len(counts), len(counts)))
    for i in categories:
        degree = sum(edge(i, j) for j in categories)
        for j in categories:
            if i == j:
                weights[i, j] = 1 - reweight
            elif edge(i, j):
                weights[i, j] = reweight / degree
    normalized = np.zeros_like(weights)
    for i in categories:
        for j in categories:
            normalized[i, j] = weights[i, j] / math.sqrt(sum(weights[i]) * sum(weights[j]))
    return normalized


def slow_convolution(graph, nodes, weight):
    """``Â H W``; ``weight`` is stored output by input."""
    result = np.zeros((len(nodes), len(weight)))
    for i in range(len(nodes)):
        for out in range(len(weight)):
            for j in range(len(nodes)):
                for k in range(nodes.shape[1]):
                    result[i, out] += graph[i, j] * nodes[j, k] * weight[out, k]
    return result


def slow_head(tokens, graph, embeddings, weight1, weight2):
    """Maps and logits of one image's ``(D, h, w)`` tokens."""
    hidden = slow_convolution(graph, embeddings, weight1)
    hidden = np.where(hidden > 0, hidden, 0.2 * hidden)
    classifiers = slow_convolution(graph, hidden, weight2)
    maps = np.zeros((len(classifiers), *tokens.shape[1:]))
    logits = np.zeros(len(classifiers))
    for c, classifier in enumerate(classifiers):
        for d, weight in enumerate(classifier):
            maps[c] += weight * tokens[d]
            logits[c] += weight * max(tokens[d].flatten())
    return maps, logits


def random_statistics(categories, width=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, 2, (12, categories), generator=generator)
    embeddings = torch.randn(categories, width, generator=generator)
    return LabelStatistics(co_occurrence_of(targets), embeddings)


target_tables = st.integers(1, 5).flatmap(
    lambda categories: st.lists(
        st.lists(st.integers(0, 1), min_size=categories, max_size=categories), min_size=1
    )
)


@given(target_tables, st.sampled_from([0.1, 0.4, 1.0]), st.sampled_from([0.0, 0.2, 0.7]))
def test_graph_equals_the_loop(targets, threshold, reweight):
    counts = co_occurrence_of(torch.tensor(targets)).double()
    graph = correlation_graph(counts, threshold, reweight)
    expected = slow_graph(counts.tolist(), threshold, reweight)
    torch.testing.assert_close(graph, torch.from_numpy(expected))


def test_literal_graph():
    """Where the cup is there is always a table, where the table is a cup in 1 of 4; no ball."""
    counts = torch.tensor([[2.0, 2.0, 0.0], [2.0, 8.0, 0.0], [0.0, 0.0, 0.0]])
    graph = correlation_graph(counts, threshold=0.4, reweight=0.2)
    # A' = [[0.8, 0.2, 0], [0, 0.8, 0], [0, 0, 0.8]], its row sums 1, 0.8 and 0.8.
    expected = torch.tensor([[0.8, 0.2 / 0.8**0.5, 0], [0, 1, 0], [0, 0, 1]])
    torch.testing.assert_close(graph, expected)


def test_edge_at_the_threshold_stays():
    counts = torch.tensor([[4.0, 2.0], [2.0, 8.0]])
    assert correlation_graph(counts, 0.5, 0.2)[0, 1] > 0
    assert correlation_graph(counts, 0.51, 0.2)[0, 1] == 0


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("categories", [1, 4])
@pytest.mark.parametrize("grid", [(1, 1), (2, 3)])
def test_equals_the_loop(batch, categories, grid):
    statistics = random_statistics(categories)
    head = MLGCNHead(4, statistics, hidden=3).double()
    tokens = torch.randn(batch, 4, *grid, dtype=torch.float64)
    output = head(tokens)
    graph = slow_graph(statistics.co_occurrence.tolist(), 0.4, 0.2)
    weights = [parameter.detach().numpy() for parameter in head.parameters()]
    for image in range(batch):
        maps, logits = slow_head(
            tokens[image].numpy(), graph, statistics.embeddings.double().numpy(), *weights
        )
        torch.testing.assert_close(output.semantic_maps[image], torch.from_numpy(maps))
        torch.testing.assert_close(output.logits[image], torch.from_numpy(logits))


def test_label_reaches_the_classifier_of_its_neighbor_alone():
    """Label 1 is likely where label 0 is; nothing else is connected."""
    counts = torch.tensor([[2.0, 2.0, 0.0], [2.0, 8.0, 0.0], [0.0, 0.0, 3.0]])
    head = MLGCNHead(4, LabelStatistics(counts, torch.randn(3, 5)), hidden=6)
    before = head.classifiers()
    head.label_embeddings[1] += 1
    changed = (head.classifiers() != before).any(1)
    assert changed.tolist() == [True, True, False]


def test_gradient_reaches_tokens_and_every_parameter():
    head, tokens = MLGCNHead(4, random_statistics(3), hidden=6), torch.randn(2, 4, 2, 3)
    head(tokens.requires_grad_()).logits.square().sum().backward()
    assert tokens.grad.abs().sum() > 0
    for name, parameter in head.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


def test_saved_head_restores_itself_from_zeros():
    statistics = random_statistics(3)
    head = MLGCNHead(4, statistics, hidden=6)
    zeros = LabelStatistics(torch.zeros(3, 3), torch.zeros(3, 5))
    restored = MLGCNHead(4, zeros, hidden=6)
    tokens = torch.randn(2, 4, 3, 2)
    assert restored(tokens).logits.tolist() == torch.zeros(2, 3).tolist()  # finite, before loading
    restored.load_state_dict(head.state_dict())
    torch.testing.assert_close(restored(tokens), head(tokens), rtol=0, atol=0)
    torch.testing.assert_close(restored.co_occurrence, statistics.co_occurrence)
    torch.testing.assert_close(restored.label_embeddings, statistics.embeddings)
    assert not zeros.co_occurrence.any()  # the caller's tensors are his own
    assert not zeros.embeddings.any()


def test_grid_may_vary_from_call_to_call():
    head = MLGCNHead(4, random_statistics(3), hidden=6)
    patch = torch.randn(1, 4, 1, 1)
    one = head(patch)
    many = head(patch.expand(1, 4, 3, 5))
    assert many.semantic_maps.shape == (1, 3, 3, 5)
    torch.testing.assert_close(many.logits, one.logits)
    torch.testing.assert_close(many.semantic_maps, one.semantic_maps.expand(1, 3, 3, 5))


@pytest.mark.parametrize(
    ("setting", "value"),
    [("threshold", 0.0), ("threshold", 1.1), ("reweight", -0.1), ("reweight", 1.0)],
)
def test_setting_out_of_range(setting, value):
    with pytest.raises(ValueError, match=rf"{setting} is {value}; expected a number in"):
        MLGCNHead(4, random_statistics(3), **{setting: value})
