"""Counting: reads all images and labels of data sets, and gives the report."""

from collections.abc import Callable, Sequence

import numpy as np

from didvit.data.findings import check_labels
from didvit.data.table import Table
from didvit.inspection.cooccurrence import Cooccurrence
from didvit.inspection.fingerprint import Fingerprint, exact_groups, fingerprints, near_groups
from didvit.inspection.incidence import Incidence
from didvit.inspection.report import (
    LEAST_SIDE,
    DataReport,
    Duplicates,
    Place,
    Range,
    Sizes,
    SplitReport,
)

SIZE_BINS = 16
"""Number of bins of the histogram of shorter sides."""


def inspect(
    tables: dict[str, Table],
    advance: Callable[[int], None] = lambda images: None,
    workers: int = 0,
) -> DataReport:
    """Read every image once, and count labels, bad files, duplicates and sizes.

    Args:
        tables: The splits by name, at least one; first the one that a model learns from.
        advance: Called with the number of images that were just read.
        workers: Number of threads that read images; 0 reads in the caller's own.
    """
    labels = tuple(dict.fromkeys(label for table in tables.values() for label in table.labels))
    places = [Place(split, image) for split, table in tables.items() for image in table.images]
    results: list[Fingerprint | str] = []
    for result in fingerprints([place.image for place in places], workers):
        results.append(result)
        advance(1)
    splits, counts, stop = {}, {}, 0
    edges = _size_edges(results)
    for name, table in tables.items():
        start, stop = stop, stop + len(table)
        part = slice(start, stop)
        splits[name] = _split_report(table, labels, results[part])
        shorter = [min(f.width, f.height) for f in results[part] if isinstance(f, Fingerprint)]
        counts[name] = tuple(np.histogram(shorter, edges)[0].tolist()) if edges else ()
    return DataReport(
        splits,
        _overall(list(splits.values()), labels, results),
        labels,
        check_labels(tables),
        _cooccurrence(list(tables.values()), labels),
        _duplicates(places, results),
        edges,
        counts,
    )


def _split_report(
    table: Table, labels: Sequence[str], results: Sequence[Fingerprint | str]
) -> SplitReport:
    counts = table.label_counts().present.tolist()
    positives = dict(zip(table.labels, counts, strict=True))
    return SplitReport(
        num_images=len(table),
        num_unlabeled=sum(not of_image for of_image in table.image_labels),
        num_unknown=sum(map(len, table.unknown)),
        positives={label: positives.get(label, 0) for label in labels},
        bad_files={
            str(image): result.removeprefix(f"{image}: ")
            for image, result in zip(table.images, results, strict=True)
            if isinstance(result, str)
        },
        sizes=_sizes(results),
    )


def _overall(
    splits: Sequence[SplitReport], labels: Sequence[str], results: Sequence[Fingerprint | str]
) -> SplitReport:
    return SplitReport(
        num_images=sum(split.num_images for split in splits),
        num_unlabeled=sum(split.num_unlabeled for split in splits),
        num_unknown=sum(split.num_unknown for split in splits),
        positives={label: sum(split.positives[label] for split in splits) for label in labels},
        bad_files={name: reason for split in splits for name, reason in split.bad_files.items()},
        sizes=_sizes(results),
    )


def _sizes(results: Sequence[Fingerprint | str]) -> Sizes | None:
    sides = [(f.width, f.height) for f in results if isinstance(f, Fingerprint)]
    if not sides:
        return None
    width, height = np.array(sides).T
    return Sizes(
        *(_range(values) for values in (width, height, width / height)),
        num_small=int((np.minimum(width, height) < LEAST_SIDE).sum()),
    )


def _range(values: np.ndarray) -> Range:
    return Range(values.min().item(), np.median(values).item(), values.max().item())


def _size_edges(results: Sequence[Fingerprint | str]) -> tuple[int, ...]:
    """Edges of the bins of shorter sides; empty where no image can be read."""
    shorter = [min(f.width, f.height) for f in results if isinstance(f, Fingerprint)]
    if not shorter:
        return ()
    edges = np.geomspace(min(shorter), max(shorter) + 1, SIZE_BINS + 1)
    return tuple(np.unique(edges.round().astype(int)).tolist())


def _cooccurrence(tables: Sequence[Table], labels: tuple[str, ...]) -> Cooccurrence:
    column = {label: c for c, label in enumerate(labels)}
    present = [of_image for table in tables for of_image in table.image_labels]
    nothing: list[frozenset[str]] = [frozenset()]
    unknown = [x for table in tables for x in table.unknown or nothing * len(table)]
    groups = {of_image: group for group, of_image in enumerate(dict.fromkeys(unknown))}
    return Cooccurrence(
        labels,
        Incidence.of_items(present, column),
        np.array([groups[of_image] for of_image in unknown], np.int64),
        Incidence.of_items(list(groups), column),
    )


def _duplicates(
    places: Sequence[Place], results: Sequence[Fingerprint | str]
) -> tuple[Duplicates, ...]:
    readable = [
        (place, result)
        for place, result in zip(places, results, strict=True)
        if isinstance(result, Fingerprint)
    ]
    digests = [fingerprint.digest for _, fingerprint in readable]
    exact = exact_groups(digests)
    near = [
        group
        for group in near_groups([fingerprint.perceptual_hash for _, fingerprint in readable])
        if len({digests[index] for index in group}) > 1  # the others are exact
    ]
    return tuple(
        Duplicates(tuple(readable[index][0] for index in group), groups is exact)
        for groups in (exact, near)
        for group in groups
    )
