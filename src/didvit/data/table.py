"""A table of images and their labels, joined from the listings that the readers of formats give."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Int

from didvit.data.images import StoredImage


class DataError(ValueError):
    """A data set cannot be used as it is; the message names the file and how to mend it."""


def split_error(path: Path, split: str | None, splits: Sequence[str]) -> DataError:
    """What to raise where ``split`` is none of those that a data set has."""
    problem = f"there is no split {split!r}" if split else "a split must be named"
    known = ", ".join(splits)
    hint = f"give one as {path}:{splits[0]}; there are: {known}" if splits else "there are none"
    return DataError(f"{path}: {problem}; {hint}")


@dataclass(frozen=True)
class Table:
    """Images with their labels.

    Attributes:
        images: The image files, or images inside larger files.
        image_labels: The labels of each image; may be empty.
        labels: All labels, in the order of the model's categories.
        unknown: The labels of which it is not known whether the image has them, for each image;
            empty where everything is known of all images.
    """

    images: tuple[Path | StoredImage, ...]
    image_labels: tuple[frozenset[str], ...]
    labels: tuple[str, ...]
    unknown: tuple[frozenset[str], ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def targets(self) -> Int[np.ndarray, "n C"]:
        """1 where the image has the label, 0 where it has not, -1 where that is unknown."""
        column = {label: c for c, label in enumerate(self.labels)}
        targets = np.zeros((len(self), len(self.labels)), dtype=int)
        for value, of_images in ((1, self.image_labels), (-1, self.unknown)):
            for i, labels in enumerate(of_images):
                targets[i, [column[label] for label in labels]] = value
        return targets


class Entry(NamedTuple):
    """An image as a data set lists it.

    Attributes:
        where: For messages: the file, and the place in it.
        image: It need not exist.
        present: The labels that it has.
        unknown: The labels that it may have.
    """

    where: str
    image: Path | StoredImage
    present: frozenset[str]
    unknown: frozenset[str] = frozenset()


class Listing(NamedTuple):
    """A data set as it stands on the disk, before it is checked.

    Attributes:
        name: For messages.
        entries: Its images.
        labels: Those that the format declares, whether an image has them or not.
        ordered: The labels have an official order.
        folder: The folder that the paths of its images are relative to, if they are.
        links_differ: A link is an image of its own, not the image that it leads to.
    """

    name: str
    entries: Sequence[Entry]
    labels: tuple[str, ...] = ()
    ordered: bool = False
    folder: Path | None = None
    links_differ: bool = False


def read_table(paths: Path | Sequence[Path], labels: Sequence[str] | None = None) -> Table:
    """Read one CSV file, or several as one table; see `rows.list_csv` and `join`.

    Raises:
        DataError: A file or column is missing, an image is listed twice or does not exist, a label
            is not among ``labels``, or there is no image or no label at all.
    """
    from didvit.data.rows import list_csv  # which needs the types above

    paths = [paths] if isinstance(paths, Path) else list(paths)
    return join([list_csv(path) for path in paths], labels)


def join(
    listings: Sequence[Listing],
    labels: Sequence[str] | None = None,
    missing: Literal["refuse", "keep"] = "refuse",
) -> Table:
    """One table of all images.

    Args:
        listings: The data sets. An image has no label that only another of them knows.
        labels: The labels that may occur, in order, for example a model's. None: those that occur
            or are declared; first those with an official order, then the others alphabetically.
        missing: Whether images that do not exist stay in the table, to be reported by who reads
            them. Where none exists, paths are wrong, which is refused in any case.

    Raises:
        DataError: An image is listed twice or does not exist, a label is both present and unknown,
            or not among ``labels``, or there is no image or no label at all.
    """
    places: dict[Path | StoredImage, str] = {}  # image, whatever leads to it -> where it is listed
    entries: list[Entry] = []
    absent: list[tuple[Entry, Path | None]] = []
    resolved = cache(Path.resolve)  # which is slow, and folders are few
    for listing in listings:
        for entry in listing.entries:
            key = entry.image
            if not isinstance(key, Path) or (os.path.islink(key) and not listing.links_differ):
                key = key.resolve()
            else:
                key = resolved(key.parent) / key.name
            if key in places:
                raise DataError(
                    f"{entry.where}: the image {entry.image.name} is listed already, at "
                    f"{places[key]}; put all labels of an image into one row"
                )
            if both := entry.present & entry.unknown:
                raise DataError(f"{entry.where}: {min(both)!r} is both a label and unknown")
            places[key] = entry.where
            entries.append(entry)
            if isinstance(entry.image, Path) and not os.path.isfile(entry.image):
                absent.append((entry, listing.folder))
    name = ", ".join(listing.name for listing in listings)
    if not entries:
        raise DataError(f"{name}: there are no images in it")
    if absent and (missing == "refuse" or len(absent) == len(entries)):
        entry, folder = absent[0]
        raise DataError(
            f"{entry.where}: there is no image {entry.image} ({len(absent)} of {len(entries)} are "
            f"missing); paths are relative to the folder {folder}"
        )
    found = frozenset().union(*(entry.present | entry.unknown for entry in entries))
    return Table(
        tuple(entry.image for entry in entries),
        tuple(entry.present for entry in entries),
        _all_labels(name, listings, found) if labels is None else _known(labels, found, entries),
        tuple(entry.unknown for entry in entries) if any(e.unknown for e in entries) else (),
    )


def _all_labels(name: str, listings: Sequence[Listing], found: frozenset[str]) -> tuple[str, ...]:
    ordered = [label for listing in listings if listing.ordered for label in listing.labels]
    others = found.union(*(listing.labels for listing in listings)).difference(ordered)
    labels = (*dict.fromkeys(ordered), *sorted(others))
    if not labels:
        raise DataError(f"{name}: no image has a label")
    return labels


def _known(labels: Sequence[str], found: frozenset[str], entries: list[Entry]) -> tuple[str, ...]:
    strange = sorted(found.difference(labels))
    if strange:
        where = next(e.where for e in entries if strange[0] in e.present | e.unknown)
        raise DataError(
            f"{where}: the label {strange[0]!r} is not among the {len(labels)} known labels "
            f"({', '.join(labels)}); {len(strange)} such labels in all: {', '.join(strange)}"
        )
    return tuple(labels)
