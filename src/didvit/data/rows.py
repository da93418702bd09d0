"""CSV files and JSON lines: one image a row."""

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from didvit.data.table import DataError, Entry, Listing

SEPARATOR = "|"
IMAGE_COLUMNS = ("image", "file_name")
"""What may name the image: ours, and that of Hugging Face's image folders."""

# pandas writes whole numbers as decimals where a column has gaps.
CELLS = {"1": True, "1.0": True, "0": False, "0.0": False, "-1": None, "-1.0": None, "": None}
"""Of a column per label: whether the image has it; None is unknown."""


def list_csv(path: Path) -> Listing:
    """The images of a CSV file, whose header names one of two sets of columns.

    Either ``image`` and ``labels`` (joined by a vertical bar; an empty cell is an image without any
    label), perhaps also ``unknown`` (labels that it may have, joined likewise); further columns are
    ignored. Or ``image`` and one column per label, with cells 1 (the image has it), 0 (it has not),
    and -1 or nothing (unknown). ``image``, or ``file_name`` in its place, is a path relative to the
    file's own folder.

    Raises:
        DataError: The file or a column is missing, or a cell cannot be understood.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            header = [column.strip() for column in reader.fieldnames or ()]
            reader.fieldnames = header
            entries = list(_csv_entries(path, reader, header))
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file") from error
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise DataError(f"{path}: cannot be read as a CSV file in UTF-8 ({error})") from error
    labels = () if "labels" in header else tuple(_label_columns(header))
    return Listing(str(path), entries, labels, folder=path.parent)


def _label_columns(header: Sequence[str]) -> list[str]:
    return [column for column in header if column not in IMAGE_COLUMNS]


def _csv_entries(path: Path, reader: csv.DictReader, header: list[str]) -> Iterator[Entry]:
    image_column = next((column for column in IMAGE_COLUMNS if column in header), None)
    columns = _label_columns(header)
    expected = (
        "the header must name the columns 'image' and 'labels', or 'image' and every label once, "
        f"and names {header or 'none'}"
    )
    if image_column is None:
        raise DataError(f"{path}: there is no column 'image'; {expected}")
    if not columns:
        raise DataError(f"{path}: there is no column 'labels'; {expected}")
    joined = "labels" in columns
    if not joined and ("" in columns or len(set(columns)) < len(columns)):
        raise DataError(f"{path}: a column has no name, or that of another; {expected}")
    for row in reader:
        where = f"{path}, line {reader.line_num}"
        if None in row:
            raise DataError(f"{where}: more cells than columns; labels are joined by {SEPARATOR!r}")
        image = (row[image_column] or "").strip()
        if not image or any(row[column] is None for column in (["labels"] if joined else columns)):
            raise DataError(f"{where}: expected an image and its labels, got {row}")
        if joined:
            present, unknown = split_labels(row["labels"]), split_labels(row.get("unknown") or "")
        else:
            cells = {column: row[column].strip() for column in columns}
            odd = next((column for column in columns if cells[column] not in CELLS), None)
            if odd is not None:
                raise DataError(
                    f"{where}, column {odd!r}: expected 1 (present), 0 (absent), -1 or nothing "
                    f"(unknown), got {cells[odd]!r}; as there is no column 'labels', every column "
                    f"beside the image is a label: {expected}"
                )
            present = frozenset(column for column in columns if CELLS[cells[column]])
            unknown = frozenset(column for column in columns if CELLS[cells[column]] is None)
        yield Entry(where, path.parent / image, present, unknown)


def split_labels(text: str) -> frozenset[str]:
    """Labels that are joined by vertical bars, or stand on lines of their own."""
    labels = (label.strip() for line in text.splitlines() for label in line.split(SEPARATOR))
    return frozenset(filter(None, labels))


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
            image = next((value[key] for key in IMAGE_COLUMNS if key in value), None)
            if not isinstance(image, str) or not image.strip():
                raise DataError(f"{where}: expected a path under 'image', got {image!r}")
            present, unknown = labels_in_json(where, value)
            entries.append(Entry(where, path.parent / image.strip(), present, unknown))
    return Listing(str(path), entries, folder=path.parent)


def parse_json(where: str, text: str | bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        DataError: It is none.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON ({error})") from error
    if not isinstance(value, dict):
        raise DataError(f"{where}: expected a JSON object, got {type(value).__name__}")
    return value


def labels_in_json(where: str, value: dict[str, Any]) -> tuple[frozenset[str], frozenset[str]]:
    """What an object names under ``labels``, and under ``unknown`` if it does.

    Raises:
        DataError: It is not a list of strings.
    """
    found = []
    for key in ("labels", "unknown"):
        labels = value.get(key, [] if key == "unknown" else None)
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise DataError(f"{where}: expected a list of strings under {key!r}, got {labels!r}")
        found.append(frozenset(filter(None, map(str.strip, labels))))
    return found[0], found[1]
