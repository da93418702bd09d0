"""Measures against those of ``didvit evaluate``, and at the edges."""

import numpy as np
import pytest

from didvit.evaluation.calibration import calibration_error, pooled_calibration_error
from didvit.evaluation.metrics import bootstrap_interval, mean_average_precision, precision_recall
from didvit.reports.measure import ENOUGH, Decided, chosen_labels, measure

NAMES = ("ant", "bee", "cat", "dog", "eel")


def drawn(seed, images=50, labels=5):
    rng = np.random.default_rng(seed)
    targets = rng.choice([0, 1, -1], (images, labels), p=[0.6, 0.3, 0.1]).astype(np.int8)
    return rng.random((images, labels)), targets


def measured(probabilities, targets, thresholds=None, resamples=0):
    probabilities, targets = np.array(probabilities, float), np.array(targets, np.int8)
    if thresholds is None:
        thresholds = np.full(targets.shape[1], 0.5)
    names = [f"{i}.jpg" for i in range(len(targets))]
    return measure(probabilities, targets, thresholds, NAMES[: targets.shape[1]], names, resamples)


@pytest.mark.parametrize("seed", range(4))
def test_figures_are_those_of_an_evaluation(seed):
    probabilities, targets = drawn(seed)
    thresholds = np.linspace(0.3, 0.8, 5)
    result = measured(probabilities, targets, thresholds, resamples=50)
    expected = precision_recall(probabilities - thresholds, targets, 0.0)
    overall = result.overall
    assert (overall.precision, overall.recall, overall.F1) == pytest.approx(
        (expected.OP, expected.OR, expected.OF1)
    )
    assert result.mean_F1 == pytest.approx(
        np.mean([label.decided.F1 for label in result.labels if label.positives])
    )
    assert result.mAP == mean_average_precision(probabilities, targets)
    assert result.mAP_interval == bootstrap_interval(probabilities, targets, 50)
    assert result.calibration_error == pooled_calibration_error(probabilities, targets)
    errors = calibration_error(probabilities, targets).tolist()
    assert [label.calibration_error for label in result.labels] == errors
    for c, label in enumerate(result.labels):
        alone = precision_recall(probabilities[:, [c]], targets[:, [c]], thresholds[c])
        found = label.decided.precision, label.decided.recall, label.decided.F1
        assert found == pytest.approx((alone.OP, alone.OR, alone.OF1))
        assert mean_average_precision(probabilities[:, [c]], targets[:, [c]]) == label.AP
        assert (label.label, label.threshold) == (NAMES[c], thresholds[c])
        assert label.positives == (targets[:, c] == 1).sum()
        assert label.known == (targets[:, c] >= 0).sum()


def test_true_labels_of_the_worst_images():
    result = measured([[0.9, 0.9, 0.1], [0.1, 0.9, 0.9]], [[1, 0, 1], [0, -1, 1]])
    assert {(case.row, case.label) for case in result.false_positives} == {(0, 1)}
    assert {(case.row, case.label) for case in result.misses} == {(0, 2)}
    assert result.true_labels == {0: ("ant", "cat")}


@pytest.mark.parametrize(
    ("probabilities", "targets", "overall", "reason"),
    [
        ([[0.9]], [[1]], Decided(1, 1, 1), "no image is known to lack it"),
        ([[0.1]], [[1]], Decided(None, 0, 0), "no image is known to lack it"),
        ([[0.9]], [[0]], Decided(0, None, None), "no image is known to have it"),
        ([[0.1]], [[0]], Decided(None, None, None), "no image is known to have it"),
        ([[0.9]], [[-1]], Decided(None, None, None), "it is unknown in every image"),
        ([[0.9], [0.1]], [[1], [0]], Decided(1, 1, 1), None),
    ],
)
def test_edges(probabilities, targets, overall, reason):
    result = measured(probabilities, targets, resamples=10)
    assert result.overall == overall
    (label,) = result.labels
    assert label.unmeasured == reason
    assert (label.AP is None) == (result.mAP is None) == (reason is not None)
    assert (result.mAP_interval is None) == (reason is not None)
    assert result.mean_F1 == overall.F1
    assert (result.calibration_error is None) == (targets == [[-1]])
    assert len(result.chosen) == (reason is None)


def test_a_probability_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        measured([[float("nan")], [0.5]], [[1], [0]])


def test_chosen_labels():
    """Five labels of enough images but one, whose AP would be the best; each is chosen once."""
    rng = np.random.default_rng(0)
    targets = np.zeros((100, 5), np.int8)
    for c, positives in enumerate((60, 50, 40, 20, ENOUGH - 1)):
        targets[:positives, c] = 1
    noise = rng.random((100, 5)) * (0.2, 3, 2, 1, 0)
    figures = measured((targets + noise) / 4, targets).labels
    by_precision = sorted(range(4), key=lambda c: figures[c].AP)
    assert chosen_labels(figures) == {
        **dict.fromkeys(by_precision[:1:-1], "best"),
        **dict.fromkeys(by_precision[:2], "worst"),
        4: "most frequent",  # the others have been chosen
    }
