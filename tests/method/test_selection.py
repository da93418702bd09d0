import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import oracles
from didvit.method.selection import SELECTORS, select_ascending, select_descending, select_random


@pytest.mark.parametrize("selection", ["descending", "ascending"])
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_equals_the_loop(selection, data):
    """Small whole numbers, so that ties are common."""
    categories = data.draw(st.integers(1, 9))
    top_n = data.draw(st.integers(0, categories))
    rows = data.draw(
        st.lists(
            st.lists(st.integers(-3, 3), min_size=categories, max_size=categories),
            min_size=1,
            max_size=3,
        )
    )
    chosen = SELECTORS[selection](torch.tensor(rows, dtype=torch.float32), top_n, None)
    assert chosen.tolist() == [oracles.select(row, top_n, selection) for row in rows]


def test_literals():
    logits = torch.tensor([[0.5, -1.0, 2.0, 2.0], [4.0, 3.0, 2.0, 1.0]])
    assert select_descending(logits, 3).tolist() == [[2, 3, 0], [0, 1, 2]]
    assert select_ascending(logits, 3).tolist() == [[1, 0, 2], [3, 2, 1]]


def test_many_equal_logits_keep_their_order():
    logits = torch.zeros(2, 200)
    assert select_descending(logits, 200).tolist() == [list(range(200))] * 2
    assert select_ascending(logits, 200).tolist() == [list(range(200))] * 2


@pytest.mark.parametrize("selection", SELECTORS)
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("top_n", [0, 1, 5])
def test_shape_type_and_distinctness(selection, batch, top_n):
    chosen = SELECTORS[selection](torch.randn(batch, 5), top_n, None)
    assert chosen.shape == (batch, top_n)
    assert chosen.dtype == torch.int64
    for row in chosen.tolist():
        assert len(set(row)) == top_n
        assert set(row) <= set(range(5))


def test_random_is_uniform_over_ordered_pairs():
    draws, categories = 20_000, 5
    generator = torch.Generator().manual_seed(1)
    chosen = select_random(torch.zeros(draws, categories), 2, generator)
    assert (chosen[:, 0] != chosen[:, 1]).all()
    counts = torch.bincount(chosen[:, 0] * categories + chosen[:, 1], minlength=25).view(5, 5)
    expected = draws / 20
    spread = (expected * (1 - 1 / 20)) ** 0.5
    assert counts.diagonal().tolist() == [0] * 5
    assert (counts[~torch.eye(5, dtype=torch.bool)] - expected).abs().max() < 5 * spread


def test_random_follows_its_generator():
    logits = torch.randn(4, 50)
    one, again, other = (
        select_random(logits, 10, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_random_without_a_generator_follows_torchs_own():
    logits = torch.randn(4, 50)
    torch.manual_seed(3)
    one = select_random(logits, 10)
    torch.manual_seed(3)
    assert torch.equal(select_random(logits, 10), one)
    assert not torch.equal(select_random(logits, 10), one)


def test_random_ignores_the_logits():
    one, other = (
        select_random(logits, 3, torch.Generator().manual_seed(0))
        for logits in (torch.zeros(2, 9), torch.randn(2, 9))
    )
    assert torch.equal(one, other)
