"""A threshold for every label, on calibrated probabilities, for an aim.

Candidates are all probabilities that occur. What a candidate would give is counted, and as few
images say little of a rare label, the count is joined with what the calibrated probabilities
themselves expect, which rest on all labels: with a weight of `PRIOR` images. A floor of precision
or recall is kept by a lower confidence bound. The best threshold for F1 is drawn towards that of
all labels.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from didvit.decisions.aims import Aim

PRIOR = 20.0
"""Weight of the calibrated expectation beside the counts, in images."""

CONFIDENCE_Z = 0.5
"""Standard errors below the estimate at which a floor of precision or recall is kept."""

PULL = 40.0
"""Positives of a label at which its own best threshold and that of all labels weigh the same."""

EVEN_ODDS = 0.5
"""Least threshold for a floor of precision: no label is named that is more likely absent."""

FEW = 10
"""Positives of a label below which its threshold is said to rest on few."""

INTERVAL_Z = 1.96


class LabelThreshold(NamedTuple):
    """A label's threshold and what it gives on the tuning data.

    Attributes:
        threshold: Least calibrated probability.
        positives: Number of images that are known to have the label.
        precision: Of the images at or above the threshold, the share that has the label. None
            where there are none.
        precision_interval: 95 % interval of the precision (Wilson, 1927).
        recall: Of the images that have the label, the share at or above the threshold. None where
            there are none.
        recall_interval: 95 % interval of the recall.
        note: What to know of it, such as that the aim cannot be reached; else empty.
    """

    threshold: float
    positives: int
    precision: float | None
    precision_interval: tuple[float, float] | None
    recall: float | None
    recall_interval: tuple[float, float] | None
    note: str


class _Candidates(NamedTuple):
    """What each candidate threshold gives, from the highest to the lowest."""

    thresholds: Float[np.ndarray, " k"]
    predicted: Float[np.ndarray, " k"]
    correct: Float[np.ndarray, " k"]
    expected: Float[np.ndarray, " k"]  # correct ones, by the probabilities


def fit_thresholds(
    probabilities: Float[np.ndarray, "n C"],
    targets: Float[np.ndarray, "n C"],
    aim: Aim,
) -> list[LabelThreshold]:
    """A threshold per label.

    Args:
        probabilities: Calibrated.
        targets: 1, 0, or -1 (unknown, left out).
        aim: What for.
    """
    known = targets >= 0
    pooled = _best(_candidates(probabilities[known], targets[known]), targets[known], aim)
    result = []
    for c in range(probabilities.shape[1]):
        rows = known[:, c]
        p, y = probabilities[rows, c], targets[rows, c]
        threshold, note = _of_label(p, y, aim, pooled[0])
        result.append(_facts(p, y, threshold, note))
    return result


def wilson(
    successes: float | np.ndarray, count: float | np.ndarray, z: float
) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's interval of a proportion (1927); 0 to 1 where nothing is counted."""
    n = np.maximum(count, 1e-12)
    p = successes / n
    center = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(np.maximum(p * (1 - p), 0) / n + z**2 / (4 * n**2))
    return np.maximum(center - half, 0), np.minimum(center + half, 1)


def _of_label(p: np.ndarray, y: np.ndarray, aim: Aim, pooled: float) -> tuple[float, str]:
    positives = int(y.sum())
    if not len(y) or not positives or positives == len(y):
        what = "no image is known to have it" if not positives else "no image is known to lack it"
        return pooled, f"{what}; the threshold of all labels"
    own, note = _best(_candidates(p, y), y, aim)
    if aim.kind in ("f1", "count"):
        weight = positives / (positives + PULL)
        own = float(_from_logit(weight * _logit(own) + (1 - weight) * _logit(pooled)))
    if positives < FEW and not note:
        note = "few positives"
    return own, note


def _candidates(p: np.ndarray, y: np.ndarray) -> _Candidates:
    order = np.argsort(-p, kind="stable")
    p, y = p[order], y[order]
    last = np.append(p[1:] != p[:-1], True)  # equal ones are accepted together
    counts = np.arange(1, len(p) + 1)
    return _Candidates(
        p[last],
        counts[last].astype(np.float64),
        np.cumsum(y)[last].astype(np.float64),
        np.cumsum(p)[last],
    )


def _best(candidates: _Candidates, y: np.ndarray, aim: Aim) -> tuple[float, str]:
    """The threshold that serves the aim best, and a note where it does not reach it."""
    thresholds, predicted, correct, expected = candidates
    positives = float(y.sum())
    if aim.kind == "f1":
        place = int((2 * correct / (predicted + positives)).argmax())
        return _between(thresholds, place), ""
    if aim.kind == "count":
        place = int(np.abs(predicted - positives).argmin())
        return _between(thresholds, place), ""
    assert aim.value is not None
    if aim.kind == "precision":
        count, share = predicted, expected / predicted
    else:
        count, share = np.full_like(predicted, positives), expected / max(expected[-1], 1e-12)
    bound, _ = wilson(correct + PRIOR * share, count + PRIOR, CONFIDENCE_Z)
    reached = np.flatnonzero(bound >= aim.value)
    if aim.kind == "recall":
        place = int(reached[0]) if len(reached) else len(thresholds) - 1
    else:
        place = int(reached[-1]) if len(reached) else int(bound.argmax())
    note = "" if len(reached) else f"{aim} cannot be reached; the nearest is kept"
    least = EVEN_ODDS if aim.kind == "precision" else 0.0
    return max(_between(thresholds, place), least), note


def _between(thresholds: np.ndarray, place: int) -> float:
    """Halfway, in logits, between the last accepted probability and the next."""
    own = float(thresholds[place])
    if place + 1 == len(thresholds):
        return own
    middle = (_logit(own) + _logit(float(thresholds[place + 1]))) / 2
    return min(float(_from_logit(middle)), own)


def _facts(p: np.ndarray, y: np.ndarray, threshold: float, note: str) -> LabelThreshold:
    chosen = p >= threshold
    correct, predicted, positives = float(y[chosen].sum()), float(chosen.sum()), float(y.sum())

    def share(count: float) -> tuple[float | None, tuple[float, float] | None]:
        if not count:
            return None, None
        low, high = wilson(correct, count, INTERVAL_Z)
        return correct / count, (float(low), float(high))

    return LabelThreshold(threshold, int(positives), *share(predicted), *share(positives), note)


def _logit(p: float) -> float:
    p = min(max(p, 1e-9), 1 - 1e-9)
    return math.log(p / (1 - p))


def _from_logit(x: float) -> float:
    return 1 / (1 + math.exp(-x))
