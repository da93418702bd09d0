import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import oracles
from didvit.method.rollout import NORMALIZATIONS, attention_rollout, column_step


def random_attentions(seed, depth, batch, tokens):
    generator = torch.Generator().manual_seed(seed)
    scores = 2 * torch.randn(depth, batch, tokens, tokens, generator=generator)
    return list(scores.double().softmax(-1))


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize(
    ("grid", "prefix", "has_class_token"),
    [
        ((2, 3), 1, True),
        ((3, 2), 5, True),
        ((1, 4), 2, True),
        ((2, 3), 0, False),
        ((3, 1), 2, False),
        ((1, 1), 1, True),
    ],
)
def test_equals_the_full_product(normalization, batch, depth, grid, prefix, has_class_token):
    attentions = random_attentions(depth, depth, batch, prefix + grid[0] * grid[1])
    spatial_map = attention_rollout(
        attentions, grid, prefix, has_class_token, NORMALIZATIONS[normalization]
    )
    assert spatial_map.shape == (batch, *grid)
    for image in range(batch):
        expected = oracles.rollout(
            [attention[image].numpy() for attention in attentions],
            grid,
            prefix,
            has_class_token,
            normalization,
        )
        torch.testing.assert_close(spatial_map[image], torch.from_numpy(expected))


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@given(seed=st.integers(0, 10_000), tokens=st.integers(2, 6))
@settings(max_examples=25, deadline=None)
def test_step_is_a_product_with_a_matrix_whose_lines_sum_to_one(normalization, seed, tokens):
    """Rebuild G from the step, one unit row at a time: columns (or rows) sum to 1."""
    (attention,) = random_attentions(seed, 1, 1, tokens)
    step = NORMALIZATIONS[normalization]
    factor = torch.cat([step(row[None], attention) for row in torch.eye(tokens).double()])
    oracle = oracles.rollout_factor(attention[0].numpy(), normalization)
    lines = 0 if normalization == "column" else 1
    np.testing.assert_allclose(oracle.sum(lines), 1)
    torch.testing.assert_close(factor.sum(lines), torch.ones(tokens).double())
    torch.testing.assert_close(factor, torch.from_numpy(oracle))


def test_row_normalization_keeps_the_total():
    attentions = random_attentions(0, 5, 2, 6)
    spatial_map = attention_rollout(attentions, (2, 3), 0, False, NORMALIZATIONS["row"])
    torch.testing.assert_close(spatial_map.sum((-2, -1)), torch.ones(2).double())


def test_later_layer_stands_on_the_left():
    """The class token attends to patch 1 in the last block, patch 1 to patch 2 in the first."""
    first, last = torch.eye(3)[None].clone(), torch.eye(3)[None].clone()
    last[0, 0] = torch.tensor([0.0, 1.0, 0.0])
    first[0, 1] = torch.tensor([0.0, 0.0, 1.0])
    rows = NORMALIZATIONS["row"]
    # e·G_2 = [1/2, 1/2, 0]; times G_1: patch 1 keeps 1/4 and gives 1/4 to patch 2.
    assert attention_rollout([first, last], (1, 2), normalization=rows).tolist() == [[[0.25, 0.25]]]
    assert attention_rollout([last, first], (1, 2), normalization=rows).tolist() == [[[0.5, 0.0]]]


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_the_other_order_is_that_of_the_blocks_reversed(normalization):
    attentions, step = random_attentions(4, 3, 2, 7), NORMALIZATIONS[normalization]
    ascending = attention_rollout(attentions, (2, 3), normalization=step, order="ascending")
    assert torch.equal(ascending, attention_rollout(attentions[::-1], (2, 3), normalization=step))
    assert not torch.allclose(ascending, attention_rollout(attentions, (2, 3), normalization=step))


def test_defaults_are_one_class_token_and_columns():
    attentions = random_attentions(3, 2, 1, 7)
    default = attention_rollout(attentions, (2, 3))
    assert torch.equal(default, attention_rollout(attentions, (2, 3), 1, True, column_step))
    assert not torch.allclose(
        default, attention_rollout(attentions, (2, 3), normalization=NORMALIZATIONS["row"])
    )


def test_attention_is_neither_changed_nor_trained_through():
    attentions = [attention.requires_grad_() for attention in random_attentions(0, 2, 1, 5)]
    before = [attention.detach().clone() for attention in attentions]
    assert not attention_rollout(attentions, (2, 2)).requires_grad
    assert all(torch.equal(*pair) for pair in zip(before, attentions, strict=True))


def test_own_step_is_used():
    attentions = random_attentions(0, 3, 2, 5)
    spatial_map = attention_rollout(attentions, (2, 2), normalization=lambda row, _: row + 1)
    assert spatial_map.tolist() == [[[3.0, 3.0], [3.0, 3.0]]] * 2
