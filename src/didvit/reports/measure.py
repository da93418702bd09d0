"""Measures of a model's probabilities, for its page: figures by label, curves and mistakes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from didvit.evaluation.calibration import calibration_error, pooled_calibration_error
from didvit.evaluation.metrics import (
    Interval,
    average_precisions,
    bootstrap_interval,
    mean_of_known,
)
from didvit.evaluation.report import labels_left_out
from didvit.reports.curves import (
    PrecisionRecallCurve,
    Reliability,
    precision_recall_curve,
    reliability,
)
from didvit.reports.mistakes import (
    Case,
    Confusion,
    confusions,
    worst_false_positives,
    worst_misses,
)

CONFUSIONS, CASES = 15, 12
"""Number of confusions, and of worst false positives and misses, that a page shows."""

ENOUGH = 10
"""Positives from which a label can be among the best or the worst."""


@dataclass(frozen=True)
class Decided:
    """Precision, recall and F1 at thresholds, as fractions; None is a ratio of nothing.

    Attributes:
        precision: Part of what is predicted that is present.
        recall: Part of what is present that is predicted.
        F1: Their harmonic mean.
    """

    precision: float | None
    recall: float | None
    F1: float | None


@dataclass(frozen=True)
class LabelFigures:
    """Figures of one label, as fractions.

    Attributes:
        label: Its name.
        positives: Number of images known to have it.
        known: Number of images of which it is known whether they have it.
        threshold: Least probability with which it is predicted.
        AP: Average precision; None where ``unmeasured`` says why.
        decided: Precision, recall and F1 at the threshold.
        calibration_error: Expected calibration error; None where nothing is known.
        unmeasured: Why it has no AP, or None.
    """

    label: str
    positives: int
    known: int
    threshold: float
    AP: float | None
    decided: Decided
    calibration_error: float | None
    unmeasured: str | None


@dataclass(frozen=True)
class LabelCurves:
    """Curves of one label, and why it was chosen."""

    figures: LabelFigures
    reason: str
    precision_recall: PrecisionRecallCurve
    reliability: Reliability


@dataclass(frozen=True)
class Measures:
    """What a page says of a model; fractions, not percent.

    Attributes:
        images: Name of each image that was measured.
        labels: Figures by label, in the order of the model.
        mAP: Mean of the labels' AP; None where no label has one.
        mAP_interval: Its 95 % interval over the choice of images, where one was asked for.
        overall: Precision, recall and F1 over all pairs of image and label.
        mean_F1: Mean of the labels' F1, over those that an image has; None without any.
        calibration_error: Expected calibration error over all pairs.
        precision_recall: Curve over all pairs.
        reliability: Likewise.
        chosen: Curves of a few labels: the best, the worst and the most frequent.
        confusions: What is there when a label is predicted wrongly.
        false_positives: The worst ones.
        misses: The worst ones.
        true_labels: By row, for the images of the worst cases: the labels that they have.
    """

    images: tuple[str, ...]
    labels: tuple[LabelFigures, ...]
    mAP: float | None
    mAP_interval: Interval | None
    overall: Decided
    mean_F1: float | None
    calibration_error: float | None
    precision_recall: PrecisionRecallCurve
    reliability: Reliability
    chosen: tuple[LabelCurves, ...]
    confusions: tuple[Confusion, ...]
    false_positives: tuple[Case, ...]
    misses: tuple[Case, ...]
    true_labels: dict[int, tuple[str, ...]]


def measure(
    probabilities: Float[np.ndarray, "n C"],
    targets: Int[np.ndarray, "n C"],
    thresholds: Float[np.ndarray, " C"],
    labels: Sequence[str],
    images: Sequence[str],
    resamples: int = 1000,
) -> Measures:
    """Measure probabilities against what is known.

    Args:
        probabilities: Of each image and label, in [0, 1].
        targets: 1, 0 or -1 (unknown: it does not count).
        thresholds: Least probability of each label with which it is predicted.
        labels: Name of each column.
        images: Name of each row.
        resamples: Number of resamples of the bootstrap for the interval of mAP; 0 leaves it out.

    Raises:
        ValueError: A probability is NaN.
    """
    figures = _by_label(probabilities, targets, thresholds, labels)
    mean = _or_none(mean_of_known([np.nan if x.AP is None else x.AP for x in figures]))
    has_interval = resamples and mean is not None
    predicted = probabilities >= thresholds
    false_positives = worst_false_positives(probabilities, targets, thresholds, CASES)
    misses = worst_misses(probabilities, targets, thresholds, CASES)
    return Measures(
        images=tuple(images),
        labels=figures,
        mAP=mean,
        mAP_interval=(
            bootstrap_interval(probabilities, targets, resamples) if has_interval else None
        ),
        overall=_decided(predicted, targets),
        mean_F1=_or_none(
            mean_of_known([x.decided.F1 for x in figures if x.decided.F1 is not None])
        ),
        calibration_error=_or_none(pooled_calibration_error(probabilities, targets)),
        precision_recall=precision_recall_curve(probabilities, targets),
        reliability=reliability(probabilities, targets),
        chosen=_curves(probabilities, targets, figures),
        confusions=confusions(predicted, targets, CONFUSIONS),
        false_positives=false_positives,
        misses=misses,
        true_labels={
            case.row: tuple(labels[c] for c in np.flatnonzero(targets[case.row] == 1).tolist())
            for case in (*false_positives, *misses)
        },
    )


def chosen_labels(figures: Sequence[LabelFigures]) -> dict[int, str]:
    """Labels whose curves are shown, by column, and why: two best, two worst, two most frequent.

    The best and the worst are those of the labels with `ENOUGH` positives, or of all where fewer
    than two have that many. Labels without AP are left out.
    """
    measured = [c for c, of_label in enumerate(figures) if of_label.AP is not None]
    enough = [c for c in measured if figures[c].positives >= ENOUGH]
    by_precision = sorted(enough if len(enough) > 1 else measured, key=lambda c: figures[c].AP or 0)
    by_frequency = sorted(measured, key=lambda c: -figures[c].positives)
    chosen: dict[int, str] = {}
    best, worst = by_precision[::-1], by_precision
    for reason, columns in (("best", best), ("worst", worst), ("most frequent", by_frequency)):
        new = [column for column in columns if column not in chosen][:2]
        chosen |= dict.fromkeys(new, reason)
    return chosen


def _curves(
    probabilities: Float[np.ndarray, "n C"],
    targets: Int[np.ndarray, "n C"],
    figures: Sequence[LabelFigures],
) -> tuple[LabelCurves, ...]:
    curves = []
    for column, reason in chosen_labels(figures).items():
        of_label = probabilities[:, [column]], targets[:, [column]]
        curve, bins = precision_recall_curve(*of_label), reliability(*of_label)
        curves.append(LabelCurves(figures[column], reason, curve, bins))
    return tuple(curves)


def _by_label(
    probabilities: Float[np.ndarray, "n C"],
    targets: Int[np.ndarray, "n C"],
    thresholds: Float[np.ndarray, " C"],
    labels: Sequence[str],
) -> tuple[LabelFigures, ...]:
    precisions = average_precisions(probabilities, targets)
    errors = calibration_error(probabilities, targets)
    left_out = labels_left_out(labels, targets)
    return tuple(
        LabelFigures(
            label=label,
            positives=int((targets[:, c] == 1).sum()),
            known=int((targets[:, c] >= 0).sum()),
            threshold=float(thresholds[c]),
            AP=_or_none(precisions[c]),
            decided=_decided(probabilities[:, c] >= thresholds[c], targets[:, c]),
            calibration_error=_or_none(errors[c]),
            unmeasured=left_out.get(label),
        )
        for c, label in enumerate(labels)
    )


def _decided(predicted: Bool[np.ndarray, "*_"], targets: Int[np.ndarray, "*_"]) -> Decided:
    actual = int((targets == 1).sum())
    claimed = int((predicted & (targets >= 0)).sum())
    correct = int((predicted & (targets == 1)).sum())
    return Decided(
        correct / claimed if claimed else None,
        correct / actual if actual else None,
        2 * correct / (claimed + actual) if actual else None,
    )


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
