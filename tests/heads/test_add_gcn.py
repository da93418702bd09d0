import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from didvit.heads.add_gcn import ADDGCNHead, DynamicGraph, StaticGraph, category_representations
from oracles import sigmoid

SHAPES = [  # batch, D, C, E, grid
    (1, 1, 1, 1, (1, 1)),
    (1, 4, 3, 2, (2, 3)),
    (3, 6, 4, 5, (3, 2)),
    (2, 5, 1, 3, (1, 4)),
    (2, 3, 5, 4, (1, 1)),
]


def leaky(value):
    return value if value >= 0 else 0.2 * value


def slow_linear(vector, weight, bias=None):
    """Each output is the sum of the inputs times the weights of its row."""
    return [
        sum(w * x for w, x in zip(row, vector, strict=True)) + (0.0 if bias is None else bias[i])
        for i, row in enumerate(weight)
    ]


def slow_representations(activations, features):
    """``v_c = Σ_ij σ(activation_c,ij) x'_ij / (h w)``."""
    categories, height, width = activations.shape
    result = np.zeros((categories, len(features)))
    for c in range(categories):
        for y in range(height):
            for x in range(width):
                for e in range(len(features)):
                    result[c, e] += sigmoid(activations[c, y, x]) * features[e, y, x]
    return result / (height * width)


def slow_propagate(adjacency, nodes, weight):
    """``LeakyReLU(A · nodes · W)``, for every node and channel."""
    updated = [slow_linear(node, weight) for node in nodes]
    return np.array(
        [
            [
                leaky(sum(a * u[e] for a, u in zip(row, updated, strict=True)))
                for e in range(len(weight))
            ]
            for row in adjacency
        ]
    )


def slow_dynamic_adjacency(nodes, state):
    mean = [sum(node[e] for node in nodes) / len(nodes) for e in range(nodes.shape[1])]
    context = slow_linear(
        mean, state["dynamic_graph.context.weight"], state["dynamic_graph.context.bias"]
    )
    context = [leaky(value) for value in context]
    rows = []
    for node in nodes:
        row = slow_linear([*node, *context], state["dynamic_graph.correlation.weight"])
        rows.append([sigmoid(value) for value in row])
    return rows


def slow_head(tokens, state):
    """Maps and logits of one image, straight from the paper's formulas."""
    width, height = tokens.shape[2], tokens.shape[1]
    maps = np.zeros((len(state["activation.weight"]), height, width))
    features = np.zeros((len(state["transform.weight"]), height, width))
    for y in range(height):
        for x in range(width):
            token = tokens[:, y, x]
            maps[:, y, x] = slow_linear(token, state["activation.weight"][:, :, 0, 0])
            features[:, y, x] = slow_linear(
                token, state["transform.weight"][:, :, 0, 0], state["transform.bias"]
            )
    v = slow_representations(maps, features)
    h = v + slow_propagate(state["static_graph.adjacency"], v, state["static_graph.update.weight"])
    z = v + slow_propagate(
        slow_dynamic_adjacency(h, state), h, state["dynamic_graph.update.weight"]
    )
    logits = []
    for c in range(len(maps)):
        s_m = max(maps[c, y, x] for y in range(height) for x in range(width))
        s_r = slow_linear(z[c], state["classifiers.weight"])[c] + state["classifiers.bias"][c]
        logits.append((s_m + s_r) / 2)
    return maps, np.array(logits)


@pytest.mark.parametrize(("batch", "width", "categories", "hidden", "grid"), SHAPES)
def test_equals_the_loop(batch, width, categories, hidden, grid, randomized):
    head = randomized(ADDGCNHead(width, categories, hidden).double())
    state = {name: value.numpy() for name, value in head.state_dict().items()}
    tokens = torch.randn(batch, width, *grid, dtype=torch.float64)
    output = head(tokens)
    for image in range(batch):
        maps, logits = slow_head(tokens[image].numpy(), state)
        torch.testing.assert_close(output.semantic_maps[image], torch.from_numpy(maps))
        torch.testing.assert_close(output.logits[image], torch.from_numpy(logits))


def test_representations_by_hand():
    # Sigmoids 1/2 and 3/4 weigh the features (2, 10) and (4, 20): (4, 20) in all, of 2 places.
    activations = torch.tensor([[[[0.0, math.log(3)]]]])
    features = torch.tensor([[[[2.0, 4.0]], [[10.0, 20.0]]]])
    vectors = category_representations(activations, features)
    torch.testing.assert_close(vectors, torch.tensor([[[2.0, 10.0]]]))


def test_more_patches_of_the_same_give_the_same_logits():
    head, tokens = ADDGCNHead(6, 4), torch.randn(2, 6, 2, 3)
    finer = tokens.repeat_interleave(2, -1).repeat_interleave(2, -2)
    torch.testing.assert_close(head(finer).logits, head(tokens).logits)


def test_static_graph_by_hand():
    graph = StaticGraph(1, 2)
    graph.load_state_dict(
        {
            "adjacency": torch.tensor([[0.0, 1.0], [2.0, 0.0]]),
            "update.weight": torch.tensor([[3.0]]),
        }
    )
    # The first receives 3·(-5) = -15, of which a fifth is left; the second 2·3·1 = 6.
    related = graph(torch.tensor([[[1.0], [-5.0]]]))
    torch.testing.assert_close(related, torch.tensor([[[1.0 - 3.0], [-5.0 + 6.0]]]))


@given(seed=st.integers(0, 10_000), categories=st.integers(1, 5), width=st.integers(1, 4))
def test_the_dynamic_graph_is_the_images_own(seed, categories, width):
    generator = torch.Generator().manual_seed(seed)
    graph, nodes = (
        DynamicGraph(width, categories),
        torch.randn(3, categories, width, generator=generator),
    )
    adjacency = graph.adjacency(nodes)
    assert adjacency.shape == (3, categories, categories)
    assert ((adjacency > 0) & (adjacency < 1)).all()
    torch.testing.assert_close(graph.adjacency(nodes[1:2]), adjacency[1:2])
    assert not torch.equal(adjacency[0], adjacency[1])


def test_a_row_of_the_dynamic_graph_follows_its_own_category():
    """Without global context, changing one category changes its row of A_D and no other."""
    graph, nodes = DynamicGraph(2, 3), torch.randn(1, 3, 2)
    torch.nn.init.zeros_(graph.context.weight)
    before = graph.adjacency(nodes)[0]
    nodes[0, 1] += 1
    changed = (graph.adjacency(nodes)[0] != before).any(1)
    assert changed.tolist() == [False, True, False]


def test_the_score_of_the_maps_is_their_maximum():
    head = ADDGCNHead(4, 3)
    for parameter in head.classifiers.parameters():
        torch.nn.init.zeros_(parameter)
    maps, logits = head(torch.randn(2, 4, 3, 2))
    torch.testing.assert_close(logits, maps.flatten(2).max(-1).values / 2)


def test_width_is_half_of_the_tokens():
    assert ADDGCNHead(10, 3).transform.out_channels == 5
    assert ADDGCNHead(10, 3, 7).transform.out_channels == 7


def test_no_images_have_no_logits():
    assert ADDGCNHead(6, 4)(torch.randn(0, 6, 2, 3)).logits.shape == (0, 4)


def test_an_image_does_not_depend_on_its_batch():
    head, tokens = ADDGCNHead(6, 4).train(), torch.randn(3, 6, 2, 2)
    torch.testing.assert_close(head(tokens[:1]).logits, head(tokens).logits[:1])


def test_patches_may_stand_anywhere():
    """The order of the patches changes the places of the maps' values and nothing else."""
    head, tokens = ADDGCNHead(6, 4), torch.randn(2, 6, 2, 3)
    turned = tokens.flip(-1).transpose(-1, -2)  # another grid too
    output, moved = head(tokens), head(turned)
    torch.testing.assert_close(moved.logits, output.logits)
    torch.testing.assert_close(moved.semantic_maps, output.semantic_maps.flip(-1).transpose(-1, -2))


@pytest.mark.parametrize("categories", [1, 4])
def test_gradient_reaches_the_tokens_and_every_parameter(categories):
    head, tokens = ADDGCNHead(6, categories), torch.randn(1, 6, 2, 3, requires_grad=True)
    head(tokens).logits.sum().backward()
    gradients = {"tokens": tokens.grad, **{n: p.grad for n, p in head.named_parameters()}}
    assert [name for name, grad in gradients.items() if grad is None or not grad.any()] == []


def test_saved_and_loaded_it_is_the_same():
    head, other, tokens = ADDGCNHead(6, 4), ADDGCNHead(6, 4), torch.randn(2, 6, 3, 3)
    assert not torch.equal(other(tokens).logits, head(tokens).logits)
    other.load_state_dict(head.state_dict())
    assert torch.equal(other(tokens).logits, head(tokens).logits)
    assert torch.equal(other(tokens).semantic_maps, head(tokens).semantic_maps)
