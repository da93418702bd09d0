"""Section 2.2.3: re-constraint, how the spatial map V' acts on the semantic maps A (table 3).

Every function takes V' ``(B, h, w)`` and A ``(B, C, h, w)``, and gives S ``(B, C, h, w)``. The
first three are the paper's. The last three are ours: maps that are negative keep their peaks.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

Reconstraint = Callable[[Tensor, Tensor], Tensor]
SpatialMap = Float[Tensor, "B h w"]
Maps = Float[Tensor, "B C h w"]


def reconstrain_hadamard(spatial_map: SpatialMap, semantic_maps: Maps) -> Maps:
    """``S = V' ⊗ A`` (eq. 6). Where A is negative, a large V' makes S smaller, not larger."""
    return spatial_map.unsqueeze(1) * semantic_maps


def reconstrain_sum(spatial_map: SpatialMap, semantic_maps: Maps) -> Maps:
    """``S = V' ⊕ A`` (eq. 7). V' is about 1/N, so that S is nearly A."""
    return spatial_map.unsqueeze(1) + semantic_maps


def reconstrain_none(spatial_map: SpatialMap, semantic_maps: Maps) -> Maps:
    """``S = A`` (eq. 8)."""
    return semantic_maps


def reconstrain_shifted(spatial_map: SpatialMap, semantic_maps: Maps) -> Maps:
    """``S = V' ⊗ (A - min A)``: every map starts at 0. Ours."""
    return spatial_map.unsqueeze(1) * (semantic_maps - semantic_maps.amin((-2, -1), keepdim=True))


def reconstrain_sigmoid(spatial_map: SpatialMap, semantic_maps: Maps) -> Maps:
    """``S = V' ⊗ sigmoid(A)``: probabilities instead of logits. Ours."""
    return spatial_map.unsqueeze(1) * semantic_maps.sigmoid()


def reconstrain_scaled_sum(spatial_map: SpatialMap, semantic_maps: Maps) -> Maps:
    """``S = V'/max V' ⊕ (A - min A)/(max A - min A)``: equal scales. A constant A is 0. Ours."""
    shifted = semantic_maps - semantic_maps.amin((-2, -1), keepdim=True)
    span = shifted.amax((-2, -1), keepdim=True)
    scaled = shifted / torch.where(span > 0, span, 1.0)
    return (spatial_map / spatial_map.amax((-2, -1), keepdim=True)).unsqueeze(1) + scaled


RECONSTRAINTS: dict[str, Reconstraint] = {
    "hadamard": reconstrain_hadamard,
    "sum": reconstrain_sum,
    "none": reconstrain_none,
    "shifted": reconstrain_shifted,
    "sigmoid": reconstrain_sigmoid,
    "scaled_sum": reconstrain_scaled_sum,
}
