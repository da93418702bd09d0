"""HCP's views: hypotheses for the whole image in place of one box per category.

Hypotheses-CNN-Pooling (Wei et al., TPAMI 2016) takes region proposals from BING, clusters them by
their overlap, and keeps the best of each cluster; the maximum over the hypotheses' scores is the
prediction (here: ``fusion = local``).

Differs: proposals come from the instance maps, at several thresholds, so that no other detector is
needed; a cluster is what overlaps its best proposal, where HCP cuts a graph of overlaps.
"""

import torch
import torchvision.ops
from jaxtyping import Float, Int
from torch import Generator, Tensor

from didvit.method import LOCALIZERS as METHOD_LOCALIZERS
from didvit.method.localization import Localizer, localize_largest_component
from didvit.method.views import Size

THRESHOLDS = (0.3, 0.5, 0.7, 0.9)
"""Parts of a map's range above which it is foreground: proposals of several sizes."""

OVERLAP = 0.5
"""Proposals of a greater IoU with a better one are of its cluster."""


@torch.no_grad()
def localize_hypotheses(
    instance_maps: Float[Tensor, "B K h w"],
    image_size: Size,
    box_threshold: float,
    patch_size: Size,
    generator: Generator | None = None,
) -> Int[Tensor, "B K 4"]:
    """K boxes of the image, out of the proposals of its K maps together.

    Proposals are the boxes of every map at λ, then at `THRESHOLDS`; those of an earlier category
    are better. The best of each cluster are the hypotheses; where there are fewer clusters than K,
    the next best proposals are.
    """
    thresholds = (box_threshold, *THRESHOLDS)
    boxes = [
        localize_largest_component(instance_maps, image_size, t, patch_size) for t in thresholds
    ]
    proposals = torch.stack(boxes, dim=2).flatten(1, 2)  # B K*5 4, the first category's first
    quality = -torch.arange(proposals.shape[1], device=proposals.device, dtype=torch.float)
    hypotheses = torch.empty_like(boxes[0])
    for i, of_image in enumerate(proposals):
        best = torchvision.ops.nms(of_image.float(), quality, OVERLAP)
        is_best = torch.zeros_like(quality, dtype=torch.bool).index_fill(0, best, True)
        # Stable: the best, then the others, each in their order.
        order = is_best.byte().argsort(descending=True, stable=True)
        hypotheses[i] = of_image[order[: hypotheses.shape[1]]]
    return hypotheses


LOCALIZERS: dict[str, Localizer] = {**METHOD_LOCALIZERS, "hypotheses": localize_hypotheses}
"""The method's, and HCP's."""
