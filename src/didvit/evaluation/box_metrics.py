"""Measures of boxes that were found, against those that were drawn by hand.

A *pair* is an image and a label that it has. *Views* are the regions of an image that a method
recognizes on their own, whatever their labels. Boxes are ``[x0, y0, x1, y1)``, in pixels of one
image, and not empty.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torchvision.ops import box_iou

from didvit.data.boxes import AnnotatedImage
from didvit.evaluation.metrics import Interval


class Found(NamedTuple):
    """What a method finds in an image, in its pixels.

    Attributes:
        points: ``(x, y)`` for each of the P labels that the image has, in ascending order.
        boxes: One for each of these labels.
        views: The K regions that are recognized on their own.
    """

    points: Float[np.ndarray, "P 2"]
    boxes: Float[np.ndarray, "P 4"]
    views: Float[np.ndarray, "K 4"]


@dataclass(frozen=True)
class Average:
    """A measure in percent, with 95 % intervals over the choice of images.

    Attributes:
        label_mean: The mean of the labels' averages, over labels that occur.
        overall: The average over everything at once, so that frequent labels weigh more.
    """

    label_mean: float
    label_mean_interval: Interval
    overall: float
    overall_interval: Interval


@dataclass(frozen=True)
class BoxQuality:
    """The measures of one method.

    Attributes:
        pointing_game: Pairs whose point lies in a box of the label, with a tolerance of 0 pixels
            (Zhang et al., ECCV 2016, who allow 15; the paper's figure is ``label_mean``).
        corloc: Pairs whose box has an IoU of at least 0.5 with a box of the label (Deselaers et
            al., IJCV 2012; the figure of the literature is ``label_mean``).
        mean_iou: IoU of a pair's box with the box of the label that it meets best.
        coverage: Objects of which half the area or more lies in one of the image's views.
        area: The part of the image that a view covers, on average, in percent: large views cover
            much without any skill. 0 where there are no views.
    """

    pointing_game: Average
    corloc: Average
    mean_iou: Average
    coverage: Average
    area: float


def draw_images(count: int, resamples: int, seed: int = 0) -> Float[np.ndarray, "R n"]:
    """How often each of the images counts: once, in the first row; as drawn, in every resample."""
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), resamples)
    return np.vstack([np.ones(count), draws])


def measure(
    images: Sequence[AnnotatedImage], found: Sequence[Found], draws: Float[np.ndarray, "R n"]
) -> BoxQuality:
    """The measures of what a method found.

    Args:
        images: The n images with their boxes.
        found: What was found in each image.
        draws: Result of `draw_images`, for the intervals.
    """
    shape = len(images), 1 + max(max(image.labels) for image in images)  # n C
    pairs, objects, points, boxes, overlaps, covered = np.zeros((6, *shape))
    areas = np.zeros(len(images))
    for i, (image, of_image) in enumerate(zip(images, found, strict=True)):
        truth, labels = np.array(image.boxes, dtype=float), np.array(image.labels)
        present = list(image.present)
        same_label = np.equal.outer(present, labels)  # P n
        overlap = (iou(of_image.boxes, truth) * same_label).max(1)
        pairs[i, present] = 1
        points[i, present] = (contains(truth, of_image.points) & same_label).any(1)
        boxes[i, present] = overlap >= 0.5
        overlaps[i, present] = overlap
        inside = intersection(truth, of_image.views) / area(truth)[:, None]  # n K
        np.add.at(objects[i], labels, 1)
        np.add.at(covered[i], labels, (inside >= 0.5).any(1))
        if len(of_image.views):
            areas[i] = area(of_image.views).mean() / math.prod(image.size)
    return BoxQuality(
        _average(points, pairs, draws),
        _average(boxes, pairs, draws),
        _average(overlaps, pairs, draws),
        _average(covered, objects, draws),
        100 * float(areas.mean()),
    )


def _average(
    totals: Float[np.ndarray, "n C"],
    counts: Float[np.ndarray, "n C"],
    draws: Float[np.ndarray, "R n"],
) -> Average:
    """Totals by counts, of every label and of all, and the resamples' 2.5 and 97.5 percentiles.

    A label that does not occur in a resample is left out of the mean there.
    """
    totals, counts = draws @ totals, draws @ counts  # R C
    occurs = counts > 0
    ratios = np.divide(totals, counts, out=np.zeros_like(totals), where=occurs)
    label_mean = 100 * ratios.sum(1) / occurs.sum(1)
    overall = 100 * totals.sum(1) / counts.sum(1)

    def interval(values: Float[np.ndarray, " R"]) -> Interval:
        low, high = np.percentile(values[1:], (2.5, 97.5))
        return Interval(float(low), float(high))

    return Average(float(label_mean[0]), interval(label_mean), float(overall[0]), interval(overall))


def area(boxes: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, " n"]:
    """Areas of boxes ``[x0, y0, x1, y1)``."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def intersection(
    boxes: Float[np.ndarray, "n 4"], others: Float[np.ndarray, "m 4"]
) -> Float[np.ndarray, "n m"]:
    """Area that every box shares with every other; 0 where they only touch."""
    starts = np.maximum(boxes[:, None, :2], others[:, :2])
    ends = np.minimum(boxes[:, None, 2:], others[:, 2:])
    return (ends - starts).clip(min=0).prod(-1)


def iou(
    boxes: Float[np.ndarray, "n 4"], others: Float[np.ndarray, "m 4"]
) -> Float[np.ndarray, "n m"]:
    """Intersection over union of every box, none of them empty, with every other."""
    return box_iou(torch.from_numpy(boxes), torch.from_numpy(others)).numpy()


def contains(
    boxes: Float[np.ndarray, "n 4"], points: Float[np.ndarray, "P 2"]
) -> Bool[np.ndarray, "P n"]:
    """Whether a point lies in a box; its start is inside, its end outside."""
    points = points[:, None]
    return np.all((boxes[:, :2] <= points) & (points < boxes[:, 2:]), axis=-1)
