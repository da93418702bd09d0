"""What is in a data set, and what is wrong with it: the findings of `didvit.inspection`."""

from collections import Counter
from dataclasses import asdict, dataclass
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from didvit.data.images import StoredImage

FEW = 10
"""Images; a label with fewer in a split is learned or measured badly."""
LEAST_SIDE = 64
"""Pixels; an image with a shorter side is small."""


class Place(NamedTuple):
    """An image of a split."""

    split: str
    image: Path | StoredImage


@dataclass(frozen=True)
class Range:
    """Of the readable images of a split."""

    least: float
    median: float
    greatest: float


@dataclass(frozen=True)
class Sizes:
    """Of the readable images of a split.

    Attributes:
        width: In pixels, of upright images.
        height: Likewise.
        aspect: Width over height.
        num_small: Images with a side of less than `LEAST_SIDE` pixels.
    """

    width: Range
    height: Range
    aspect: Range
    num_small: int


@dataclass(frozen=True)
class SplitReport:
    """One split, or all of them together.

    Attributes:
        num_images: Bad files included, as in the next three.
        num_unlabeled: Images without any label.
        num_unknown: Pairs of image and label of which nothing is known.
        positives: The number of images that have a label.
        bad_files: Why images cannot be read, by name.
        sizes: None where no image can be read.
    """

    num_images: int
    num_unlabeled: int
    num_unknown: int
    positives: dict[str, int]
    bad_files: dict[str, str]
    sizes: Sizes | None


@dataclass(frozen=True)
class Duplicates:
    """Two or more images that are one.

    Attributes:
        images: In the order of the splits.
        exact: Their files have the same bytes. Otherwise they look alike, and may be told apart.
    """

    images: tuple[Place, ...]
    exact: bool

    @property
    def pair(self) -> tuple[Place, Place]:
        """Two of them, from different splits if there are any."""
        first, *others = self.images
        return first, next((place for place in others if place.split != first.split), others[0])


class LabelPair(NamedTuple):
    """How often images with one label have another too."""

    label: str
    other: str
    num_images: int
    probability: float


@dataclass(frozen=True)
class DataReport:
    """What `inspect` finds.

    Attributes:
        splits: By name; the first is the one that a model learns from.
        overall: All splits together.
        labels: In order; of the splits' lists, where these differ, all.
        cooccurrence: Images with both labels; the diagonal has those with one.
        conditional: Of the images with the row's label, of which the column's is known: the part
            that has it. NaN where there are none.
        duplicates: First the exact ones.
        size_edges: In pixels: edges, equally spaced as logarithms, of a histogram of shorter sides.
        size_counts: By split, the images whose shorter side lies between two edges.
    """

    splits: dict[str, SplitReport]
    overall: SplitReport
    labels: tuple[str, ...]
    cooccurrence: Int[np.ndarray, "C C"]
    conditional: Float[np.ndarray, "C C"]
    duplicates: tuple[Duplicates, ...]
    size_edges: tuple[int, ...]
    size_counts: dict[str, tuple[int, ...]]

    @property
    def missing(self) -> dict[str, tuple[str, ...]]:
        """Labels that a split has no image of, though another has."""
        occurring = self.overall.positives
        return {
            name: tuple(x for x, n in split.positives.items() if not n and occurring[x])
            for name, split in self.splits.items()
        }

    @property
    def rare(self) -> dict[str, tuple[str, ...]]:
        """Labels that a split has images of, but fewer than `FEW`."""
        return {
            name: tuple(label for label, n in split.positives.items() if 0 < n < FEW)
            for name, split in self.splits.items()
        }

    @property
    def strongest_pairs(self) -> list[LabelPair]:
        """Labels by the probability of the second given the first, which has at least `FEW` images.

        Only pairs that occur, the most probable first.
        """
        together = self.cooccurrence
        pairs = [
            LabelPair(
                self.labels[a], self.labels[b], int(together[a, b]), float(self.conditional[a, b])
            )
            for a, b in np.argwhere(together > 0)
            if a != b and together[a, a] >= FEW
        ]
        return sorted(pairs, key=lambda pair: (-pair.probability, -pair.num_images))

    @property
    def shared(self) -> dict[tuple[str, str], Counter[str]]:
        """By two splits, or one and itself: 'exact' and 'near' duplicates with images in both."""
        counts = {
            pair: Counter(exact=0, near=0) for pair in combinations_with_replacement(self.splits, 2)
        }
        for duplicates in self.duplicates:
            kind = "exact" if duplicates.exact else "near"
            images = Counter(place.split for place in duplicates.images)
            for (a, b), of_pair in counts.items():
                of_pair[kind] += images[a] > 1 if a == b else bool(images[a] and images[b])
        return counts

    @property
    def problems(self) -> tuple[str, ...]:
        """What makes training or its measurements wrong, as sentences; empty if nothing does."""
        found = []
        for name, split in self.splits.items():
            if bad := split.bad_files:
                found.append(
                    f"{name}: {len(bad)} of {split.num_images} images are missing or cannot be "
                    f"read, first {next(iter(bad))} ({next(iter(bad.values()))}); replace them, or "
                    "remove them from the data set"
                )
        for (a, b), counts in self.shared.items():
            if a != b and counts.total():
                found.append(
                    f"{a} and {b} share images: {counts['exact']} exact and {counts['near']} near "
                    "duplicates; leave each image in one split alone"
                )
        first = next(iter(self.splits))
        if unlearned := self.missing[first]:
            found.append(
                f"{first} has no image with {', '.join(unlearned)}, which other splits have; "
                "a model cannot learn what it is never shown: move images, or leave the label out"
            )
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "problems": list(self.problems),
            "splits": {name: asdict(split) for name, split in self.splits.items()},
            "overall": asdict(self.overall),
            "missing_labels": {name: list(labels) for name, labels in self.missing.items()},
            "rare_labels": {name: list(labels) for name, labels in self.rare.items()},
            "labels": list(self.labels),
            "cooccurrence": self.cooccurrence.tolist(),
            "strongest_pairs": [pair._asdict() for pair in self.strongest_pairs[:20]],
            "shared": [{"splits": list(pair), **counts} for pair, counts in self.shared.items()],
            "duplicates": [
                {
                    "exact": duplicates.exact,
                    "images": [
                        {"split": place.split, "image": str(place.image)}
                        for place in duplicates.images
                    ],
                }
                for duplicates in self.duplicates
            ],
            "shorter_sides": {
                "edges": list(self.size_edges),
                "counts": {name: list(counts) for name, counts in self.size_counts.items()},
            },
        }
