"""HCP's views: hypotheses for the whole image in place of one box per category.

Hypotheses-CNN-Pooling (Wei et al., TPAMI 2016) takes region proposals from BING, clusters them by
their overlap, and keeps the best of each cluster; the maximum over the hypotheses' scores is the
prediction (here: ``fusion = local``).

Differs: proposals come from the instance maps, at several thresholds, so that no other detector is
needed; a cluster is what overlaps its first proposal, where HCP cuts a graph of overlaps; and every
map gives one hypothesis, so that a view still belongs to a category, and there are ``top_n`` views,
where HCP has hundreds; the global view learns beside them, and all learn by the loss of all
compared systems, where HCP has its own.
"""

import numpy as np
from jaxtyping import Float, Int
from numpy.random import Generator

from didvit.method.boxes import Size
from didvit.method.localization import LOCALIZERS as METHOD_LOCALIZERS
from didvit.method.localization import Localizer, localize_largest_component

THRESHOLDS = (0.3, 0.5, 0.7, 0.9)
"""Parts of a map's range above which it is foreground. They give proposals of several sizes."""

OVERLAP = 0.5
"""A proposal of a greater IoU with an earlier hypothesis belongs to the latter's cluster."""


def localize_hypotheses(
    instance_maps: Float[np.ndarray, "B K h w"],
    image_size: Size,
    box_threshold: float,
    patch_size: Size,
    rng: Generator | None = None,
) -> Int[np.ndarray, "B K 4"]:
    """Find a box for each map, different in place or size from those of the maps before it.

    Proposals of a map are its boxes at λ, then at `THRESHOLDS`. Its hypothesis is the first
    proposal outside all clusters so far. Where all are inside, it is the box at λ.
    """
    thresholds = (box_threshold, *THRESHOLDS)
    proposals = np.stack(
        [localize_largest_component(instance_maps, image_size, t, patch_size) for t in thresholds],
        2,
    )  # B K n 4
    hypotheses = proposals[:, :, 0].copy()
    for i, of_image in enumerate(proposals):
        for k, of_map in enumerate(of_image):
            near = _iou(of_map, hypotheses[i, :k]) > OVERLAP
            free = of_map[~near.any(1)]
            hypotheses[i, k] = free[0] if len(free) else of_map[0]
    return hypotheses


def _iou(boxes: Int[np.ndarray, "n 4"], others: Int[np.ndarray, "m 4"]) -> Float[np.ndarray, "n m"]:
    """Intersection of every two boxes, divided by their union."""
    low = np.maximum(boxes[:, None, :2], others[:, :2])
    high = np.minimum(boxes[:, None, 2:], others[:, 2:])
    shared = (high - low).clip(0).prod(-1)
    areas, other_areas = ((b[:, 2:] - b[:, :2]).prod(-1) for b in (boxes, others))
    return shared / (areas[:, None] + other_areas - shared)


LOCALIZERS: dict[str, Localizer] = {**METHOD_LOCALIZERS, "hypotheses": localize_hypotheses}
"""Localizers by name: the method's, and HCP's."""
