import math

import numpy as np
import pytest
import torch

from didvit.heads.labels import LabelStatistics, co_occurrence_of, conditional_probabilities
from didvit.heads.ssgrl import SSGRLHead


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def slow_coefficients(tokens, embeddings, U, V, P, f_a):
    """One per category and location; every matrix is stored output by input."""
    coefficients = np.zeros((len(embeddings), len(tokens)))
    for c, label in enumerate(embeddings):
        for n, token in enumerate(tokens):
            joint = P @ np.tanh((U @ token) * (V @ label))
            coefficients[c, n] = (f_a @ joint).item()
    return coefficients


def slow_features(tokens, coefficients):
    features = np.zeros((len(coefficients), tokens.shape[1]))
    for c, row in enumerate(coefficients):
        total = sum(math.exp(value) for value in row)
        for n, token in enumerate(tokens):
            features[c] += math.exp(row[n]) / total * token
    return features


def slow_probabilities(counts):
    size = len(counts)
    return np.array(
        [
            [counts[i][j] / counts[i][i] if counts[i][i] else 0.0 for j in range(size)]
            for i in range(size)
        ]
    )


def slow_step(nodes, edges, W, U_gates, U):
    """A message in and out of every node, then the gates, node by node."""
    width = nodes.shape[1]
    W_z, W_r, W_h = W[:width], W[width : 2 * width], W[2 * width :]
    U_z, U_r = U_gates[:width], U_gates[width:]
    updated = np.zeros_like(nodes)
    for c, node in enumerate(nodes):
        incoming, outgoing = np.zeros(width), np.zeros(width)
        for other, state in enumerate(nodes):
            incoming += edges[c, other] * state
            outgoing += edges[other, c] * state
        message = np.concatenate([incoming, outgoing])
        z = sigmoid(W_z @ message + U_z @ node)
        r = sigmoid(W_r @ message + U_r @ node)
        candidate = np.tanh(W_h @ message + U @ (r * node))
        updated[c] = (1 - z) * node + z * candidate
    return updated


def slow_head(tokens, statistics, parameters, steps):
    """Maps and logits of one image's ``(D, h, w)`` tokens."""
    locations = tokens.reshape(len(tokens), -1).T
    coefficients = slow_coefficients(
        locations,
        statistics.embeddings.double().numpy(),
        *(parameters[f"attention.{name}.weight"] for name in ("feature", "label", "joint")),
        parameters["attention.coefficient.weight"],
    )
    features = slow_features(locations, coefficients)
    edges = slow_probabilities(statistics.co_occurrence.tolist())
    nodes = features
    for _ in range(steps):
        nodes = slow_step(
            nodes,
            edges,
            *(parameters[f"gate.{name}.weight"] for name in ("messages", "gates", "candidate")),
        )
    logits = np.zeros(len(nodes))
    for c in range(len(nodes)):
        both = np.concatenate([nodes[c], features[c]])
        output = np.tanh(parameters["output.weight"] @ both + parameters["output.bias"])
        logits[c] = parameters["classifiers.weight"][c] @ output + parameters["classifiers.bias"][c]
    return coefficients.reshape(len(nodes), *tokens.shape[1:]), logits


def random_statistics(categories, width=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, 2, (12, categories), generator=generator)
    embeddings = torch.randn(categories, width, generator=generator)
    return LabelStatistics(co_occurrence_of(targets), embeddings)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("categories", [1, 4])
@pytest.mark.parametrize("grid", [(1, 1), (2, 3)])
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_equals_the_loop(batch, categories, grid, steps, randomized):
    statistics = random_statistics(categories)
    head = randomized(SSGRLHead(4, statistics, steps=steps)).double()
    tokens = torch.randn(batch, 4, *grid, dtype=torch.float64)
    output = head(tokens)
    parameters = {name: value.detach().numpy() for name, value in head.named_parameters()}
    for image in range(batch):
        maps, logits = slow_head(tokens[image].numpy(), statistics, parameters, steps)
        torch.testing.assert_close(output.semantic_maps[image], torch.from_numpy(maps))
        torch.testing.assert_close(output.logits[image], torch.from_numpy(logits))


def test_literal_probabilities():
    counts = torch.tensor([[2.0, 1.0, 0.0], [1.0, 4.0, 0.0], [0.0, 0.0, 0.0]])
    expected = [[1.0, 0.5, 0.0], [0.25, 1.0, 0.0], [0.0, 0.0, 0.0]]
    assert conditional_probabilities(counts).tolist() == expected


def test_hidden_is_half_of_the_tokens_width():
    assert SSGRLHead(6, random_statistics(2)).attention.joint.weight.shape == (3, 3)
    assert SSGRLHead(6, random_statistics(2), hidden=8).attention.joint.weight.shape == (8, 8)


@pytest.mark.parametrize(("steps", "reached"), [(0, [1]), (1, [0, 1, 2]), (3, [0, 1, 2, 3])])
def test_messages_go_one_edge_a_step_and_both_ways(steps, reached, randomized):
    """The chain 0 - 1 - 2 - 3, and 4 alone; node 1 is changed."""
    counts = 4 * torch.eye(5)
    for a, b in ((0, 1), (1, 2), (2, 3)):
        counts[a, b] = counts[b, a] = 1
    head = randomized(SSGRLHead(4, LabelStatistics(counts, torch.randn(5, 3)), steps=steps))
    nodes = torch.randn(1, 5, 4)
    moved = nodes.clone()
    moved[0, 1] += 1
    changed = (head.propagate(nodes) != head.propagate(moved)).any(-1)[0]
    assert changed.nonzero().flatten().tolist() == reached


def test_map_is_larger_where_the_category_attends():
    """One location only decides the feature when its coefficient is far above the others."""
    head = SSGRLHead(2, random_statistics(1), hidden=1, steps=0)
    with torch.no_grad():
        head.attention.feature.weight.copy_(torch.tensor([[10.0, 0.0]]))
        head.attention.label.weight.copy_(head.label_embeddings)  # a positive product
        head.attention.joint.weight.fill_(1)
        head.attention.coefficient.weight.fill_(50)
    tokens = torch.tensor([[[[-1.0, 1.0, -1.0]], [[7.0, 3.0, -5.0]]]])
    maps = head(tokens).semantic_maps
    assert maps.flatten().argmax().item() == 1
    features = maps.flatten(2).softmax(-1) @ tokens.flatten(2).mT
    torch.testing.assert_close(features, torch.tensor([[[1.0, 3.0]]]))


def test_gradient_reaches_tokens_and_every_parameter(randomized):
    head, tokens = randomized(SSGRLHead(4, random_statistics(3))), torch.randn(2, 4, 2, 3)
    head(tokens.requires_grad_()).logits.square().sum().backward()
    assert tokens.grad.abs().sum() > 0
    for name, parameter in head.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


def test_saved_head_restores_itself_from_zeros():
    statistics = random_statistics(3)
    head = SSGRLHead(4, statistics)
    zeros = LabelStatistics(torch.zeros(3, 3), torch.zeros(3, 5))
    restored = SSGRLHead(4, zeros)
    tokens = torch.randn(2, 4, 3, 2)
    assert restored(tokens).logits.isfinite().all()
    restored.load_state_dict(head.state_dict())
    torch.testing.assert_close(restored(tokens), head(tokens), rtol=0, atol=0)
    torch.testing.assert_close(restored.co_occurrence, statistics.co_occurrence)
    torch.testing.assert_close(restored.label_embeddings, statistics.embeddings)
    assert not zeros.co_occurrence.any()  # the caller's tensors are his own
    assert not zeros.embeddings.any()


def test_grid_may_vary_from_call_to_call(randomized):
    head = randomized(SSGRLHead(4, random_statistics(3)))
    patch = torch.randn(1, 4, 1, 1)
    one = head(patch)
    many = head(patch.expand(1, 4, 3, 5))
    assert many.semantic_maps.shape == (1, 3, 3, 5)
    torch.testing.assert_close(many.logits, one.logits)
    torch.testing.assert_close(many.semantic_maps, one.semantic_maps.expand(1, 3, 3, 5))


def test_defaults_are_the_papers_steps_and_half_the_width():
    head = SSGRLHead(8, LabelStatistics(torch.ones(3, 3), torch.randn(3, 5)))
    assert (head.steps, head.attention.joint.out_features) == (3, 4)
