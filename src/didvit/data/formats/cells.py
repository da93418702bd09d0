"""Cells of tables that hold labels: several in one, or a mark for one."""

import ast
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from didvit.data.labels import separator_of
from didvit.data.table import DataError

SEPARATOR = "|"

MARKS = {
    **{"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False},
    **{"-1": None, "-1.0": None, "": None},
}
"""Of a column per label: whether the image has it; None is unknown. In lower case. pandas writes
whole numbers as decimals where a column has gaps."""


class Cells(NamedTuple):
    """The labels of every cell, and what was assumed in reading them."""

    labels: list[frozenset[str]]
    notes: list[str]


def is_marked(cells: Sequence[str]) -> bool:
    """Whether cells are marks of one label, and not all empty."""
    texts = {cell.lower() for cell in cells}
    return any(texts) and texts <= MARKS.keys()


def read_cells(cells: Sequence[tuple[str, str]]) -> Cells:
    """The labels of cells, each given with its place.

    Labels are joined by ``|``. Where no cell has one, lists as JSON or Python write them are read,
    and labels joined by ``;`` or ``,``, if their parts occur in other cells too.

    Raises:
        DataError: A list is damaged, or a cell seems to hold other rows, as after an open quote.
    """
    texts = [text for _, text in cells]
    structured = [text[:1] + text[-1:] in ("[]", "{}") for text in texts]
    filled = sum(map(bool, texts))
    if structured and sum(structured) == filled and filled:
        labels = [_structure(where, text) if text else frozenset() for where, text in cells]
        return Cells(labels, ["labels are read from lists in its cells"])
    notes = []
    for where, text in cells:
        if "\n" in text and any("," in line for line in text.splitlines()):
            raise DataError(
                f"{where}: a cell of labels goes over several lines, which look like rows; is a "
                "quote not closed?"
            )
    if any("\n" in text for text in texts):
        notes.append("some cells of labels have line breaks, which are read as between labels")
    plain = [text for text, odd in zip(texts, structured, strict=True) if not odd]
    separator = separator_of(plain) or SEPARATOR
    if separator != SEPARATOR:
        notes.append(f"labels in one cell are taken apart at {separator!r}")
    if any(structured):
        notes.append("some cells hold lists, which are read as such")
    labels = [
        _structure(where, text) if odd else split_labels(text, separator)
        for (where, text), odd in zip(cells, structured, strict=True)
    ]
    return Cells(labels, notes)


def split_labels(text: str, separator: str = SEPARATOR) -> frozenset[str]:
    """Labels that are joined by vertical bars, or stand on lines of their own."""
    labels = (label.strip() for line in text.splitlines() for label in line.split(separator))
    return frozenset(filter(None, labels))


def _structure(where: str, text: str) -> frozenset[str]:
    """Labels of a list that JSON or Python wrote, or of Label Studio's choices."""
    value: Any = None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
            raise DataError(
                f"{where}: expected labels, or a list of them in JSON, got {text[:60]!r}"
            ) from error
    if isinstance(value, dict) and len(value) == 1:
        (value,) = value.values()  # Label Studio: {"choices": ["cat", "dog"]}
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple | set) or not all(isinstance(x, str) for x in value):
        raise DataError(f"{where}: expected a list of labels, got {text[:60]!r}")
    return frozenset(filter(None, map(str.strip, value)))
