"""Labels that cannot be learned or measured, and whatever else is odd about tables of labels."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np

from didvit.data.labels import MISSING, suspects, twins
from didvit.data.table import Table
from didvit.data.wording import counted, first_few, quoted

FEW = 10
"""Images; a label with fewer in training is learned badly."""


class Findings(NamedTuple):
    """What is odd about tables, in sentences.

    Attributes:
        problems: What is wrong, or very probably so.
        warnings: What was assumed, and what makes results worse.
    """

    problems: tuple[str, ...]
    warnings: tuple[str, ...]


def check_labels(tables: Mapping[str, Table]) -> Findings:
    """What can be told of the labels of tables without reading an image.

    Labels are counted without a matrix of images and labels, so ten thousand of them are no
    trouble.

    Args:
        tables: By name; first the one that a model learns from.
    """
    problems: list[str] = []
    warnings: list[str] = []
    for number, (name, table) in enumerate(tables.items()):
        problems += table.problems
        warnings += table.notes
        present, absent, unknown = table.label_counts()
        if not present.any():
            problems.append(f"{name}: no image has any of the {counted(len(present), 'label')}")
            continue
        if constant := _named(table, (absent == 0) & (present > 0)):
            problems.append(
                f"{name}: {_labels(constant)} that no image is known to lack: {quoted(constant)}; "
                "they can be neither learned nor measured; add images that lack them, or mark those"
            )
        if unseen := _named(table, unknown == len(table)):
            warnings.append(f"{name}: {_labels(unseen)} unknown of every image: {quoted(unseen)}")
        if odd := suspects(table.labels):
            problems.append(
                f"{name}: {_labels(odd)} that look like several joined ones, such as "
                f"{quoted(odd, 3)}; labels of one image are joined by '|'"
            )
        if absent_values := [label for label in table.labels if label.lower() in MISSING]:
            warnings.append(
                f"{name}: {_labels(absent_values)} as programs write a missing value: "
                f"{quoted(absent_values)}; leave the cell empty where an image has no label"
            )
        if number == 0:
            if rare := _named(table, (present < FEW) & (unknown < len(table))):
                warnings.append(
                    f"{name}: {_labels(rare)} of fewer than {FEW} images: {quoted(rare)}"
                )
            if singles := _singles(table, present):
                warnings.append(f"{name}: {singles}")
        elif missing := _missing(next(iter(tables.values())), table):
            warnings.append(f"{name}: {_labels(missing)} that no image has: {quoted(missing)}")
    if alike := _twins_across(tables.values()):
        warnings.append(
            f"labels of two data sets differ in case, spaces, hyphens or underscores alone: "
            f"{first_few(alike)}; spell them alike if they are one"
        )
    return Findings(tuple(dict.fromkeys(problems)), tuple(dict.fromkeys(warnings)))


def _missing(learned: Table, table: Table) -> list[str]:
    """Labels that are learned and that no image has, but for those unknown of every image."""
    present, _, unknown = table.label_counts()
    others = {
        x for x, n, u in zip(table.labels, present, unknown, strict=True) if n or u == len(table)
    }
    return [
        label
        for label in _named(learned, learned.label_counts().present > 0)
        if label not in others
    ]


def _twins_across(tables: Collection[Table]) -> list[str]:
    """Twins that are not in one table, whose notes would name them."""
    own = [set(table.labels) for table in tables]
    labels = dict.fromkeys(label for table in tables for label in table.labels)
    return [
        " and ".join(map(repr, group))
        for group in twins(labels)
        if not any(labels_of_one.issuperset(group) for labels_of_one in own)
    ]


def _singles(table: Table, present: np.ndarray) -> str | None:
    """A warning where nearly every image has a label of its own, as captions would."""
    of_one = int((present == 1).sum())
    if len(table) < FEW or 2 * of_one < len(table):
        return None
    return (
        f"{counted(of_one, 'label')} of one image each, for {counted(len(table), 'image')}; are "
        "they captions or names of files?"
    )


def _labels(names: list[str]) -> str:
    return counted(len(names), "label")


def _named(table: Table, chosen: np.ndarray) -> list[str]:
    return [table.labels[column] for column in np.flatnonzero(chosen)]
