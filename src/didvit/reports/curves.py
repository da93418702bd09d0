"""Curves: precision by recall, and how often what has a probability is true.

Targets are 1, 0 or -1 (unknown), which does not count.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from didvit.decisions.thresholds import INTERVAL_Z, wilson

POINTS = 150
"""Number of points of a curve of precision by recall: enough for a drawing."""

BINS = 10
"""Number of bins of probabilities, of equal width."""


@dataclass(frozen=True)
class PrecisionRecallCurve:
    """Precision and recall at falling thresholds.

    Attributes:
        recall: Part of the positives that reach the threshold, rising to 1.
        precision: Part of what reaches the threshold that is positive.
    """

    recall: Float[np.ndarray, " k"]
    precision: Float[np.ndarray, " k"]


@dataclass(frozen=True)
class Reliability:
    """What is predicted and what is true, by bins of the probability that hold anything.

    Attributes:
        predicted: Mean probability in the bin.
        observed: Part of the bin that is positive.
        low: Lower end of the 95 % interval of ``observed`` (Wilson, JASA 1927).
        high: Upper end.
        counts: Number of pairs of image and label in the bin.
    """

    predicted: Float[np.ndarray, " b"]
    observed: Float[np.ndarray, " b"]
    low: Float[np.ndarray, " b"]
    high: Float[np.ndarray, " b"]
    counts: Int[np.ndarray, " b"]


def precision_recall_curve(
    probabilities: Float[np.ndarray, "n C"], targets: Int[np.ndarray, "n C"]
) -> PrecisionRecallCurve:
    """Precision and recall over all pairs of image and label, at the scores of positives.

    Of more than `POINTS` positives, those at even steps of recall. Every point is exact; pairs of
    one score count together. No array is sorted as a whole, so that large ones cost little.

    Returns:
        Curves without points where there is no positive.
    """
    of_positives = probabilities[targets == 1]
    if not len(of_positives):
        return PrecisionRecallCurve(np.empty(0), np.empty(0))
    steps = np.linspace(0, 1, POINTS)
    thresholds = np.unique(np.quantile(of_positives, steps, method="nearest"))
    # Of each threshold, the number of scores that reach it and not the next one.
    hits, known = np.zeros((2, len(thresholds) + 1), dtype=np.int64)
    for scores, of_label in zip(probabilities.T, targets.T, strict=True):
        places = np.searchsorted(thresholds, scores, side="right")
        hits += np.bincount(places[of_label == 1], minlength=len(hits))
        known += np.bincount(places[of_label >= 0], minlength=len(known))
    reached, correct = (values[:0:-1].cumsum() for values in (known, hits))
    return PrecisionRecallCurve(correct / len(of_positives), correct / reached)


def reliability(
    probabilities: Float[np.ndarray, "n C"], targets: Int[np.ndarray, "n C"], bins: int = BINS
) -> Reliability:
    """The reliability diagram (DeGroot and Fienberg, The Statistician 1983) of all known pairs.

    Args:
        probabilities: In [0, 1].
        targets: 1, 0 or -1.
        bins: Number of bins of equal width; a probability of 1 belongs to the last.

    Returns:
        No bins where nothing is known.
    """
    totals = np.zeros((3, bins))
    for scores, of_label in zip(probabilities.T, targets.T, strict=True):
        scores, truth = scores[of_label >= 0], of_label[of_label >= 0]
        places = np.minimum((scores * bins).astype(np.int64), bins - 1)
        for total, weights in zip(totals, (None, scores, truth), strict=True):
            total += np.bincount(places, weights, bins)
    counts, predicted, positives = totals[:, totals[0] > 0]
    low, high = wilson(positives, counts, INTERVAL_Z)
    return Reliability(predicted / counts, positives / counts, low, high, counts.astype(np.int64))
