import numpy as np
import pytest

from didvit.inspection import incidence
from didvit.inspection.incidence import Incidence


def random_matrix(rng, rows, columns):
    """A matrix of zeros and ones with rows that have none, few or many ones."""
    return rng.random((rows, columns)) < rng.choice([0, 0.2, 0.9], (rows, 1))


def sparse(matrix):
    columns = {c: c for c in range(matrix.shape[1])}
    return Incidence.of_items([np.flatnonzero(row).tolist() for row in matrix], columns)


@pytest.fixture(params=[1, 7, 1 << 22])
def entries(request, monkeypatch):
    monkeypatch.setattr(incidence, "ENTRIES", request.param)


SHAPES = [(1, 1), (5, 3), (30, 12), (4, 0), (0, 4)]


@pytest.mark.parametrize("shape", SHAPES)
def test_against_a_dense_matrix(shape, entries):
    rng = np.random.default_rng(0)
    matrix = random_matrix(rng, *shape)
    rows = rng.integers(shape[0], size=40) if shape[0] else np.empty(0, int)
    group, weights = rng.integers(4, size=len(rows)), rng.integers(9, size=len(rows))
    for times in (None, weights):
        expected = np.zeros((4, shape[1]), int)
        for i, row in enumerate(rows):
            expected[group[i]] += matrix[row] * (1 if times is None else times[i])
        sums = sparse(matrix).sums(rows, group, 4, times)
        assert sums.dtype == np.int64
        np.testing.assert_array_equal(sums, expected)
    np.testing.assert_array_equal(sparse(matrix).column_sums, matrix.sum(0))


@pytest.mark.parametrize("shape", SHAPES)
def test_transposed(shape):
    matrix = random_matrix(np.random.default_rng(1), *shape)
    place, column = sparse(matrix).transposed.entries(np.arange(shape[1]))
    assert list(zip(place.tolist(), column.tolist(), strict=True)) == [
        (c, r) for c in range(shape[1]) for r in range(shape[0]) if matrix[r, c]
    ]


def test_rows_may_come_several_times_and_in_any_order():
    matrix = Incidence.of_items(["ab", "", "c"], {"a": 0, "b": 1, "c": 2})
    place, column = matrix.entries(np.array([2, 0, 1, 0]))
    assert place.tolist() == [0, 1, 1, 3, 3]
    assert column.tolist() == [2, 0, 1, 0, 1]
