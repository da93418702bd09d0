"""A table of images and their labels, joined from the listings that the readers of formats give."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Int8

from didvit.data.choices import Missing
from didvit.data.images import StoredImage
from didvit.data.labels import composed, fault_of, twins
from didvit.data.wording import counted, first_few, quoted


class DataError(ValueError):
    """A data set cannot be used as it is; the message names the file and how to mend it."""


def split_error(path: Path, split: str | None, splits: Sequence[str]) -> DataError:
    """What to raise where ``split`` is none of those that a data set has."""
    problem = f"there is no split {split!r}" if split else "a split must be named"
    known = first_few(splits)
    hint = f"give one as {path}:{splits[0]}; there are: {known}" if splits else "there are none"
    return DataError(f"{path}: {problem}; {hint}")


class LabelCounts(NamedTuple):
    """How many images of a table have each label, in the order of the table's labels.

    Attributes:
        present: Images that have the label.
        absent: Images that are known to lack it.
        unknown: The others.
    """

    present: Int[np.ndarray, " C"]
    absent: Int[np.ndarray, " C"]
    unknown: Int[np.ndarray, " C"]


@dataclass(frozen=True)
class Table:
    """Images with their labels.

    Attributes:
        images: The image files, or images inside larger files.
        image_labels: The labels of each image; may be empty.
        labels: All labels, in the order of the model's categories.
        unknown: The labels of which it is not known whether the image has them, for each image;
            empty where everything is known of all images.
        notes: What was assumed in reading, in sentences; to be told once.
        problems: What was passed over in reading though it may be data, likewise.
    """

    images: tuple[Path | StoredImage, ...]
    image_labels: tuple[frozenset[str], ...]
    labels: tuple[str, ...]
    unknown: tuple[frozenset[str], ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def targets(self) -> Int8[np.ndarray, "n C"]:
        """1 where the image has the label, 0 where it has not, -1 where that is unknown."""
        targets = np.zeros((len(self), len(self.labels)), dtype=np.int8)
        columns = self._columns
        for i in range(len(self)):
            self._fill(targets[i], i, columns)
        return targets

    def target_of(self, index: int) -> Int8[np.ndarray, " C"]:
        """The row of `targets` of one image, without the others."""
        target = np.zeros(len(self.labels), dtype=np.int8)
        self._fill(target, index, self._columns)
        return target

    def label_counts(self) -> LabelCounts:
        """Images by label, counted without a matrix of all images and labels."""
        columns = self._columns
        present, unknown = (np.zeros(len(self.labels), dtype=np.int64) for _ in range(2))
        for counts, of_images in ((present, self.image_labels), (unknown, self.unknown)):
            for labels, number in Counter(of_images).items():
                counts[[columns[label] for label in labels]] += number
        return LabelCounts(present, len(self) - present - unknown, unknown)

    @cached_property
    def _columns(self) -> dict[str, int]:
        """The column of every label; made once, as there may be ten thousand."""
        return {label: column for column, label in enumerate(self.labels)}

    def _fill(self, target: np.ndarray, index: int, columns: dict[str, int]) -> None:
        target[[columns[label] for label in self.image_labels[index]]] = 1
        if self.unknown:
            target[[columns[label] for label in self.unknown[index]]] = -1


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
        labels: Those that the format declares, whether an image has them or not. Of other labels
            nothing is known. Empty: the format declares none, and what is not named is absent.
        ordered: The labels are in an order of their own, which is kept.
        folder: The folder that the paths of its images are relative to, if they are.
        links_differ: A link is an image of its own, not the image that it leads to.
        notes: See `Table`.
        problems: Likewise.
    """

    name: str
    entries: Sequence[Entry]
    labels: tuple[str, ...] = ()
    ordered: bool = False
    folder: Path | None = None
    links_differ: bool = False
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def join(
    listings: Sequence[Listing],
    labels: Sequence[str] | None = None,
    missing: Missing = "refuse",
) -> Table:
    """One table of all images.

    Args:
        listings: The data sets. Where one declares its labels, others are unknown of its images;
            where it does not, they are absent.
        labels: The labels that may occur, in order, for example a model's. None: those that occur
            or are declared; first those with an order of their own, then the others alphabetically.
        missing: Whether images that do not exist stay in the table, to be reported by who reads
            them. Where none exists, paths are wrong, which is refused in any case.

    Raises:
        DataError: An image is listed twice or does not exist, a label is both present and unknown,
            not among ``labels`` or no possible label, or there is no image or no label at all.
    """
    name = first_few([listing.name for listing in listings], 3)
    listings, notes = _in_one_spelling(listings, labels or ())
    entries = [entry for listing in listings for entry in listing.entries]
    if not entries:
        raise DataError(f"{name}: there are no images in it")
    _check_images(listings, missing)
    for entry in entries:
        if both := entry.present & entry.unknown:
            raise DataError(f"{entry.where}: {min(both)!r} is both a label and unknown")
    found = _occurring(entries)
    if labels is None:
        labels = _all_labels(name, listings, found)
        notes += [
            f"{name}: the labels {quoted(group)} differ in case, spaces, hyphens or underscores "
            "alone, and are learned as different labels; spell them alike if they are one"
            for group in twins(labels)
        ]
    else:
        labels = _known(labels, found, entries)
    unknown, more_notes = _unknown(listings, labels)
    return Table(
        tuple(entry.image for entry in entries),
        tuple(entry.present for entry in entries),
        tuple(labels),
        unknown if any(unknown) else (),
        tuple(dict.fromkeys((*_all(listings, "notes"), *notes, *more_notes))),
        tuple(dict.fromkeys(_all(listings, "problems"))),
    )


def _all(listings: Iterable[Listing], name: str) -> list[str]:
    return [text for listing in listings for text in getattr(listing, name)]


def _occurring(entries: Iterable[Entry]) -> frozenset[str]:
    """Labels that any image has or may have; entries often share one set."""
    return frozenset().union(*{part for entry in entries for part in entry[2:]})


def _in_one_spelling(
    listings: Sequence[Listing], labels: Sequence[str]
) -> tuple[list[Listing], list[str]]:
    """The listings with every label in one Unicode form, that of ``labels`` if they have it."""
    spelling = {composed(label): label for label in labels}
    written: dict[str, set[str]] = {}

    def spelled(label: str) -> str:
        key = composed(label)
        written.setdefault(key, set()).add(label)
        return spelling.get(key, key)

    @cache
    def spelled_set(labels: frozenset[str]) -> frozenset[str]:
        return frozenset(map(spelled, labels))

    result = []
    for listing in listings:
        own = _occurring(listing.entries).union(listing.labels)
        _check_labels(listing, own)
        if not all(map(str.isascii, own)):
            entries = [
                entry._replace(
                    present=spelled_set(entry.present), unknown=spelled_set(entry.unknown)
                )
                for entry in listing.entries
            ]
            declared = tuple(dict.fromkeys(map(spelled, listing.labels)))
            listing = listing._replace(entries=entries, labels=declared)
        result.append(listing)
    twice = [key for key, forms in written.items() if len(forms) > 1]
    note = f"{quoted(twice)}: written in two Unicode forms, and read as one label"
    return result, [note] if twice else []


def _check_labels(listing: Listing, labels: Iterable[str]) -> None:
    """Refuse what cannot be a label, and say where it stands."""
    for label in labels:
        if fault := fault_of(label):
            places = (e.where for e in listing.entries if label in e.present | e.unknown)
            where = next(places, f"{listing.name}: among its labels")
            raise DataError(f"{where}: {quoted([label])} cannot be a label: {fault}")


def _check_images(listings: Sequence[Listing], missing: Missing) -> None:
    """Refuse images that are listed twice, and those that do not exist."""
    places: dict[Path | StoredImage, str] = {}  # image, whatever leads to it -> where it is listed
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
            places[key] = entry.where
            if isinstance(entry.image, Path) and not os.path.isfile(entry.image):
                absent.append((entry, listing.folder))
    if absent and (missing == "refuse" or len(absent) == len(places)):
        entry, folder = absent[0]
        raise DataError(
            f"{entry.where}: {_why_absent(entry.image, folder)} ({len(absent)} of {len(places)} "
            "are missing)"
        )


def _why_absent(image: Path | StoredImage, folder: Path | None) -> str:
    text = str(image)
    if os.path.isdir(text):
        return f"{text} is a folder; expected an image"
    if os.path.exists(text):
        return f"{text} is not a regular file; expected an image"
    problem = f"there is no image {text}; paths are relative to the folder {folder}"
    if "\\" in text and os.path.exists(text.replace("\\", "/")):
        return f"{problem}; write paths with '/' instead of '\\'"
    if "://" in text or ":/" in text.removeprefix(str(folder)):
        return f"{problem}; download images that are named by addresses"
    return problem


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
        alike = [group for group in twins((strange[0], *labels)) if strange[0] in group]
        mend = f"; is {strange[0]!r} the label {alike[0][1]!r}?" if alike else ""
        raise DataError(
            f"{where}: the label {strange[0]!r} is not among the {len(labels)} known labels "
            f"({first_few(labels)}); {len(strange)} such labels in all: {first_few(strange)}{mend}"
        )
    return tuple(labels)


def _unknown(
    listings: Sequence[Listing], labels: Sequence[str]
) -> tuple[tuple[frozenset[str], ...], list[str]]:
    """Of every image, the labels that it may have; and what was assumed of each data set."""
    unknown: list[frozenset[str]] = []
    notes = []
    for listing in listings:
        own = _occurring(listing.entries).union(listing.labels)
        others = [label for label in labels if label not in own]
        undeclared = frozenset[str](others if listing.labels else ())
        # Images share few sets, and large ones should not be copied for each.
        merged = {may: undeclared | may for may in {entry.unknown for entry in listing.entries}}
        unknown += [merged[entry.unknown] for entry in listing.entries]
        if others and (listing.labels or len(listings) > 1):
            what = (
                "does not declare them, so they are unknown of its images"
                if listing.labels
                else "names them of no image, so they are taken as absent from all of them"
            )
            notes.append(
                f"{listing.name}: {counted(len(others), 'label')} of the others "
                f"({quoted(others)}): this data set {what}"
            )
    return tuple(unknown), notes
