import numpy as np
import pytest

from didvit.data.findings import FEW
from didvit.inspection import cooccurrence
from didvit.inspection.cooccurrence import Cooccurrence, LabelPair
from didvit.inspection.incidence import Incidence


def of_targets(targets) -> Cooccurrence:
    """Each image is a group of its own."""
    targets = np.array(targets)
    n, C = targets.shape
    labels = tuple(f"label {c}" for c in range(C))
    present, unknown = (incidence(part) for part in (targets == 1, targets < 0))
    return Cooccurrence(labels, present, np.arange(n), unknown)


def incidence(matrix) -> Incidence:
    columns = {c: c for c in range(matrix.shape[1])}
    return Incidence.of_items([np.flatnonzero(row).tolist() for row in matrix], columns)


def pairs_by_loops(targets) -> list[LabelPair]:
    pairs = []
    for a in range(len(targets[0])):
        for b in range(len(targets[0])):
            both = sum(row[a] == 1 and row[b] == 1 for row in targets)
            given = sum(row[a] == 1 and row[b] >= 0 for row in targets)
            if both and a != b:
                pairs.append(LabelPair(f"label {a}", f"label {b}", both, both / given))
    return pairs


@pytest.fixture(params=[2, 64])
def block(request, monkeypatch):
    monkeypatch.setattr(cooccurrence, "BLOCK", request.param)


@pytest.fixture
def targets():
    return np.random.default_rng(0).choice([-1, 0, 0, 1], (40, 9))


def test_matrix_against_loops(targets):
    columns = [4, 0, 7]
    together, conditional = of_targets(targets).matrix(columns)
    for i, a in enumerate(columns):
        for j, b in enumerate(columns):
            both = sum(row[a] == 1 and row[b] == 1 for row in targets)
            given = sum(row[a] == 1 and row[b] >= 0 for row in targets)
            assert together[i, j] == both
            assert conditional[i, j] == both / given


def test_images_may_share_a_group():
    """The same counts, whether images with the same unknown labels are one group or several."""
    rng = np.random.default_rng(1)
    kinds = rng.random((3, 9)) < 0.3
    group = rng.integers(3, size=40)
    targets = np.where(kinds[group], -1, rng.integers(2, size=(40, 9)))
    labels = tuple(f"label {c}" for c in range(9))
    shared = Cooccurrence(labels, incidence(targets == 1), group, incidence(kinds))
    assert shared.frequent_pairs(99) == of_targets(targets).frequent_pairs(99)
    for one, other in zip(
        shared.matrix(range(9)), of_targets(targets).matrix(range(9)), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_matrix_where_nothing_is_known():
    _, conditional = of_targets([[1, -1]]).matrix([0, 1])
    np.testing.assert_array_equal(conditional, [[1, np.nan], [np.nan, np.nan]])


@pytest.mark.parametrize("count", [1, 5, 1000])
def test_frequent_pairs_against_loops(targets, block, count):
    expected = [pair for pair in pairs_by_loops(targets) if pair.label < pair.other]
    expected.sort(key=lambda pair: (-pair.num_images, -pair.probability))
    assert of_targets(targets).frequent_pairs(count) == expected[:count]


@pytest.mark.parametrize("count", [1, 5, 1000])
def test_strongest_pairs_against_loops(targets, block, count):
    number = {f"label {c}": n for c, n in enumerate((targets == 1).sum(0))}
    assert min(number.values()) < FEW < max(number.values())
    expected = [pair for pair in pairs_by_loops(targets) if number[pair.label] >= FEW]
    expected.sort(key=lambda pair: (-pair.probability, -pair.num_images))
    assert of_targets(targets).strongest_pairs(count) == expected[:count]


def test_equal_pairs_stay_in_the_order_of_labels(block):
    pairs = of_targets(np.ones((FEW, 4), int)).strongest_pairs(3)
    assert [(pair.label, pair.other) for pair in pairs] == [
        ("label 0", "label 1"),
        ("label 0", "label 2"),
        ("label 0", "label 3"),
    ]


def test_most_frequent():
    assert of_targets([[0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0]]).most_frequent(3) == [2, 3, 1]


def test_no_pairs():
    assert of_targets([[1, 0], [0, 1]]).frequent_pairs(9) == []
    assert of_targets([[1, 0], [0, 1]]).strongest_pairs(9) == []
