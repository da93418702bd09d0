"""Curves against slow counts, and against scikit-learn."""

import numpy as np
import pytest
import sklearn.metrics

from didvit.reports.curves import POINTS, precision_recall_curve, reliability


def drawn(seed, images, labels, digits=2, unknown=0.1):
    rng = np.random.default_rng(seed)
    targets = rng.choice(
        [0, 1, -1], (images, labels), p=[0.6 - unknown / 2, 0.4 - unknown / 2, unknown]
    )
    return rng.random((images, labels)).round(digits), targets.astype(np.int8)


@pytest.mark.parametrize("seed", range(5))
def test_few_positives_give_every_point(seed):
    probabilities, targets = drawn(seed, 30, 3, digits=1)
    curve = precision_recall_curve(probabilities, targets)
    known = targets >= 0
    expected = []
    for threshold in sorted(set(probabilities[targets == 1]), reverse=True):
        reached = (probabilities >= threshold) & known
        hits = (reached & (targets == 1)).sum()
        expected.append((hits / (targets == 1).sum(), hits / reached.sum()))
    assert list(zip(curve.recall, curve.precision, strict=True)) == expected
    assert curve.recall[-1] == 1


def test_many_positives_give_points_of_scikit_learn():
    probabilities, targets = drawn(0, 3000, 2, digits=6)
    curve = precision_recall_curve(probabilities, targets)
    known = targets >= 0
    precision, recall, _ = sklearn.metrics.precision_recall_curve(
        targets[known], probabilities[known]
    )
    points = set(zip(recall.round(9).tolist(), precision.round(9).tolist(), strict=True))
    ours = set(zip(curve.recall.round(9).tolist(), curve.precision.round(9).tolist(), strict=True))
    assert ours <= points
    assert len(ours) == POINTS
    assert np.diff(np.sort([0, *curve.recall])).max() < 2 / POINTS


@pytest.mark.parametrize("targets", [[[0]], [[-1]], np.zeros((0, 3), np.int8)])
def test_no_positive_no_curve(targets):
    targets = np.array(targets, np.int8)
    curve = precision_recall_curve(np.full(targets.shape, 0.5), targets)
    assert len(curve.recall) == len(curve.precision) == 0


@pytest.mark.parametrize("seed", range(5))
def test_reliability_is_that_of_a_slow_count(seed):
    probabilities, targets = drawn(seed, 40, 3)
    bins = reliability(probabilities, targets, bins=4)
    found = []
    for low, high in ((0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.01)):
        pairs = [
            (p, t)
            for p, t in zip(probabilities.ravel(), targets.ravel(), strict=True)
            if low <= p < high and t >= 0
        ]
        if pairs:
            found.append((len(pairs), *np.mean(pairs, axis=0)))
    counts, predicted, observed = zip(*found, strict=True)
    assert bins.counts.tolist() == list(counts)
    np.testing.assert_allclose(bins.predicted, predicted)
    np.testing.assert_allclose(bins.observed, observed)
    assert (bins.low <= bins.observed).all()
    assert (bins.observed <= bins.high).all()


def test_certainty_belongs_to_the_last_bin():
    bins = reliability(np.array([[0.0], [1.0]]), np.array([[0], [1]]))
    assert bins.predicted.tolist() == bins.observed.tolist() == [0, 1]
    assert bins.counts.tolist() == [1, 1]


def test_nothing_known_no_bins():
    assert len(reliability(np.array([[0.5]]), np.array([[-1]])).counts) == 0
