"""The text of a CSV file: its encoding, what parts its cells, and its rows."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from didvit.data.table import DataError

DELIMITERS = {",": "commas", ";": "';'", "\t": "tabs"}
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
"""Byte-order marks; Excel writes one in front of 'Unicode text'."""

LONGEST_CELL = 2**31 - 1
"""Characters; Python's own limit of 131,072 is less than ten thousand labels."""


class CsvRow(NamedTuple):
    """A row: where it stands, for messages, and its cells without spaces around them."""

    where: str
    cells: list[str]


class CsvTable(NamedTuple):
    """What a CSV file holds: names of columns, rows, and what was assumed in reading."""

    header: list[str]
    rows: list[CsvRow]
    notes: list[str]


def read_csv_text(path: Path, is_header: Callable[[Sequence[str]], bool]) -> CsvTable:
    """The header and the rows that are not blank.

    Args:
        path: The file.
        is_header: Whether a header is the one expected; of several ways to part the cells, the
            first that gives such a header is taken, else commas.

    Raises:
        DataError: The file cannot be read, is not text, or has a quote that is not closed.
    """
    text, notes = _read_text(path), []
    first, _, rest = text.partition("\n")
    skipped = 0
    delimiter = ","
    if first.strip().lower() in (f"sep={one}" for one in DELIMITERS):  # Excel's first line
        delimiter, text, skipped = first.strip()[4:], rest, 1
    else:
        for candidate in DELIMITERS:
            if is_header([cell.strip() for cell in next(_reader(first, candidate), [])]):
                delimiter = candidate
                break
    if delimiter != ",":
        notes.append(f"{path}: its cells are parted by {DELIMITERS[delimiter]}")
    header, rows = [], []
    for line, cells in _rows(path, text, delimiter, skipped):
        cells = [cell.strip() for cell in cells]
        if not header:
            header = cells
        elif cells:
            rows.append(CsvRow(f"{path}, line {line}", cells))
    return CsvTable(header, rows, notes)


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read as a CSV file in UTF-8 ({error})") from error
    try:
        text = content.decode("utf-16" if content.startswith(UTF_16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}: cannot be read as a CSV file in UTF-8 (line {line}: {error.reason}); save it "
            "with the encoding UTF-8"
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(
            f"{path}: cannot be read as a CSV file in UTF-8 (line {line}: a character 0); save it "
            "with the encoding UTF-8"
        )
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _reader(text: str, delimiter: str) -> Iterator[list[str]]:
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)


def _rows(path: Path, text: str, delimiter: str, skipped: int) -> Iterator[tuple[int, list[str]]]:
    """(line that it begins at, cells) of every row."""
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    start = 1
    with _long_cells():
        while True:
            try:
                cells = next(reader, None)
            except csv.Error as error:
                raise DataError(
                    f"{path}, line {start + skipped}: a quote is opened there and not closed, or "
                    f'text stands behind a closed one ({error}); write " inside quotes as ""'
                ) from error
            if cells is None:
                return
            yield start + skipped, cells
            start = reader.line_num + 1


@contextmanager
def _long_cells() -> Iterator[None]:
    before = csv.field_size_limit(LONGEST_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(before)
