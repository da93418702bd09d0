"""A table of images and their labels: a CSV file with the columns ``image`` and ``labels``."""

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

SEPARATOR = "|"


class DataError(ValueError):
    """A data set cannot be used as it is; the message names the file and how to mend it."""


@dataclass(frozen=True)
class Table:
    """Images with their labels.

    Attributes:
        images: Paths of the image files.
        image_labels: The labels of each image; may be empty.
        labels: All labels, in the order of the model's categories.
    """

    images: tuple[Path, ...]
    image_labels: tuple[frozenset[str], ...]
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def targets(self) -> Int[np.ndarray, "n C"]:
        """1 where the image has the label, 0 where it has not."""
        return np.array(
            [[int(label in present) for label in self.labels] for present in self.image_labels]
        ).reshape(len(self), len(self.labels))


def read_table(paths: Path | Sequence[Path], labels: Sequence[str] | None = None) -> Table:
    """Read one CSV file, or several as one table.

    A file has a header with the columns ``image`` (a path, relative to the file's own folder) and
    ``labels`` (joined by a vertical bar; an empty cell is an image without any label).

    Args:
        paths: The CSV file or files.
        labels: The labels that may occur, in order, for example a model's. None: those that occur,
            in alphabetical order.

    Raises:
        DataError: A file or column is missing, an image is listed twice or does not exist, a label
            is not among ``labels``, or there is no image or no label at all.
    """
    paths = [paths] if isinstance(paths, Path) else list(paths)
    places: dict[Path, str] = {}  # image, whatever path leads to it -> where it is listed
    listed: dict[Path, tuple[str, frozenset[str]]] = {}  # image -> where it is listed, its labels
    for path in paths:
        for where, image, image_labels in _rows(path):
            first = places.setdefault(image.resolve(), where)
            if first is not where:
                raise DataError(
                    f"{where}: the image {image.name} is listed already, at {first}; "
                    "put all labels of an image into one row"
                )
            listed[image] = where, image_labels
    name = ", ".join(map(str, paths))
    if not listed:
        raise DataError(f"{name}: there are no images in it")
    missing = [(where, image) for image, (where, _) in listed.items() if not os.path.isfile(image)]
    if missing:
        where, image = missing[0]
        raise DataError(
            f"{where}: there is no image {image} ({len(missing)} of {len(listed)} are missing); "
            "paths are relative to the folder of the CSV file"
        )
    found = sorted(set().union(*(image_labels for _, image_labels in listed.values())))
    if labels is None:
        if not found:
            raise DataError(f"{name}: no image has a label")
        labels = found
    unknown = [label for label in found if label not in labels]
    if unknown:
        where = next(where for where, present in listed.values() if unknown[0] in present)
        raise DataError(
            f"{where}: the label {unknown[0]!r} is not among the {len(labels)} known labels "
            f"({', '.join(labels)}); {len(unknown)} such labels in all: {', '.join(unknown)}"
        )
    return Table(tuple(listed), tuple(present for _, present in listed.values()), tuple(labels))


def _rows(path: Path):
    """(where, image, labels) of every row."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            for column in ("image", "labels"):
                if column not in (reader.fieldnames or ()):
                    raise DataError(
                        f"{path}: there is no column {column!r}; the header must name the columns "
                        f"'image' and 'labels', and names {reader.fieldnames or 'none'}"
                    )
            for row in reader:
                where = f"{path}, line {reader.line_num}"
                if None in row:
                    raise DataError(
                        f"{where}: more cells than columns; labels are joined by {SEPARATOR!r}"
                    )
                if not row["image"] or row["labels"] is None:
                    raise DataError(f"{where}: expected an image and its labels, got {row}")
                cell = (label.strip() for label in row["labels"].split(SEPARATOR))
                yield where, path.parent / row["image"].strip(), frozenset(filter(None, cell))
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file") from error
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise DataError(f"{path}: cannot be read as a CSV file in UTF-8 ({error})") from error
