"""Logits of a table's images, however they were computed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from didvit.method.fusion import FUSIONS


@dataclass(frozen=True)
class Scores:
    """Logits of a table's images, and their targets. Images that cannot be read are left out.

    Attributes:
        indices: Places of the images in the table.
        global_logits: Logits of the whole images.
        local_logits: Highest logits of the views: regions and tiles.
        targets: 1, 0, or -1 (unknown).
        failures: For each image that could not be read, why.
        features: Mean patch tokens of the whole images; without columns where nobody asked.
        has_views: Whether an image's views were computed; empty where nobody asked.
    """

    indices: Int[np.ndarray, " n"]
    global_logits: Float[np.ndarray, "n C"]
    local_logits: Float[np.ndarray, "n C"]
    targets: Int[np.ndarray, "n C"]
    failures: tuple[str, ...]
    features: Float[np.ndarray, "n D"] = field(default_factory=lambda: np.empty((0, 0)))
    has_views: Bool[np.ndarray, " n"] = field(default_factory=lambda: np.empty(0, bool))

    def fused(self, fusion: str) -> Float[np.ndarray, "n C"]:
        """Logits of both branches as one, by the fusion of this name."""
        return FUSIONS[fusion](self.global_logits, self.local_logits)


class Branches(NamedTuple):
    """What a model gives for a batch of photographs."""

    global_logits: Float[np.ndarray, "B C"]
    local_logits: Float[np.ndarray, "B C"]
    features: Float[np.ndarray, "B D"]
    has_views: Bool[np.ndarray, " B"]


Run = Callable[[Sequence[UInt8[np.ndarray, "_ _ 3"]]], Branches]
"""A model on a batch of photographs of any sizes."""


def collect(
    run: Run,
    batches: Iterator[list],
    indices: Sequence[int],
    targets: Int[np.ndarray, "N C"],
    advance: Callable[[int], None] = lambda images: None,
) -> Scores:
    """Run a model over batches of photographs, in order.

    Args:
        run: The model.
        batches: Of each image its pixels, or why it cannot be read.
        indices: Places of the images in the table, in the order of the batches.
        targets: Of the whole table.
        advance: Called with the number of images that were just done.
    """
    rows: list[Branches] = []
    kept, failures, done = [], [], 0
    for batch in batches:
        pixels = [one for one in batch if not isinstance(one, str)]
        if pixels:
            rows.append(run(pixels))
        for index, one in zip(indices[done : done + len(batch)], batch, strict=True):
            if isinstance(one, str):
                failures.append(one)
            else:
                kept.append(index)
        done += len(batch)
        advance(len(batch))
    none = np.empty((0, targets.shape[1]))
    features = [row.features for row in rows]
    return Scores(
        np.array(kept, dtype=np.int64),
        np.concatenate([none, *(row.global_logits for row in rows)]).astype(np.float64),
        np.concatenate([none, *(row.local_logits for row in rows)]).astype(np.float64),
        targets[kept],
        tuple(failures),
        np.concatenate(features) if features else np.empty((0, 0)),
        np.concatenate([np.empty(0, bool), *(row.has_views for row in rows)]),
    )


def merge_scores(parts: Sequence[Scores]) -> Scores:
    """The scores of one table from those of its parts, in the order of the table."""
    order = np.argsort(np.concatenate([part.indices for part in parts]), kind="stable")

    def merged(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts])[order]

    return Scores(
        merged("indices"),
        merged("global_logits"),
        merged("local_logits"),
        merged("targets"),
        tuple(failure for part in parts for failure in part.failures),
    )
