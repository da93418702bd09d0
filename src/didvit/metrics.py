"""Scores of multi-label recognition (section 3.2): AP, mAP, and precision, recall and F1.

Targets are 1 (the image has the label), 0 (it has not) or -1 (unknown: the image is left out of
that label's counts, as VOC's 'difficult' objects are). Values are fractions in [0, 1].
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class PrecisionRecall(NamedTuple):
    """Per-category means (C) and overall (O) precision, recall and F1.

    ``CF1`` is the harmonic mean of ``CP`` and ``CR``, not the mean of the categories' F1.
    """

    CP: float
    CR: float
    CF1: float
    OP: float
    OR: float
    OF1: float


def average_precision(scores: Float[np.ndarray, " n"], targets: Int[np.ndarray, " n"]) -> float:
    """Mean, over the positives, of the precision among all that score at least as much.

    Equal scores share one rank, so that the order of the images cannot matter; without ties it is
    the mean of the precision at each positive, and always scikit-learn's definition.

    Returns:
        NaN where no image is known to have the label.

    >>> average_precision(np.array([0.9, 0.8, 0.7]), np.array([1, 0, 1])).__round__(4)
    0.8333
    """
    known = targets >= 0
    scores, positive = scores[known], targets[known] == 1
    if not positive.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    scores, positive = scores[order], positive[order]
    last_of_ties = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    hits = np.cumsum(positive)[last_of_ties]
    precision = hits / (last_of_ties + 1)
    return float(np.sum(precision * np.diff(hits, prepend=0)) / hits[-1])


def average_precisions(
    scores: Float[np.ndarray, "n C"], targets: Int[np.ndarray, "n C"]
) -> Float[np.ndarray, " C"]:
    """`average_precision` of every category; NaN where it has no positive.

    mAP is ``np.nanmean`` of it: the mean over the categories that have a positive.
    """
    return np.array([average_precision(s, t) for s, t in zip(scores.T, targets.T, strict=True)])


def voc11_average_precision(
    scores: Float[np.ndarray, " n"], targets: Int[np.ndarray, " n"]
) -> float:
    """VOC 2007's AP: the mean, over recalls 0, 0.1, …, 1, of the best precision from there on.

    Returns:
        NaN where no image is known to have the label.
    """
    known = targets >= 0
    scores, positive = scores[known], targets[known] == 1
    if not positive.any():
        return float("nan")
    hits = np.cumsum(positive[np.argsort(-scores, kind="stable")])
    precision, tenths = hits / np.arange(1, len(hits) + 1), 10 * hits / hits[-1]
    # A recall of exactly r/10 counts as reached: in tenths, so that rounding cannot undo it.
    reached = [precision[tenths >= r - 1e-9] for r in range(11)]
    return float(np.mean([p.max() if len(p) else 0.0 for p in reached]))


def precision_recall(
    probabilities: Float[np.ndarray, "n C"],
    targets: Int[np.ndarray, "n C"],
    threshold: float = 0.5,
    top_k: int | None = None,
) -> PrecisionRecall:
    """CP, CR, CF1, OP, OR, OF1 (section 3.2).

    Args:
        probabilities: Of each image having each label.
        targets: 1, 0 or -1 (unknown).
        threshold: A label is predicted when its probability is at least this.
        top_k: A label is predicted only if it is also among the image's k most probable (of equals,
            the first). None is the "All" of the tables, 3 their "Top-3".

    Returns:
        A category that is never predicted has precision 0. One without positives has no recall, and
        is left out of CR. A ratio of nothing is 0.
    """
    known = targets >= 0
    predicted = (probabilities >= threshold) & known
    if top_k is not None:
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top_k]
        among_top = np.zeros_like(predicted)
        np.put_along_axis(among_top, order, True, axis=1)
        predicted &= among_top
    actual = targets == 1
    correct = (predicted & actual).sum(0)
    precision = _ratio(correct, predicted.sum(0))
    recall = _ratio(correct, actual.sum(0))[actual.any(0)]
    category_precision = float(precision.mean())
    category_recall = float(recall.mean()) if len(recall) else 0.0
    overall_precision = float(_ratio(correct.sum(), predicted.sum()))
    overall_recall = float(_ratio(correct.sum(), actual.sum()))
    return PrecisionRecall(
        category_precision,
        category_recall,
        _harmonic(category_precision, category_recall),
        overall_precision,
        overall_recall,
        _harmonic(overall_precision, overall_recall),
    )


def _ratio(part, whole):
    return np.where(whole > 0, part / np.maximum(whole, 1), 0.0)


def _harmonic(a: float, b: float) -> float:
    return 2 * a * b / (a + b) if a + b else 0.0
