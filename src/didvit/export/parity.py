"""Proof that an export gives what its source gives: both full pipelines, on the same files."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from didvit.data.images import StoredImage
from didvit.data.table import Table
from didvit.environment import versions
from didvit.evaluation.evaluate import score
from didvit.evaluation.metrics import mean_average_precision
from didvit.inference.prediction import Failure, Prediction
from didvit.inference.predictor import Predictor

Box = tuple[int, int, int, int]

SCORE_BOUNDS = {"fp32": 1e-3, "fp16": 2e-2}
"""Largest difference of a score, by precision."""

MAP_BOUND = 0.3
"""Most that 8 bits may lose of the mAP, in percent."""


class ParityError(ValueError):
    """An export differs too much from its source; the message says by how much."""


@dataclass(frozen=True)
class Parity:
    """How far an export is from its source.

    Attributes:
        num_images: Number of images that both were run on.
        score_difference: Largest difference of a score of any label.
        label_flips: Number of pairs of image and label whose score is on the other side of its
            threshold.
        least_box_iou: Least IoU of the regions of one label; None where there are no regions.
        mean_box_iou: Their mean.
        same_regions: Share of the source's regions whose label has one in the export too.
        mAP_source, mAP_export: In percent, where labels were given.
    """

    num_images: int
    score_difference: float
    label_flips: int
    least_box_iou: float | None
    mean_box_iou: float | None
    same_regions: float
    mAP_source: float | None = None
    mAP_export: float | None = None

    def to_dict(self, precision: str) -> dict[str, Any]:
        """JSON values, with the bounds and the versions."""
        bounds = {"score_difference": SCORE_BOUNDS.get(precision), "mAP_lost": MAP_BOUND}
        return {
            "precision": precision,
            **asdict(self),
            "bounds": bounds,
            "versions": versions(),
        }

    def check(self, precision: str) -> None:
        """Refuse an export that is out of its bounds.

        Raises:
            ParityError: Names the figure and the bound.
        """
        bound = SCORE_BOUNDS.get(precision)
        if bound is not None and self.score_difference > bound:
            raise ParityError(
                f"a score of the export differs by {self.score_difference:.4f} from the source's, "
                f"more than {bound:g} ({precision}); nothing is written: take another precision or "
                "format"
            )
        if self.mAP_source is not None and self.mAP_export is not None:
            lost = self.mAP_source - self.mAP_export
            if lost > MAP_BOUND:
                raise ParityError(
                    f"the export loses {lost:.2f} mAP ({self.mAP_source:.2f} to "
                    f"{self.mAP_export:.2f}), more than {MAP_BOUND:g}; nothing is written: take "
                    f"another precision than {precision}, or more images"
                )


def measure_parity(
    source: Predictor,
    export: Predictor,
    images: Sequence[Path | StoredImage],
    table: Table | None = None,
    workers: int = 0,
    tell: Callable[[str], None] = lambda message: None,
) -> Parity:
    """Run both on the same files.

    Args:
        source: The model.
        export: Its export.
        images: Photographs, at least one that can be read.
        table: Labeled images, for mAP.
        workers: Number of threads that read the labeled images.
        tell: Told of photographs that cannot be read.

    Raises:
        ParityError: No image can be read.
    """
    differences, flips, ious, regions, count = [0.0], 0, [], 0, 0
    for one, other in zip(source.stream(images), export.stream(images), strict=True):
        if isinstance(one, Failure):
            tell(f"failed {one.error}")
        if isinstance(one, Failure) or isinstance(other, Failure):
            continue
        count += 1
        scores = np.array(list(one.scores.values())), np.array(list(other.scores.values()))
        differences.append(float(np.abs(scores[0] - scores[1]).max()))
        cuts = np.array(list(one.thresholds.values()))
        flips += int(((scores[0] >= cuts) != (scores[1] >= cuts)).sum())
        regions += len(one.regions)
        ious += _ious(one, other)
    if not count:
        raise ParityError("none of the photographs can be read, so that nothing is proven")
    mAPs = (None, None)
    if table is not None:
        fusion = source.method.fusion
        both = (score(predictor, table, 8, workers) for predictor in (source, export))
        mAPs = tuple(100 * mean_average_precision(s.fused(fusion), s.targets) for s in both)
    return Parity(
        count,
        max(differences),
        flips,
        min(ious) if ious else None,
        float(np.mean(ious)) if ious else None,
        len(ious) / regions if regions else 1.0,
        *mAPs,
    )


def _ious(one: Prediction, other: Prediction) -> list[float]:
    boxes = {region.label: region.box for region in other.regions}
    return [_iou(r.box, boxes[r.label]) for r in one.regions if r.label in boxes]


def _iou(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared)
