"""Section 2.2.1, table 5: which K categories of an image get a box and a view.

Every selector takes logits ``(B, C)``, K and a generator (None: torch's own). It gives the indices
of K distinct categories for each image, int64 ``(B, K)``. K = 0 gives ``(B, 0)``.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

Selector = Callable[[Tensor, int, Generator | None], Tensor]
Logits = Float[Tensor, "B C"]
Categories = Int[Tensor, "B K"]


def select_descending(logits: Logits, top_n: int, generator: Generator | None = None) -> Categories:
    """The K categories of highest logit, highest first; of equals, the first category."""
    return logits.argsort(dim=1, descending=True, stable=True)[:, :top_n]


def select_ascending(logits: Logits, top_n: int, generator: Generator | None = None) -> Categories:
    """The K categories of lowest logit, lowest first; of equals, the first category."""
    return logits.argsort(dim=1, stable=True)[:, :top_n]


def select_random(logits: Logits, top_n: int, generator: Generator | None = None) -> Categories:
    """K distinct categories, drawn uniformly; the generator lives on the CPU."""
    draws = torch.rand(logits.shape, generator=generator, dtype=torch.float64)
    return draws.argsort(dim=1)[:, :top_n].to(logits.device)


SELECTORS: dict[str, Selector] = {
    "descending": select_descending,
    "ascending": select_ascending,
    "random": select_random,
}
