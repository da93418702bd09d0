"""Section 2.2.3: re-constraint, how the spatial map V' acts on the semantic maps A (table 3)."""

from collections.abc import Callable

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


RECONSTRAINTS: dict[str, Reconstraint] = {
    "hadamard": reconstrain_hadamard,
    "sum": reconstrain_sum,
    "none": reconstrain_none,
}
