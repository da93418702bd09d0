"""Section 2.2.3: re-constraint, how the spatial map V' acts on the semantic maps A (table 3).

The paper's three, and ours: two that keep the Hadamard product from turning negative maps inside
out, and a sum of maps of one scale.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

Reconstraint = Callable[[Tensor, Tensor], Tensor]


def reconstrain_hadamard(
    spatial_map: Float[Tensor, "B h w"], semantic_maps: Float[Tensor, "B C h w"]
) -> Float[Tensor, "B C h w"]:
    """``S = V' ⊗ A`` (eq. 6). Where A is negative, a large V' makes S smaller, not larger."""
    return spatial_map.unsqueeze(1) * semantic_maps


def reconstrain_sum(
    spatial_map: Float[Tensor, "B h w"], semantic_maps: Float[Tensor, "B C h w"]
) -> Float[Tensor, "B C h w"]:
    """``S = V' ⊕ A`` (eq. 7). V' is about 1/N, so that S is nearly A."""
    return spatial_map.unsqueeze(1) + semantic_maps


def reconstrain_none(
    spatial_map: Float[Tensor, "B h w"], semantic_maps: Float[Tensor, "B C h w"]
) -> Float[Tensor, "B C h w"]:
    """``S = A`` (eq. 8)."""
    return semantic_maps


def reconstrain_shifted(
    spatial_map: Float[Tensor, "B h w"], semantic_maps: Float[Tensor, "B C h w"]
) -> Float[Tensor, "B C h w"]:
    """``S = V' ⊗ (A - min A)``: maps begin at 0. Ours; a negative map stays right side out."""
    return spatial_map.unsqueeze(1) * (semantic_maps - semantic_maps.amin((-2, -1), keepdim=True))


def reconstrain_sigmoid(
    spatial_map: Float[Tensor, "B h w"], semantic_maps: Float[Tensor, "B C h w"]
) -> Float[Tensor, "B C h w"]:
    """``S = V' ⊗ sigmoid(A)``: probabilities in place of logits. Ours."""
    return spatial_map.unsqueeze(1) * semantic_maps.sigmoid()


def reconstrain_scaled_sum(
    spatial_map: Float[Tensor, "B h w"], semantic_maps: Float[Tensor, "B C h w"]
) -> Float[Tensor, "B C h w"]:
    """``S = V'/max V' ⊕ (A - min A)/(max A - min A)``: both count alike. Ours.

    A constant A counts as 0.
    """
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
