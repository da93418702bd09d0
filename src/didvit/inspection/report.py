"""The report: what is in data sets, and what is wrong with them, as sentences."""

from collections import Counter
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any, NamedTuple

from didvit.data.findings import FEW, Findings
from didvit.data.images import StoredImage
from didvit.data.wording import counted, quoted
from didvit.inspection.cooccurrence import Cooccurrence, LabelPair

FEW_IMAGES = 100
"""Number of images below which a data set is small, to learn from or to measure on."""
LEAST_SIDE = 64
"""Side in pixels below which an image is small."""
LISTED_PAIRS = 4000
"""Number of pairs of labels that the JSON report lists: all of COCO's 80 labels."""
STRONGEST_PAIRS = 20
"""Number of the strongest pairs of labels that a report has."""


class Place(NamedTuple):
    """An image of a split."""

    split: str
    image: Path | StoredImage


@dataclass(frozen=True)
class Range:
    """Least, median and greatest value among the readable images of a split."""

    least: float
    median: float
    greatest: float


@dataclass(frozen=True)
class Sizes:
    """Sizes of the readable images of a split.

    Attributes:
        width: Widths of the upright images, in pixels.
        height: Heights of the upright images, in pixels.
        aspect: Widths over heights.
        num_small: Number of images with a side of less than `LEAST_SIDE` pixels.
    """

    width: Range
    height: Range
    aspect: Range
    num_small: int


@dataclass(frozen=True)
class SplitReport:
    """One split, or all of them together.

    Attributes:
        num_images: Number of images, unreadable ones included (as in the next three).
        num_unlabeled: Number of images without any label.
        num_unknown: Number of pairs of image and label of which nothing is known.
        positives: Number of images that have a label, by label.
        bad_files: Reasons why images cannot be read, by the images' names.
        sizes: Sizes of the images; None where none can be read.
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
        images: The images, in the order of the splits.
        exact: Whether their files have the same bytes. Otherwise they look alike.
    """

    images: tuple[Place, ...]
    exact: bool

    @property
    def pair(self) -> tuple[Place, Place]:
        """Two of them, from different splits if there are any."""
        first, *others = self.images
        return first, next((place for place in others if place.split != first.split), others[0])


@dataclass(frozen=True)
class DataReport:
    """Findings of `inspect`.

    Attributes:
        splits: Findings by split; the first is the one that a model learns from.
        overall: Findings of all splits together.
        labels: Labels in order: those of all splits, where their lists differ.
        findings: Findings about labels, and of the readers of the data sets.
        cooccurrence: Label co-occurrence over all splits.
        duplicates: Duplicates; first the exact ones.
        size_edges: Edges in pixels, evenly spaced as logarithms, of a histogram of shorter sides.
        size_counts: Number of images by split whose shorter side lies between two edges.
    """

    splits: dict[str, SplitReport]
    overall: SplitReport
    labels: tuple[str, ...]
    findings: Findings
    cooccurrence: Cooccurrence
    duplicates: tuple[Duplicates, ...]
    size_edges: tuple[int, ...]
    size_counts: dict[str, tuple[int, ...]]

    @property
    def missing(self) -> dict[str, tuple[str, ...]]:
        """Labels of which a split has no image, though another has, by split."""
        occurring = self.overall.positives
        return {
            name: tuple(x for x, n in split.positives.items() if not n and occurring[x])
            for name, split in self.splits.items()
        }

    @property
    def rare(self) -> dict[str, tuple[str, ...]]:
        """Labels of which a split has images, but fewer than `FEW`, by split."""
        return {
            name: tuple(label for label, n in split.positives.items() if 0 < n < FEW)
            for name, split in self.splits.items()
        }

    @cached_property
    def strongest_pairs(self) -> list[LabelPair]:
        """The first `STRONGEST_PAIRS` of `Cooccurrence.strongest_pairs`."""
        return self.cooccurrence.strongest_pairs(STRONGEST_PAIRS)

    @property
    def shared(self) -> dict[tuple[str, str], Counter[str]]:
        """Numbers of 'exact' and 'near' duplicates in both of two splits, or twice in one."""
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
        """Sentences about what makes training or its measurements wrong."""
        found = []
        for name, split in self.splits.items():
            if bad := split.bad_files:
                found.append(
                    f"{name}: {len(bad)} of {counted(split.num_images, 'image')} are missing or "
                    f"cannot be read, first {next(iter(bad))} ({next(iter(bad.values()))}); "
                    "replace them, or remove them from the data set"
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
                f"{first} has no image with {quoted(unlearned)}, which other data sets have; a "
                "model cannot learn what it is never shown: add images, or leave the label out"
            )
        return (*found, *self.findings.problems)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about what makes training or its measurements poor, or was assumed."""
        few = [
            f"{name} has {counted(split.num_images, 'image')}, which is few: results will vary "
            "with chance"
            for name, split in self.splits.items()
            if split.num_images < FEW_IMAGES
        ]
        return (*self.findings.warnings, *few)

    @property
    def summary(self) -> str:
        """One sentence: how much was read, and what was found."""
        unreadable = len(self.overall.bad_files)
        return (
            f"{counted(self.overall.num_images, 'image')} in "
            f"{counted(len(self.splits), 'data set')} with {counted(len(self.labels), 'label')}: "
            f"{counted(unreadable, 'unreadable image')}, {counted(len(self.problems), 'problem')}, "
            f"{counted(len(self.warnings), 'warning')}"
        )

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values; of pairs of labels, the most frequent and the strongest."""
        pairs = self.cooccurrence.frequent_pairs(LISTED_PAIRS)
        return {
            "problems": list(self.problems),
            "warnings": list(self.warnings),
            "splits": {name: asdict(split) for name, split in self.splits.items()},
            "overall": asdict(self.overall),
            "missing_labels": {name: list(labels) for name, labels in self.missing.items()},
            "rare_labels": {name: list(labels) for name, labels in self.rare.items()},
            "labels": list(self.labels),
            "cooccurrence": [
                {"labels": [pair.label, pair.other], "num_images": pair.num_images}
                for pair in pairs
            ],
            "strongest_pairs": [pair._asdict() for pair in self.strongest_pairs],
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
