"""Scores of multi-label recognition (section 3.2): AP, mAP, and precision, recall and F1.

Targets are 1 (the image has the label), 0 (it has not) or -1 (unknown: the image is left out of
that label's counts, as VOC's 'difficult' objects are). Values are fractions in [0, 1].

Scores may be logits or probabilities, of which only the order counts. Logits are better: a
probability is 1 for every logit above about 37 in float64 (17 in float32), and equals tie.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int


class PrecisionRecall(NamedTuple):
    """Per-category means (C) and overall (O) precision, recall and F1.

    The literature has two values for one name. ``CF1`` is the harmonic mean of ``CP`` and ``CR``,
    as in this paper's tables and in the released code of ML-GCN and ADD-GCN. ``macro_F1`` is the
    mean of the categories' F1, as in the released code of SRN, and what scikit-learn and
    torchmetrics call macro. They may differ by up to half (Opitz and Burst, arXiv:1911.03347).
    """

    CP: float
    CR: float
    CF1: float
    OP: float
    OR: float
    OF1: float
    macro_F1: float


class Interval(NamedTuple):
    """The ends of a confidence interval; NaN where there is nothing to measure."""

    low: float
    high: float


class _Ranking(NamedTuple):
    """The images that are known to have a label or not, from the highest score down."""

    order: Int[np.ndarray, " k"]
    positive: Bool[np.ndarray, " k"]
    last_of_ties: Int[np.ndarray, " t"]


def average_precision(
    scores: Float[np.ndarray, " n"],
    targets: Int[np.ndarray, " n"],
    counts: Int[np.ndarray, " n"] | None = None,
) -> float:
    """Mean, over the positives, of the precision among all that score at least as much.

    Equal scores share one rank, so that the order of the images cannot matter; without ties it is
    the mean of the precision at each positive, and always scikit-learn's definition.

    Args:
        scores: Of the images.
        targets: 1, 0 or -1 (unknown).
        counts: How often each image occurs, 0 or more; None is once.

    Returns:
        NaN where no image is known to have the label.

    >>> average_precision(np.array([0.9, 0.8, 0.7]), np.array([1, 0, 1])).__round__(4)
    0.8333
    """
    return _average_precision(_rank(scores, targets), counts)


def average_precisions(
    scores: Float[np.ndarray, "n C"], targets: Int[np.ndarray, "n C"]
) -> Float[np.ndarray, " C"]:
    """`average_precision` of every category; NaN where it has no positive."""
    return np.array([average_precision(s, t) for s, t in zip(scores.T, targets.T, strict=True)])


def mean_average_precision(
    scores: Float[np.ndarray, "n C"], targets: Int[np.ndarray, "n C"]
) -> float:
    """mAP: the mean of `average_precisions` over the categories that have a positive.

    Returns:
        NaN where no category has one.
    """
    return mean_of_known(average_precisions(scores, targets))


def voc11_average_precision(
    scores: Float[np.ndarray, " n"], targets: Int[np.ndarray, " n"]
) -> float:
    """VOC 2007's AP: the mean, over recalls 0, 0.1, …, 1, of the best precision from there on.

    Equal scores share one rank, where VOC's development kit depends on the order of the images.

    Returns:
        NaN where no image is known to have the label.
    """
    hits, precision = _hits_and_precision(_rank(scores, targets))
    if not hits[-1:].any():
        return float("nan")
    # A recall of exactly r/10 counts as reached: in whole numbers, so that rounding cannot undo it.
    reached = [precision[10 * hits >= r * hits[-1]] for r in range(11)]
    return float(np.mean([p.max() for p in reached]))


def bootstrap_interval(
    scores: Float[np.ndarray, "n C"],
    targets: Int[np.ndarray, "n C"],
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Confidence interval of mAP by the basic bootstrap over images.

    It tells of the choice of test images alone, not of training again. A resample's mAP tends to
    lie above that of the images, as a positive that is drawn twice ranks beside itself; and that of
    few images above that of many. The basic bootstrap mirrors the resamples' quantiles at the mAP,
    which takes this off in place of adding it again. A category that has no positive in a resample
    is left out of the mean there.

    Args:
        scores: Of the images.
        targets: 1, 0 or -1 (unknown).
        resamples: Times that the images are drawn, with replacement.
        seed: Of the draws.
        confidence: The chance, roughly, that such an interval holds the mAP of all images there
            are; with a handful of positives to a category it is less.

    Returns:
        NaN where no category has a positive.

    Raises:
        ValueError: ``resamples`` is less than 1, or ``confidence`` is not in (0, 1).
    """
    means = _resampled(scores, targets, resamples, seed)
    low, high = _mirrored(mean_average_precision(scores, targets), means, confidence)
    return Interval(float(np.clip(low, 0, 1)), float(np.clip(high, 0, 1)))


def bootstrap_difference(
    scores: Float[np.ndarray, "n C"],
    others: Float[np.ndarray, "n C"],
    targets: Int[np.ndarray, "n C"],
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Confidence interval of the mAP of scores less that of others, on the same images.

    The draws are the same for both, so that what both find hard cancels. Everything else is as in
    `bootstrap_interval`.
    """
    gain = mean_average_precision(scores, targets) - mean_average_precision(others, targets)
    one, other = (_resampled(values, targets, resamples, seed) for values in (scores, others))
    return _mirrored(gain, one - other, confidence)


def _resampled(
    scores: Float[np.ndarray, "n C"], targets: Int[np.ndarray, "n C"], resamples: int, seed: int
) -> Float[np.ndarray, " R"]:
    """mAP of every resample; NaN where no category has a positive."""
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}; expected 1 or more")
    # Sorting once and counting is many times quicker than sorting every resample.
    rankings = [_rank(s, t) for s, t in zip(scores.T, targets.T, strict=True)]
    rng, images, means = np.random.default_rng(seed), len(scores), []
    for _ in range(resamples):
        counts = np.bincount(rng.integers(images, size=images), minlength=images)
        means.append(mean_of_known([_average_precision(ranking, counts) for ranking in rankings]))
    return np.array(means)


def _mirrored(value: float, resampled: Float[np.ndarray, " R"], confidence: float) -> Interval:
    """The interval of the basic bootstrap."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; expected a number in (0, 1)")
    known = resampled[~np.isnan(resampled)]
    if not len(known):
        return Interval(float("nan"), float("nan"))
    tail = (1 - confidence) / 2
    high, low = 2 * value - np.quantile(known, (tail, 1 - tail))
    return Interval(float(low), float(high))


def precision_recall(
    scores: Float[np.ndarray, "n C"],
    targets: Int[np.ndarray, "n C"],
    threshold: float,
    top_k: int | None = None,
) -> PrecisionRecall:
    """CP, CR, CF1, OP, OR, OF1 (section 3.2) and the mean of the categories' F1.

    Args:
        scores: Of each image and label.
        targets: 1, 0 or -1 (unknown).
        threshold: A label is predicted when its score is at least this. The paper's probability of
            0.5 is a logit of 0.
        top_k: A label is predicted only if it is also among the image's k highest scores (of
            equals, the first). None is the "All" of the tables, 3 their "Top-3". A label that is
            unknown of the image takes its place among the k all the same, as in the released code
            of ML-GCN: what a model predicts does not depend on what is known.

    Returns:
        A category that is never predicted has precision 0. One without positives has no recall and
        no F1, and is left out of CR and macro_F1. A ratio of nothing is 0.
    """
    predicted = (scores >= threshold) & (targets >= 0)
    if top_k is not None:
        order = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
        among_top = np.zeros_like(predicted)
        np.put_along_axis(among_top, order, True, axis=1)
        predicted &= among_top
    actual = targets == 1
    correct = (predicted & actual).sum(0)
    precision = _ratio(correct, predicted.sum(0))
    occurs = actual.any(0)
    recall = _ratio(correct, actual.sum(0))[occurs]
    f1 = _ratio(2 * correct, predicted.sum(0) + actual.sum(0))[occurs]
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
        float(f1.mean()) if len(f1) else 0.0,
    )


def _rank(scores: Float[np.ndarray, " n"], targets: Int[np.ndarray, " n"]) -> _Ranking:
    known = np.flatnonzero(targets >= 0)
    order = known[np.argsort(-scores[known], kind="stable")]
    ranked = scores[order]
    last_of_ties = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
    return _Ranking(order, targets[order] == 1, last_of_ties[: len(ranked)])


def _hits_and_precision(
    ranking: _Ranking, counts: Int[np.ndarray, " n"] | None = None
) -> tuple[Int[np.ndarray, " t"], Float[np.ndarray, " t"]]:
    """Positives, and their part, among all images down to each distinct score."""
    order, positive, last_of_ties = ranking
    if counts is None:
        images, hits = last_of_ties + 1, np.cumsum(positive)[last_of_ties]
    else:
        counts = counts[order]
        images, hits = np.cumsum(counts)[last_of_ties], np.cumsum(counts * positive)[last_of_ties]
    return hits, hits / np.maximum(images, 1)


def _average_precision(ranking: _Ranking, counts: Int[np.ndarray, " n"] | None = None) -> float:
    hits, precision = _hits_and_precision(ranking, counts)
    if not hits[-1:].any():
        return float("nan")
    return float(np.sum(precision * np.diff(hits, prepend=0)) / hits[-1])


def mean_of_known(values: Sequence[float] | Float[np.ndarray, " C"]) -> float:
    """Mean of what is not NaN; NaN where nothing is."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def _ratio(part, whole):
    return np.where(whole > 0, part / np.maximum(whole, 1), 0.0)


def _harmonic(a: float, b: float) -> float:
    return 2 * a * b / (a + b) if a + b else 0.0
