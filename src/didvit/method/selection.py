"""Section 2.2.1, table 5: which K categories of an image are looked at again.

Every selector takes logits ``(B, C)``, K and a generator (None: torch's own), and gives the
indices of K distinct categories an image, int64 ``(B, K)``. K = 0 gives ``(B, 0)``.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

Selector = Callable[[Tensor, int, Generator | None], Tensor]


def select_descending(
    logits: Float[Tensor, "B C"], top_n: int, generator: Generator | None = None
) -> Int[Tensor, "B K"]:
    """The K categories of highest logit, highest first; of equals, the first category."""
    return logits.argsort(dim=1, descending=True, stable=True)[:, :top_n]


def select_ascending(
    logits: Float[Tensor, "B C"], top_n: int, generator: Generator | None = None
) -> Int[Tensor, "B K"]:
    """The K categories of lowest logit, lowest first; of equals, the first category."""
    return logits.argsort(dim=1, stable=True)[:, :top_n]


def select_random(
    logits: Float[Tensor, "B C"], top_n: int, generator: Generator | None = None
) -> Int[Tensor, "B K"]:
    """K distinct categories, uniformly drawn; the generator is of the CPU."""
    draws = torch.rand(logits.shape, generator=generator, dtype=torch.float64)
    return draws.argsort(dim=1)[:, :top_n].to(logits.device)


SELECTORS: dict[str, Selector] = {
    "descending": select_descending,
    "ascending": select_ascending,
    "random": select_random,
}
