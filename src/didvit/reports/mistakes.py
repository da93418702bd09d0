"""Mistakes of a model: what it takes for what, and the photographs where it is most wrong.

A label is *predicted* where its probability reaches its threshold. A *false positive* is predicted
and known to be absent; a *miss* is present and not predicted. Unknown labels are neither.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

BLOCK = 128
"""Number of labels that are compared with all others at once, which bounds the memory."""


class Confusion(NamedTuple):
    """A label that is predicted where it is absent, and another that is there.

    Attributes:
        label: Column of the label that is predicted.
        other: Column of the label that is present.
        false_positives: Number of images where ``label`` is a false positive.
        together: Number of those that have ``other``.
        usual: Part of all images known to lack ``label`` that have ``other``.
    """

    label: int
    other: int
    false_positives: int
    together: int
    usual: float


class Case(NamedTuple):
    """A label of an image that a model is wrong about.

    Attributes:
        row: Row of the image.
        label: Column of the label.
        probability: What the model gives it.
        threshold: The least probability with which it is predicted.
    """

    row: int
    label: int
    probability: float
    threshold: float


def confusions(
    predicted: Bool[np.ndarray, "n C"], targets: Int[np.ndarray, "n C"], count: int
) -> tuple[Confusion, ...]:
    """What is there when a label is predicted wrongly, more often than otherwise.

    Frequent labels are there most of the time: pairs are in the order of the number of images that
    have both in excess of what their usual part would give.

    Args:
        predicted: Whether a label is predicted.
        targets: 1, 0 or -1 (unknown).
        count: Number of pairs, at most. They have two images or more, and an excess above 0.
    """
    present, absent = targets == 1, targets == 0
    wrong = predicted & absent
    found: list[tuple[float, Confusion]] = []
    labels = np.flatnonzero(wrong.any(0))
    for start in range(0, len(labels), BLOCK):
        columns = labels[start : start + BLOCK]
        # Products of float32 are quick, and exact for fewer than 16 million images.
        others = present.astype(np.float32)
        together = (wrong[:, columns].T.astype(np.float32) @ others).astype(np.int64)
        usual = absent[:, columns].T.astype(np.float32) @ others
        usual = usual / absent[:, columns].sum(0)[:, None]
        totals = wrong[:, columns].sum(0)
        excess = together - totals[:, None] * usual
        excess[together < 2] = 0
        for place in np.argsort(-excess, axis=None, kind="stable")[:count].tolist():
            row, other = divmod(place, excess.shape[1])
            if excess[row, other] > 0:
                numbers = int(totals[row]), int(together[row, other]), float(usual[row, other])
                pair = Confusion(int(columns[row]), other, *numbers)
                found.append((float(excess[row, other]), pair))
    found.sort(key=lambda pair: -pair[0])
    return tuple(pair for _, pair in found[:count])


def worst_false_positives(
    probabilities: Float[np.ndarray, "n C"],
    targets: Int[np.ndarray, "n C"],
    thresholds: Float[np.ndarray, " C"],
    count: int,
) -> tuple[Case, ...]:
    """The false positives with the highest probability; of an image at most one.

    So that one label cannot fill the list, two of each label come first, then two more, and so on.
    """
    wrong = (probabilities >= thresholds) & (targets == 0)
    return _worst(wrong, probabilities, thresholds, count, highest=True)


def worst_misses(
    probabilities: Float[np.ndarray, "n C"],
    targets: Int[np.ndarray, "n C"],
    thresholds: Float[np.ndarray, " C"],
    count: int,
) -> tuple[Case, ...]:
    """The misses with the lowest probability, chosen as those of `worst_false_positives`."""
    missed = (probabilities < thresholds) & (targets == 1)
    return _worst(missed, probabilities, thresholds, count, highest=False)


def _worst(
    wrong: Bool[np.ndarray, "n C"],
    probabilities: Float[np.ndarray, "n C"],
    thresholds: Float[np.ndarray, " C"],
    count: int,
    highest: bool,
) -> tuple[Case, ...]:
    rows, columns = np.nonzero(wrong)
    order = np.argsort(probabilities[rows, columns] * (-1 if highest else 1), kind="stable")
    rows, columns = rows[order], columns[order]
    by_turn = np.argsort(_places_within(columns) // 2, kind="stable")
    chosen: dict[int, Case] = {}
    for row, column in zip(rows[by_turn].tolist(), columns[by_turn].tolist(), strict=True):
        if len(chosen) == count:
            break
        values = float(probabilities[row, column]), float(thresholds[column])
        chosen.setdefault(row, Case(row, column, *values))
    return tuple(sorted(chosen.values(), key=lambda case: case.probability, reverse=highest))


def _places_within(columns: Int[np.ndarray, " m"]) -> Int[np.ndarray, " m"]:
    """The place of each entry among those of its column, from 0."""
    by_column = np.argsort(columns, kind="stable")
    ordered = columns[by_column]
    starts = np.searchsorted(ordered, ordered)
    places = np.empty(len(columns), dtype=np.int64)
    places[by_column] = np.arange(len(columns)) - starts
    return places
