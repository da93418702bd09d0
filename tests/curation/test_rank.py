import numpy as np

from didvit.curation.rank import CANDIDATES, rank


def ranked(probabilities, features=None, budget=10, **branches):
    p = np.array(probabilities, float)
    features = np.arange(len(p), dtype=float)[:, None] if features is None else np.array(features)
    both = branches.get("both", (p, p))
    return rank(p, *both, np.full(p.shape[1], 0.5), features, budget)


def test_the_least_sure_comes_first():
    found = ranked([[0.99, 0.01], [0.5, 0.5], [0.9, 0.1]])
    assert found[0].image == 1
    assert {one.image for one in found} == {0, 1, 2}
    np.testing.assert_allclose(found[0].uncertainty, 2 * np.log(2))


def test_disagreement_counts():
    p = np.full((3, 1), 0.7)
    both = p, np.array([[0.7], [0.1], [0.7]])
    assert ranked(p, both=both)[0].image == 1


def test_of_two_equal_photographs_one_is_chosen():
    p = [[0.5]] * 4
    found = ranked(p, [[0.0], [0.0], [0.0], [9.0]], budget=2)
    assert [one.image for one in found] == [0, 3]
    assert found[0].novelty == 0
    assert found[1].novelty > 0


def test_candidates_are_a_multiple_of_the_budget():
    """The far one is too sure to be a candidate."""
    p = [[0.5]] * CANDIDATES + [[0.999]]
    found = ranked(p, [[0.0]] * CANDIDATES + [[100.0]], budget=1)
    assert [one.image for one in found] == [0]
    features = [[float(i)] for i in range(CANDIDATES * 2)] + [[100.0]]
    found = ranked([[0.5]] * CANDIDATES * 2 + [[0.999]], features, budget=2)
    assert CANDIDATES * 2 not in [one.image for one in found]


def test_the_labels_in_doubt_are_those_nearest_to_their_thresholds():
    p = np.array([[0.9, 0.45, 0.05, 0.6]])
    (one,) = rank(p, p, p, np.array([0.88, 0.1, 0.5, 0.2]), np.zeros((1, 2)), 1)
    assert one.doubts == (0, 3, 1, 2)


def test_every_photograph_is_chosen_at_most_once():
    rng = np.random.default_rng(0)
    features = np.repeat(rng.normal(size=(10, 4)), 5, axis=0)
    found = ranked(rng.random((50, 3)), features, budget=50)
    assert sorted(one.image for one in found) == list(range(50))


def test_nothing_to_choose_from():
    assert rank(*[np.empty((0, 2))] * 3, np.full(2, 0.5), np.empty((0, 4)), 5) == []
