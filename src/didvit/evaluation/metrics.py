"""Scores of multi-label recognition (section 3.2): AP, mAP, and precision, recall and F1.

Targets are 1 (the image has the label), 0 (it has not) or -1 (unknown: the image is left out of
that label's counts, as VOC's 'difficult' objects are). Values are fractions in [0, 1].

Scores may be logits or probabilities, of which only the order counts. Logits are better: a
probability is 1 for every logit above about 37 in float64 (17 in float32), and equals tie. NaN has
no place in an order: it is refused.

A label that no image is known to have has no AP. Neither has one that every image has: any order
of the images would score 1. Both are left out of mAP.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from didvit.data.choices import Meter

BLOCK = 2**20
"""Number of scores that are ranked at once: few enough to stay in a processor's cache."""


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
    """Images of some categories, from the highest score down, one row for each category.

    Precision matters at positives alone: they are listed in the order of their rows and ranks.
    Places are those in the flattened rows.

    Attributes:
        order: Images by rank.
        known: 1 where the image is known to have the label or not, 0 elsewhere.
        positives: Places of the positives.
        last_tied: For each positive, the place of the last image that scores the same.
        last_positive: For each positive, the last one, in this list, that scores the same.
        first: For each positive, the first one, in this list, of its category.
        starts: The first positive of each category. Every category has one.
    """

    order: Int[np.ndarray, "c n"]
    known: Int[np.ndarray, "c n"]
    positives: Int[np.ndarray, " p"]
    last_tied: Int[np.ndarray, " p"]
    last_positive: Int[np.ndarray, " p"]
    first: Int[np.ndarray, " p"]
    starts: Int[np.ndarray, " c"]


class _Precision(NamedTuple):
    """Precision at the positives of some categories.

    Attributes:
        weights: How often each positive occurs.
        hits: For each positive, the number of positives that score at least as much.
        precision: For each positive, their part of all images that do.
        positives: Number of positives of each category.
        negatives: Number of negatives of each category.
    """

    weights: Int[np.ndarray, " p"]
    hits: Int[np.ndarray, " p"]
    precision: Float[np.ndarray, " p"]
    positives: Int[np.ndarray, " c"]
    negatives: Int[np.ndarray, " c"]


def average_precision(
    scores: Float[np.ndarray, " n"],
    targets: Int[np.ndarray, " n"],
    counts: Int[np.ndarray, " n"] | None = None,
) -> float:
    """Mean, over the positives, of the precision among all that score at least as much.

    Equal scores share one rank, so that the order of the images cannot matter. It is
    scikit-learn's definition. Without ties it is the mean of the precision at each positive.

    Args:
        scores: Scores of the images.
        targets: 1, 0 or -1 (unknown).
        counts: How often each image occurs, 0 or more; None is once.

    Returns:
        NaN where no image is known to have the label, or none is known to lack it.

    Raises:
        ValueError: A score is NaN.

    >>> average_precision(np.array([0.9, 0.8, 0.7]), np.array([1, 0, 1])).__round__(4)
    0.8333
    """
    values = np.full(1, np.nan)
    for columns, ranking in _rankings(scores[:, None], targets[:, None]):
        values[columns] = _average_precisions(ranking, counts)
    return float(values[0])


def average_precisions(
    scores: Float[np.ndarray, "n C"], targets: Int[np.ndarray, "n C"]
) -> Float[np.ndarray, " C"]:
    """`average_precision` of every category; NaN where it has no positive or no negative."""
    values = np.full(scores.shape[1], np.nan)
    for columns, ranking in _rankings(scores, targets):
        values[columns] = _average_precisions(ranking)
    return values


def mean_average_precision(
    scores: Float[np.ndarray, "n C"], targets: Int[np.ndarray, "n C"]
) -> float:
    """mAP: the mean of `average_precisions` over the categories that have one.

    Returns:
        NaN where no category has both a positive and a negative.
    """
    return mean_of_known(average_precisions(scores, targets))


def voc11_average_precision(
    scores: Float[np.ndarray, " n"], targets: Int[np.ndarray, " n"]
) -> float:
    """VOC 2007's AP: the mean, over recalls 0, 0.1, …, 1, of the best precision from there on.

    Equal scores share one rank, where VOC's development kit depends on the order of the images.

    Returns:
        NaN where no image is known to have the label, or none is known to lack it.

    Raises:
        ValueError: A score is NaN.
    """
    for _, ranking in _rankings(scores[:, None], targets[:, None]):
        at = _precision(ranking)
        # A recall of exactly r/10 counts as reached: whole numbers have no rounding to undo it.
        reached = [at.precision[10 * at.hits >= r * at.positives[0]] for r in range(11)]
        return float(np.mean([precision.max() for precision in reached]))
    return float("nan")


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
    which takes this off in place of adding it again. A category that has no positive, or no
    negative, in a resample is left out of the mean there.

    Args:
        scores: Scores of the images.
        targets: 1, 0 or -1 (unknown).
        resamples: Number of times that the images are drawn, with replacement.
        seed: Seed of the draws.
        confidence: The chance, roughly, that such an interval holds the mAP of all images there
            are; with a handful of positives to a category it is less.

    Returns:
        NaN where no category has both a positive and a negative.

    Raises:
        ValueError: ``resamples`` is less than 1, ``confidence`` is not in (0, 1), or a score is
            NaN.
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
    """Confidence interval of a difference in mAP, ``scores`` − ``others``, on the same images.

    The draws are the same for both, so that what both find hard cancels. Everything else is as in
    `bootstrap_interval`.
    """
    gain = mean_average_precision(scores, targets) - mean_average_precision(others, targets)
    one, other = (_resampled(values, targets, resamples, seed) for values in (scores, others))
    return _mirrored(gain, one - other, confidence)


def _resampled(
    scores: Float[np.ndarray, "n C"], targets: Int[np.ndarray, "n C"], resamples: int, seed: int
) -> Float[np.ndarray, " R"]:
    """mAP of every resample; NaN where no category has one."""
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}; expected 1 or more")
    images, sums, known = len(scores), np.zeros(resamples), np.zeros(resamples, dtype=int)
    # Sorting once and counting is many times quicker than sorting every resample.
    for _, ranking in _rankings(scores, targets):
        rng = np.random.default_rng(seed)  # the same draws for every block of categories
        for i in range(resamples):
            counts = np.bincount(rng.integers(images, size=images), minlength=images)
            values = _average_precisions(ranking, counts)
            sums[i] += np.nansum(values)
            known[i] += np.count_nonzero(~np.isnan(values))
    return np.divide(sums, known, out=np.full(resamples, np.nan), where=known > 0)


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
    meter: Meter = "known",
) -> PrecisionRecall:
    """CP, CR, CF1, OP, OR, OF1 (section 3.2) and the mean of the categories' F1.

    There are two conventions, which differ where a label is unknown or never predicted. Only
    figures of one convention can be compared.

    - ``"known"``, ours: unknown labels (VOC's difficult objects) do not count at all. A category
      that is unknown in every image is left out. A category that is never predicted has precision
      0, and adds nothing to the overall precision.
    - ``"ml_gcn"``: ``AveragePrecisionMeter.evaluation`` of the released code of ML-GCN
      (github.com/megvii-research/ML-GCN, ``util.py``), which ADD-GCN took over. Unknown labels
      count as absent (``targets[targets == -1] = 0``), although its AP leaves them out. A category
      that is never predicted counts as predicted once (``Np[Np == 0] = 1``), which lowers OP.

    Args:
        scores: Scores of each image and label.
        targets: 1, 0 or -1 (unknown).
        threshold: A label is predicted when its score is at least this. The paper's probability of
            0.5 is a logit of 0.
        top_k: A label is predicted only if it is also among the image's k highest scores (of
            equals, the first). None is the "All" of the tables, 3 their "Top-3". A label that is
            unknown of the image takes its place among the k all the same, as in the released code
            of ML-GCN: what a model predicts does not depend on what is known.
        meter: The convention.

    Returns:
        A category without positives has no recall and no F1, and is left out of CR and macro_F1
        (ML-GCN's code divides by 0 there). A ratio of nothing is 0.

    Raises:
        ValueError: A score is NaN.

    >>> scores, targets = np.array([[0.9, 0.1], [0.8, 0.2]]), np.array([[1, 1], [-1, 0]])
    >>> precision_recall(scores, targets, 0.5).OP
    1.0
    >>> precision_recall(scores, targets, 0.5, meter="ml_gcn").OP.__round__(4)
    0.3333
    """
    _refuse_nan(scores)
    if meter == "ml_gcn":
        targets = np.maximum(targets, 0)
    known = targets >= 0
    predicted = (scores >= threshold) & known
    if top_k is not None:
        order = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
        among_top = np.zeros_like(predicted)
        np.put_along_axis(among_top, order, True, axis=1)
        predicted &= among_top
    actual = targets == 1
    correct = (predicted & actual).sum(0)
    num_predicted = predicted.sum(0)
    f1 = _ratio(2 * correct, num_predicted + actual.sum(0))
    if meter == "ml_gcn":
        num_predicted = np.maximum(num_predicted, 1)
    occurs = actual.any(0)
    category_precision = _mean(_ratio(correct, num_predicted)[known.any(0)])
    category_recall = _mean(_ratio(correct, actual.sum(0))[occurs])
    overall_precision = float(_ratio(correct.sum(), num_predicted.sum()))
    overall_recall = float(_ratio(correct.sum(), actual.sum()))
    return PrecisionRecall(
        category_precision,
        category_recall,
        _harmonic(category_precision, category_recall),
        overall_precision,
        overall_recall,
        _harmonic(overall_precision, overall_recall),
        _mean(f1[occurs]),
    )


def mean_of_known(values: Sequence[float] | Float[np.ndarray, " C"]) -> float:
    """Mean of the values that are not NaN; NaN where there are none."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def _rankings(
    scores: Float[np.ndarray, "n C"], targets: Int[np.ndarray, "n C"]
) -> Iterator[tuple[Int[np.ndarray, " c"], _Ranking]]:
    """Rankings of the categories that have both positives and negatives, in blocks: which, and how.

    Raises:
        ValueError: A score is NaN.
    """
    _refuse_nan(scores)
    measurable = np.flatnonzero((targets == 1).any(0) & (targets == 0).any(0))
    step = max(BLOCK // max(len(scores), 1), 1)
    for start in range(0, len(measurable), step):
        columns = measurable[start : start + step]
        yield columns, _rank(scores[:, columns].T, targets[:, columns].T)


def _refuse_nan(scores: Float[np.ndarray, "*_"]) -> None:
    count = int(np.isnan(scores).sum())
    if count:
        raise ValueError(
            f"{count} of {scores.size} scores are NaN; expected numbers (the model's weights may "
            "hold NaN)"
        )


def _rank(scores: Float[np.ndarray, "c n"], targets: Int[np.ndarray, "c n"]) -> _Ranking:
    order = np.argsort(-scores, axis=1, kind="stable")
    ranked = np.take_along_axis(scores, order, axis=1)
    ranked_targets = np.take_along_axis(targets, order, axis=1)
    # An image that scores other than the next one is the last of its ties.
    is_last = np.ones(order.shape, dtype=bool)
    is_last[:, :-1] = ranked[:, 1:] != ranked[:, :-1]
    ends = np.flatnonzero(is_last)
    positives = np.flatnonzero(ranked_targets == 1)
    last_tied = ends[np.searchsorted(ends, positives)]
    starts = np.searchsorted(positives, np.arange(len(order)) * order.shape[1])
    sizes = np.diff(starts, append=len(positives))
    return _Ranking(
        order,
        (ranked_targets >= 0).astype(np.int64),
        positives,
        last_tied,
        np.searchsorted(positives, last_tied, side="right") - 1,
        np.repeat(starts, sizes),
        starts,
    )


def _precision(ranking: _Ranking, counts: Int[np.ndarray, " n"] | None = None) -> _Precision:
    """Precision at the positives, where each image occurs as often as ``counts`` says."""
    occurrences = ranking.known if counts is None else counts[ranking.order] * ranking.known
    images = np.cumsum(occurrences, axis=1)
    weights = occurrences.ravel()[ranking.positives]
    running = np.cumsum(weights)
    before = (running - weights)[ranking.first]  # positives of the categories before
    hits = running[ranking.last_positive] - before
    positives = np.add.reduceat(weights, ranking.starts)
    precision = hits / np.maximum(images.ravel()[ranking.last_tied], 1)
    return _Precision(weights, hits, precision, positives, images[:, -1] - positives)


def _average_precisions(
    ranking: _Ranking, counts: Int[np.ndarray, " n"] | None = None
) -> Float[np.ndarray, " c"]:
    at = _precision(ranking, counts)
    totals = np.add.reduceat(at.weights * at.precision, ranking.starts)
    measurable = (at.positives > 0) & (at.negatives > 0)
    return np.divide(totals, at.positives, out=np.full(len(totals), np.nan), where=measurable)


def _ratio(part, whole):
    return np.where(whole > 0, part / np.maximum(whole, 1), 0.0)


def _mean(values: Float[np.ndarray, " k"]) -> float:
    return float(values.mean()) if len(values) else 0.0


def _harmonic(a: float, b: float) -> float:
    return 2 * a * b / (a + b) if a + b else 0.0
