"""CSV files and JSON lines: one image a row."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from didvit.data.formats.cells import MARKS, SEPARATOR, is_marked, read_cells
from didvit.data.formats.csv_text import CsvRow, CsvTable, read_csv_text
from didvit.data.labels import composed
from didvit.data.table import DataError, Entry, Listing
from didvit.data.wording import first_few, quoted

IMAGE_COLUMNS = ("image", "file_name", "filename", "image_path", "path", "image_id")
"""What may name the image: ours, that of Hugging Face's image folders, Roboflow's, and others. The
first that is there counts; upper and lower case are the same."""

LABEL_COLUMNS = ("labels", "label", "tags", "classes", "choice", "choices")
"""What may hold the labels of an image: ours, and others of which exactly one must be there."""


class _Columns(NamedTuple):
    """Places of the columns of a CSV file.

    Attributes:
        image: Of the image.
        joined: Of the labels of an image, if one column has all of them.
        unknown: Of the labels that the image may have, if there is such a column.
        labels: Otherwise: of every label.
    """

    image: int
    joined: int | None
    unknown: int | None
    labels: dict[str, int]


def list_csv(path: Path) -> Listing:
    """The images of a CSV file, whose header names one of two sets of columns.

    Either ``image`` and ``labels`` (joined by a vertical bar; an empty cell is an image without any
    label), perhaps also ``unknown`` (labels that it may have, joined likewise); further columns are
    ignored. Or ``image`` and one column per label, with cells 1 (the image has it), 0 (it has not),
    and -1 or nothing (unknown). ``image``, or another of `IMAGE_COLUMNS`, is a path relative to the
    file's own folder.

    What tools write otherwise is read where it leaves no doubt, and said in the notes: cells parted
    by ``;`` or tabs, labels joined by ``;`` or ``,`` or in JSON or Python lists, and columns of 1
    and -1 alone, where -1 is absent.

    Raises:
        DataError: The file or a column is missing or stands twice, a quote is not closed, or a cell
            cannot be understood.
    """
    table = read_csv_text(path, _names_an_image)
    columns = _find_columns(path, table)
    rows = [row for row in table.rows if _check_row(row, columns, table.header)]
    if columns.joined is not None:
        return _list_joined(path, table, columns, rows)
    return _list_columns(path, table, columns, rows)


def _names_an_image(header: Sequence[str]) -> bool:
    return any(column.lower() in IMAGE_COLUMNS for column in header)


def _find_columns(path: Path, table: CsvTable) -> _Columns:
    header = [composed(column) for column in table.header]
    lower = [column.lower() for column in header]
    expected = (
        "the header must name the columns 'image' and 'labels', or 'image' and every label once, "
        f"and names {first_few(header) or 'none'}"
    )
    image_name = next((name for name in IMAGE_COLUMNS if name in lower), None)
    if image_name is None:
        raise DataError(f"{path}: there is no column 'image'; {expected}")
    label_name = next(
        (name for name in LABEL_COLUMNS if name in lower and _holds_labels(name, lower, table)),
        None,
    )
    special = {image_name, label_name, "unknown"} if label_name else {image_name}
    twice = [name for name in special if name and lower.count(name) > 1]
    if twice:
        raise DataError(f"{path}: the column {twice[0]!r} stands there twice; {expected}")
    image = lower.index(image_name)
    if label_name:
        unknown = lower.index("unknown") if "unknown" in lower else None
        return _Columns(image, lower.index(label_name), unknown, {})
    columns = [
        (place, column)
        for place, column in enumerate(header)
        if lower[place] not in IMAGE_COLUMNS[:3] and place != image
        if not (place == 0 and column.lower() in ("", "unnamed: 0") and _numbers_rows(table))
    ]
    if not columns:
        raise DataError(f"{path}: there is no column 'labels'; {expected}")
    names = [column for _, column in columns]
    wrong = [name for i, name in enumerate(names) if not name or name in names[:i]]
    if wrong:
        raise DataError(
            f"{path}: a column has no name, or that of another ({wrong[0]!r}); {expected}"
        )
    return _Columns(image, None, None, {column: place for place, column in columns})


def _holds_labels(name: str, lower: Sequence[str], table: CsvTable) -> bool:
    """Whether a column holds labels: 'labels' always does; others, where no other can."""
    if name == LABEL_COLUMNS[0]:
        return True
    if sum(other in lower for other in LABEL_COLUMNS) > 1:
        return False
    place = lower.index(name)
    cells = [row.cells[place] for row in table.rows if place < len(row.cells)]
    return any(cells) and not is_marked(cells)


def _numbers_rows(table: CsvTable) -> bool:
    """Whether the first column counts the rows, as pandas writes its index."""
    first = [row.cells[0] for row in table.rows]
    return first in ([str(i + start) for i in range(len(first))] for start in (0, 1))


def _check_row(row: CsvRow, columns: _Columns, header: Sequence[str]) -> bool:
    if len(row.cells) > len(header):
        raise DataError(f"{row.where}: more cells than columns; labels are joined by {SEPARATOR!r}")
    needed = columns.labels.values() if columns.joined is None else [columns.joined]
    if max((columns.image, *needed)) >= len(row.cells) or not row.cells[columns.image]:
        raise DataError(
            f"{row.where}: expected an image and its labels, got {quoted(row.cells)} under the "
            f"header {quoted(header)}"
        )
    if "\n" in row.cells[columns.image]:
        raise DataError(f"{row.where}: the path of an image has a line break; is a quote open?")
    return True


def _list_joined(path: Path, table: CsvTable, columns: _Columns, rows: list[CsvRow]) -> Listing:
    assert columns.joined is not None
    present = read_cells([(row.where, row.cells[columns.joined]) for row in rows])
    notes = [*table.notes, *(f"{path}: {note}" for note in present.notes)]
    place = columns.unknown
    unknown = [frozenset[str]()] * len(rows)
    if place is not None:
        cells = [(row.where, row.cells[place] if place < len(row.cells) else "") for row in rows]
        unknown = read_cells(cells).labels
    notes += [f"{path}: {note}" for note in _renamed(table.header, columns)]
    others = {columns.image, columns.joined, columns.unknown}
    ignored = [
        column
        for i, column in enumerate(table.header)
        if i not in others
        and column
        and is_marked([cell for row in rows for cell in row.cells[i : i + 1]])
    ]
    if ignored:
        notes.append(
            f"{path}: the columns {quoted(ignored)} are not read, as there is a column of labels"
        )
    entries = [
        Entry(row.where, path.parent / row.cells[columns.image], has, may)
        for row, has, may in zip(rows, present.labels, unknown, strict=True)
    ]
    return Listing(str(path), entries, folder=path.parent, notes=tuple(notes))


def _renamed(header: Sequence[str], columns: _Columns) -> list[str]:
    """What is said of columns that are not called as documented."""
    notes = []
    if header[columns.image].lower() not in IMAGE_COLUMNS[:3]:
        notes.append(f"the column {header[columns.image]!r} names the images")
    if columns.joined is not None and header[columns.joined].lower() != LABEL_COLUMNS[0]:
        notes.append(f"the column {header[columns.joined]!r} holds the labels")
    return notes


def _list_columns(path: Path, table: CsvTable, columns: _Columns, rows: list[CsvRow]) -> Listing:
    notes = [*table.notes, *(f"{path}: {note}" for note in _renamed(table.header, columns))]
    values = {
        row.cells[place].lower(): (row, label)
        for row in reversed(rows)
        for label, place in columns.labels.items()
    }
    if odd := [value for value in values if value not in MARKS]:
        row, label = values[odd[-1]]
        raise DataError(
            f"{row.where}, column {label!r}: expected 1 (present), 0 (absent), -1 or nothing "
            f"(unknown), got {row.cells[columns.labels[label]]!r}; as there is no column 'labels', "
            "every column beside the image is a label: the header must name the columns 'image' "
            f"and 'labels', or 'image' and every label once, and names {first_few(table.header)}"
        )
    meaning = dict(MARKS)
    states = {MARKS[value] for value in values}
    if any(value.startswith("-1") for value in values) and states == {True, None}:
        meaning |= {"-1": False, "-1.0": False}
        notes.append(
            f"{path}: its cells are 1 and -1 and never 0, so -1 is read as absent; leave cells "
            "empty where a label is unknown"
        )
    entries = []
    for row in rows:
        found = {label: meaning[row.cells[i].lower()] for label, i in columns.labels.items()}
        present = frozenset(label for label, state in found.items() if state)
        unknown = frozenset(label for label, state in found.items() if state is None)
        entries.append(Entry(row.where, path.parent / row.cells[columns.image], present, unknown))
    labels = tuple(columns.labels)
    return Listing(str(path), entries, labels, ordered=True, folder=path.parent, notes=tuple(notes))


def list_json_lines(path: Path) -> Listing:
    """The images of a file with one JSON object a line.

    An object has ``image`` or ``file_name`` (a path relative to the file's own folder), ``labels``
    (a list of strings), and perhaps ``unknown`` (labels that the image may have). Other keys, and
    blank lines, are ignored.

    Raises:
        DataError: The file or a key is missing, or a value is not of its kind.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (UnicodeDecodeError, OSError) as error:
        raise DataError(f"{path}: cannot be read as JSON lines in UTF-8 ({error})") from error
    entries = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            where = f"{path}, line {number}"
            value = parse_json(where, line)
            image = next((value[key] for key in IMAGE_COLUMNS[:3] if key in value), None)
            if not isinstance(image, str) or not image.strip():
                raise DataError(f"{where}: expected a path under 'image', got {image!r}")
            present, unknown = labels_in_json(where, value)
            entries.append(Entry(where, path.parent / image.strip(), present, unknown))
    return Listing(str(path), entries, folder=path.parent)


def parse_json(where: str, text: str | bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        DataError: It is none, or a key stands in it twice.
    """
    try:
        value = json.loads(text, object_pairs_hook=unique_keys(where))
    except DataError:
        raise
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON ({error})") from error
    if not isinstance(value, dict):
        raise DataError(f"{where}: expected a JSON object, got {type(value).__name__}")
    return value


def unique_keys(where: str) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    """What refuses an object with a key that stands twice, of which JSON keeps the last."""

    def check(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise DataError(f"{where}: the key {twice!r} stands twice in one object")
        return value

    return check


def labels_in_json(where: str, value: dict[str, Any]) -> tuple[frozenset[str], frozenset[str]]:
    """What an object names under ``labels``, and under ``unknown`` if it does.

    Raises:
        DataError: It is not a list of strings.
    """
    found = []
    for key in ("labels", "unknown"):
        labels = value.get(key, [] if key == "unknown" else None)
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            got = repr(labels)
            got = got if len(got) < 80 else f"{got[:77]}..."
            raise DataError(f"{where}: expected a list of strings under {key!r}, got {got}")
        found.append(frozenset(filter(None, map(str.strip, labels))))
    return found[0], found[1]
