"""Section 2.2.1, table 5: which K categories of an image get a box and a view.

Every selector takes logits ``(B, C)``, K and a random generator (None: a new one). It gives the
indices of K distinct categories for each image, int64 ``(B, K)``. K = 0 gives ``(B, 0)``.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int
from numpy.random import Generator

Selector = Callable[[np.ndarray, int, Generator | None], np.ndarray]
Logits = Float[np.ndarray, "B C"]
Categories = Int[np.ndarray, "B K"]


def select_descending(logits: Logits, top_n: int, rng: Generator | None = None) -> Categories:
    """The K categories of highest logit, highest first; of equals, the first category."""
    return np.argsort(-logits, axis=1, kind="stable")[:, :top_n]


def select_ascending(logits: Logits, top_n: int, rng: Generator | None = None) -> Categories:
    """The K categories of lowest logit, lowest first; of equals, the first category."""
    return np.argsort(logits, axis=1, kind="stable")[:, :top_n]


def select_random(logits: Logits, top_n: int, rng: Generator | None = None) -> Categories:
    """K distinct categories, drawn uniformly."""
    draws = (rng or np.random.default_rng()).random(logits.shape)
    return np.argsort(draws, axis=1)[:, :top_n]


SELECTORS: dict[str, Selector] = {
    "descending": select_descending,
    "ascending": select_ascending,
    "random": select_random,
}
