"""From scores to a report: mAP, AP, and precision, recall and F1, for every fusion."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from didvit.data.choices import Competition, Meter
from didvit.data.table import DataError, Table
from didvit.evaluation.metrics import (
    Interval,
    PrecisionRecall,
    average_precisions,
    bootstrap_interval,
    mean_of_known,
    precision_recall,
    voc11_average_precision,
)
from didvit.evaluation.scores import Scores
from didvit.evaluation.voc_submission import image_ids, write_submission

TOP_K = 3
EVEN_ODDS = 0.0
"""The logit of a probability of 0.5."""


@dataclass(frozen=True)
class FusionReport:
    """Metrics of one fusion, in percent.

    Attributes:
        mAP: Mean of ``AP`` over the labels that have one.
        mAP_interval: 95 % interval of mAP over the choice of images, where one was asked for.
        mAP_11_point: Mean of VOC 2007's interpolated AP over the same labels.
        AP: AP by label. None where nothing can be measured, see `Report.left_out`.
        all: Precision and recall of labels with a probability of at least 0.5.
        top3: The same for labels that are also among the image's three most probable.
    """

    mAP: float
    mAP_interval: Interval | None
    mAP_11_point: float
    AP: dict[str, float | None]
    all: PrecisionRecall
    top3: PrecisionRecall


@dataclass(frozen=True)
class Report:
    """Metrics of a model on a table.

    Attributes:
        num_images: Number of images that were scored.
        fusions: Metrics by fusion: global, local, max, mean.
        left_out: Labels that do not count in mAP, and why: any order of the images would do.
        failures: For each image that could not be read, why.
    """

    num_images: int
    fusions: dict[str, FusionReport]
    left_out: dict[str, str]
    failures: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON values; ``didvit evaluate --json`` adds model, settings and data."""
        fusions = {
            name: {
                **asdict(fusion),
                "mAP": _or_none(fusion.mAP),
                "mAP_11_point": _or_none(fusion.mAP_11_point),
                "mAP_interval": list(fusion.mAP_interval) if fusion.mAP_interval else None,
                "all": fusion.all._asdict(),
                "top3": fusion.top3._asdict(),
            }
            for name, fusion in self.fusions.items()
        }
        return {
            "num_images": self.num_images,
            "fusions": fusions,
            "left_out": self.left_out,
            "failures": list(self.failures),
        }


def report(
    scores: Scores, labels: tuple[str, ...], resamples: int = 0, meter: Meter = "known"
) -> Report:
    """Metrics of every fusion, computed once over all scores.

    Args:
        scores: Scores of a table.
        labels: The table's labels.
        resamples: Number of resamples of the bootstrap, for the intervals of mAP. 0 leaves them
            out.
        meter: Convention of precision and recall; see `precision_recall`.

    Raises:
        DataError: There are no scores: no image could be read.
    """
    if not len(scores.targets):
        raise DataError(f"no image can be read: {'; '.join(scores.failures[:1])}")
    fusions = {
        name: _fusion_report(scores.fused(name), scores.targets, labels, resamples, meter)
        for name in ("global", "local", "max", "mean")
    }
    left_out = labels_left_out(labels, scores.targets)
    return Report(len(scores.targets), fusions, left_out, scores.failures)


def labels_left_out(labels: Sequence[str], targets: Int[np.ndarray, "n C"]) -> dict[str, str]:
    """The labels that have no AP on these targets, and why.

    >>> labels_left_out(("cat", "dog"), np.array([[1, 1], [0, 1]]))
    {'dog': 'no image is known to lack it'}
    """
    has, lacks = (targets == 1).any(0), (targets == 0).any(0)
    reasons = {
        (False, False): "it is unknown in every image",
        (False, True): "no image is known to have it",
        (True, False): "no image is known to lack it",
    }
    return {
        label: reasons[bool(some), bool(others)]
        for label, some, others in zip(labels, has, lacks, strict=True)
        if not (some and others)
    }


def _fusion_report(
    logits: Float[np.ndarray, "n C"],
    targets: Int[np.ndarray, "n C"],
    labels: tuple[str, ...],
    resamples: int,
    meter: Meter,
) -> FusionReport:
    by_label = 100 * average_precisions(logits, targets)
    everything = precision_recall(logits, targets, EVEN_ODDS, meter=meter)
    top = precision_recall(logits, targets, EVEN_ODDS, top_k=TOP_K, meter=meter)
    by_voc = [voc11_average_precision(*column) for column in zip(logits.T, targets.T, strict=True)]
    interval = None
    if resamples and not np.isnan(by_label).all():
        low, high = bootstrap_interval(logits, targets, resamples)
        interval = Interval(100 * low, 100 * high)
    return FusionReport(
        mAP=mean_of_known(by_label),
        mAP_interval=interval,
        mAP_11_point=100 * mean_of_known(by_voc),
        AP={label: _or_none(float(ap)) for label, ap in zip(labels, by_label, strict=True)},
        all=PrecisionRecall(*(100 * value for value in everything)),
        top3=PrecisionRecall(*(100 * value for value in top)),
    )


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value


def submit(
    folder: Path,
    scores: Scores,
    table: Table,
    fusion: str,
    split: str = "test",
    competition: Competition = "comp1",
) -> None:
    """Write the files for VOC 2012's evaluation server: a logit for every image and label.

    Raises:
        DataError: An image could not be read (the server wants them all), or a name is none.
    """
    if scores.failures:
        raise DataError(f"a submission needs all images, but {'; '.join(scores.failures[:1])}")
    ids = image_ids(table.images)
    write_submission(folder, ids, scores.fused(fusion), table.labels, split, competition)
