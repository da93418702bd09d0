import numpy as np
import pytest
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
    chosen = SELECTORS[selection](np.array(rows, np.float32), top_n, None)
    assert chosen.tolist() == [oracles.select(row, top_n, selection) for row in rows]


def test_literals():
    logits = np.array([[0.5, -1.0, 2.0, 2.0], [4.0, 3.0, 2.0, 1.0]])
    assert select_descending(logits, 3).tolist() == [[2, 3, 0], [0, 1, 2]]
    assert select_ascending(logits, 3).tolist() == [[1, 0, 2], [3, 2, 1]]


def test_many_equal_logits_keep_their_order():
    logits = np.zeros((2, 200))
    assert select_descending(logits, 200).tolist() == [list(range(200))] * 2
    assert select_ascending(logits, 200).tolist() == [list(range(200))] * 2


@pytest.mark.parametrize("selection", SELECTORS)
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("top_n", [0, 1, 5])
def test_shape_type_and_distinctness(selection, batch, top_n):
    chosen = SELECTORS[selection](np.random.default_rng(0).standard_normal((batch, 5)), top_n, None)
    assert chosen.shape == (batch, top_n)
    assert chosen.dtype == np.int64
    for row in chosen.tolist():
        assert len(set(row)) == top_n
        assert set(row) <= set(range(5))


def test_random_is_uniform_over_ordered_pairs():
    draws, categories = 20_000, 5
    chosen = select_random(np.zeros((draws, categories)), 2, np.random.default_rng(1))
    assert (chosen[:, 0] != chosen[:, 1]).all()
    counts = np.bincount(chosen[:, 0] * categories + chosen[:, 1], minlength=25).reshape(5, 5)
    expected = draws / 20
    spread = (expected * (1 - 1 / 20)) ** 0.5
    assert counts.diagonal().tolist() == [0] * 5
    assert np.abs(counts[~np.eye(5, dtype=bool)] - expected).max() < 5 * spread


def test_random_follows_its_generator():
    logits = np.zeros((4, 50))
    one, again, other = (
        select_random(logits, 10, np.random.default_rng(seed)).tolist() for seed in (3, 3, 4)
    )
    assert one == again
    assert one != other
    assert select_random(logits, 10).tolist() != select_random(logits, 10).tolist()


def test_random_ignores_the_logits():
    one, other = (
        select_random(logits, 3, np.random.default_rng(0)).tolist()
        for logits in (np.zeros((2, 9)), np.arange(18.0).reshape(2, 9))
    )
    assert one == other
