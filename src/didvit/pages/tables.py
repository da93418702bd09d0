"""Tables with bars inside their cells, which a reader can sort."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from didvit.pages.markup import Html, element, escaped, named

NOTHING = "–"
"""What stands for a number that there is none of."""


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        title: Its heading.
        numeric: Whether numbers stand in it, which are set to the right.
        hint: What it means, shown where the mouse rests on the heading.
    """

    title: str
    numeric: bool = False
    hint: str = ""


class Number(NamedTuple):
    """A number in a cell.

    Attributes:
        value: What rows are sorted by; None, or NaN, comes last.
        text: As it is shown.
        part: Length of the bar behind it, as a part of the cell; None is no bar.
    """

    value: float | None
    text: str
    part: float | None = None


Cell = str | Number
"""Markup, text that is escaped, or a number."""


def percent(value: float | None, digits: int = 1, bar: bool = True) -> Number:
    """A fraction as a percentage, with a bar of that length. None or NaN is no number.

    >>> percent(0.5)
    Number(value=0.5, text='50.0', part=0.5)
    """
    if value is None or math.isnan(value):
        return Number(None, NOTHING)
    return Number(value, f"{100 * value:.{digits}f}", min(max(value, 0), 1) if bar else None)


def count(value: int, greatest: int = 0) -> Number:
    """A whole number, with a bar where the greatest of the column is given."""
    return Number(value, f"{value:,}", value / greatest if greatest else None)


def table(
    columns: Sequence[Column],
    rows: Iterable[Sequence[Cell]],
    label: str,
    sortable: bool = False,
) -> Html:
    """A table in a box that scrolls where the table is wider, or much longer, than the screen.

    Args:
        columns: Its columns; the first names the rows.
        rows: Its rows, with a cell for each column.
        label: What it holds, for who cannot see it.
        sortable: Whether a click on a heading sorts the rows.
    """
    headings = [
        element(
            "th",
            column.title,
            class_="number" if column.numeric else None,
            scope="col",
            title=column.hint or None,
        )
        for column in columns
    ]
    whole = element(
        "table",
        element("thead", element("tr", *headings)),
        element("tbody", *(_row(row) for row in rows)),
        class_="sortable" if sortable else None,
    )
    # A box that scrolls has to be reached by keyboard.
    return element("div", whole, class_="box", tabindex=0, role="region", aria_label=label)


def matrix(names: Sequence[str], parts: Sequence[Sequence[float]], label: str) -> Html:
    """A square table of fractions, as whole percentages on a ground of that strength.

    Args:
        names: Of rows and columns, whatever they hold.
        parts: A row for each name, in [0, 1]; NaN is unknown. The diagonal is left out.
        label: What it holds, for who cannot see it.
    """
    head = element(
        "tr", element("td"), *(element("th", named(name, 24), scope="col") for name in names)
    )
    rows = []
    for i, (name, row) in enumerate(zip(names, parts, strict=True)):
        cells = [element("td") if i == j else _shaded(part) for j, part in enumerate(row)]
        rows.append(element("tr", element("th", named(name, 24), scope="row"), *cells))
    whole = element("table", element("thead", head), element("tbody", *rows), class_="matrix")
    return element("div", whole, class_="box", tabindex=0, role="region", aria_label=label)


def _shaded(part: float) -> Html:
    if math.isnan(part):
        return element("td", NOTHING)
    # Above 70 % the ground would be too strong for the text on it.
    return element("td", f"{100 * part:.0f}", style=f"--part:{70 * part:.0f}%")


def _row(cells: Sequence[Cell]) -> Html:
    first, *others = cells
    return element("tr", element("th", _text(first), scope="row"), *map(_cell, others))


def _text(cell: Cell) -> str:
    return cell.text if isinstance(cell, Number) else cell


def _cell(cell: Cell) -> Html:
    if not isinstance(cell, Number):
        return element("td", escaped(cell))
    known = cell.value is not None and not math.isnan(cell.value)
    return element(
        "td",
        cell.text,
        class_="number" if cell.part is None else "number bar",
        data_value=f"{cell.value:.6g}" if known else None,
        style=None if cell.part is None else f"--part:{100 * cell.part:.1f}%",
    )
