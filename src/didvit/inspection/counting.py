"""A look at all images and labels of a data set, before a model learns from it."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int

from didvit.data.table import Table
from didvit.inspection.fingerprint import Fingerprint, exact_groups, fingerprints, near_groups
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


def inspect(
    tables: dict[str, Table],
    advance: Callable[[int], None] = lambda images: None,
    workers: int = 0,
) -> DataReport:
    """Read every image once, and count labels, bad files, duplicates and sizes.

    Args:
        tables: The splits by name, at least one; first the one that a model learns from.
        advance: Called with the number of images that were just read.
        workers: Processes that read images; 0 reads in this one.
    """
    labels = tuple(dict.fromkeys(label for table in tables.values() for label in table.labels))
    places = [Place(split, image) for split, table in tables.items() for image in table.images]
    targets = np.concatenate([_targets(table, labels) for table in tables.values()])
    results: list[Fingerprint | str] = []
    for result in fingerprints([place.image for place in places], workers):
        results.append(result)
        advance(1)
    splits, counts, stop = {}, {}, 0
    edges = _size_edges(results)
    for name, table in tables.items():
        start, stop = stop, stop + len(table)
        part = slice(start, stop)
        splits[name] = _split_report(places[part], results[part], targets[part], labels)
        shorter = [min(f.width, f.height) for f in results[part] if isinstance(f, Fingerprint)]
        counts[name] = tuple(np.histogram(shorter, edges)[0].tolist()) if edges else ()
    cooccurrence, conditional = _cooccurrence(targets)
    return DataReport(
        splits,
        _split_report(places, results, targets, labels),
        labels,
        cooccurrence,
        conditional,
        _duplicates(places, results),
        edges,
        counts,
    )


def _targets(table: Table, labels: tuple[str, ...]) -> Int[np.ndarray, "n C"]:
    """1, 0 or -1 (unknown); a label that is not among the table's own is 0."""
    targets = np.zeros((len(table), len(labels)), dtype=int)
    targets[:, [labels.index(label) for label in table.labels]] = table.targets
    return targets


def _split_report(
    places: Sequence[Place],
    results: Sequence[Fingerprint | str],
    targets: Int[np.ndarray, "n C"],
    labels: tuple[str, ...],
) -> SplitReport:
    positive = targets == 1
    readable = [result for result in results if isinstance(result, Fingerprint)]
    return SplitReport(
        num_images=len(places),
        num_unlabeled=int((~positive.any(1)).sum()),
        num_unknown=int((targets < 0).sum()),
        positives=dict(zip(labels, positive.sum(0).tolist(), strict=True)),
        bad_files={
            str(place.image): result.removeprefix(f"{place.image}: ")
            for place, result in zip(places, results, strict=True)
            if isinstance(result, str)
        },
        sizes=_sizes(readable) if readable else None,
    )


def _sizes(readable: Sequence[Fingerprint]) -> Sizes:
    width, height = np.array([(image.width, image.height) for image in readable]).T
    return Sizes(
        *(_range(values) for values in (width, height, width / height)),
        num_small=int((np.minimum(width, height) < LEAST_SIDE).sum()),
    )


def _range(values: np.ndarray) -> Range:
    return Range(values.min().item(), np.median(values).item(), values.max().item())


def _size_edges(results: Sequence[Fingerprint | str]) -> tuple[int, ...]:
    """Of the bins of shorter sides; empty where no image can be read."""
    shorter = [min(f.width, f.height) for f in results if isinstance(f, Fingerprint)]
    if not shorter:
        return ()
    edges = np.geomspace(min(shorter), max(shorter) + 1, SIZE_BINS + 1)
    return tuple(np.unique(edges.round().astype(int)).tolist())


def _cooccurrence(
    targets: Int[np.ndarray, "n C"],
) -> tuple[Int[np.ndarray, "C C"], Float[np.ndarray, "C C"]]:
    """Images with both labels; the part of those with the row's label that have the column's."""
    positive, known = (targets == 1).astype(float), (targets >= 0).astype(float)
    together, given = positive.T @ positive, positive.T @ known
    conditional = np.divide(together, given, out=np.full_like(given, np.nan), where=given > 0)
    return together.astype(int), conditional


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
        for group in near_groups([fingerprint.looks for _, fingerprint in readable])
        if len({digests[index] for index in group}) > 1  # the others are exact
    ]
    return tuple(
        Duplicates(tuple(readable[index][0] for index in group), groups is exact)
        for groups in (exact, near)
        for group in groups
    )
