"""Tables of the report, for a terminal."""

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from didvit.inspection.report import FEW, LEAST_SIDE, DataReport, Range, SplitReport

SHOWN = 20
"""Number of rows of a table of findings, of which there may be very many."""
LABELS_SHOWN = 100
"""Number of labels with a row; of more, the most frequent and the rarest have one."""
PAIRS_SHOWN = 10
"""Number of pairs of labels with a row."""


def inspection_tables(report: DataReport) -> list[Table]:
    """Show the report as tables; those that would be empty are left out."""
    tables = [
        _split_table(report),
        _label_table(report),
        _pair_table(report),
        _shared_table(report),
        _duplicate_table(report),
        _bad_file_table(report),
    ]
    return [table for table in tables if table.row_count]


def _table_of_numbers(title: str, columns: Sequence[str]) -> Table:
    table = Table("", title=title)
    for column in columns:
        table.add_column(escape(column), justify="right", overflow="fold")
    return table


def _table_of_texts(title: str, columns: Sequence[str], num_rows: int) -> Table:
    """Make a table for the first `SHOWN` of so many rows."""
    hidden = num_rows - SHOWN
    table = Table(title=title, caption=f"and {hidden} more" if hidden > 0 else None)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _split_table(report: DataReport) -> Table:
    columns = _columns(report)
    table = _table_of_numbers("Images", list(columns))
    rows = {
        "images": lambda split: f"{split.num_images}",
        "unreadable": lambda split: f"{len(split.bad_files)}",
        "without a label": lambda split: f"{split.num_unlabeled}",
        "unknown labels": lambda split: f"{split.num_unknown}",
        "width": lambda split: _range_text(split.sizes and split.sizes.width, ".0f"),
        "height": lambda split: _range_text(split.sizes and split.sizes.height, ".0f"),
        "width / height": lambda split: _range_text(split.sizes and split.sizes.aspect, ".2f"),
        f"a side below {LEAST_SIDE}": lambda split: (
            f"{split.sizes.num_small if split.sizes else 0}"
        ),
    }
    for name, text in rows.items():
        table.add_row(name, *(text(split) for split in columns.values()))
    table.caption = "sizes: least, median and greatest, in pixels"
    return table


def _columns(report: DataReport) -> dict[str, SplitReport]:
    """The splits, and all of them together where there are several."""
    return {**report.splits, **({"all": report.overall} if len(report.splits) > 1 else {})}


def _range_text(values: Range | None, form: str) -> str:
    numbers = (values.least, values.median, values.greatest) if values else ()
    return "  ".join(format(number, form) for number in numbers)


def _label_table(report: DataReport) -> Table:
    columns = _columns(report)
    table = _table_of_numbers("Images by label", list(columns))
    missing = {name: set(labels) for name, labels in report.missing.items()}
    rare = {name: set(labels) for name, labels in report.rare.items()}
    for label in _shown_labels(report):
        cells = []
        for name, split in columns.items():
            is_missing, is_rare = label in missing.get(name, ()), label in rare.get(name, ())
            style = "bold red" if is_missing else "yellow" if is_rare else "none"
            cells.append(f"[{style}]{split.positives[label]}[/]")
        table.add_row(escape(label), *cells)
    table.caption = (
        f"red: no image here, though another data set has some; yellow: fewer than {FEW}"
    )
    if hidden := len(report.labels) - table.row_count:
        table.caption += f"; {hidden:,} labels between these are in the report of --json alone"
    return table


def _shown_labels(report: DataReport) -> list[str]:
    """All labels in order, or the most frequent and the rarest of many."""
    if len(report.labels) <= LABELS_SHOWN:
        return list(report.labels)
    by_frequency = report.cooccurrence.most_frequent(len(report.labels))
    half = LABELS_SHOWN // 2
    return [report.labels[column] for column in (*by_frequency[:half], *by_frequency[-half:])]


def _pair_table(report: DataReport) -> Table:
    table = _table_of_numbers("Labels that come together", ["in %", "images"])
    for pair in report.strongest_pairs[:PAIRS_SHOWN]:
        name = f"{pair.other} where {pair.label} is"
        table.add_row(escape(name), f"{100 * pair.probability:.1f}", str(pair.num_images))
    return table


def _shared_table(report: DataReport) -> Table:
    table = _table_of_numbers("Duplicates", ["exact", "near"])
    for (a, b), counts in report.shared.items():
        where = f"within {a}" if a == b else f"{a} and {b}"
        if counts.total():
            table.add_row(escape(where), str(counts["exact"]), str(counts["near"]))
    return table


def _duplicate_table(report: DataReport) -> Table:
    found = report.duplicates
    table = _table_of_texts("Duplicate images", ["", "split: image"], len(found))
    for duplicates in found[:SHOWN]:
        lines = [f"{place.split}: {place.image}" for place in duplicates.images[:SHOWN]]
        if (hidden := len(duplicates.images) - SHOWN) > 0:
            lines.append(f"and {hidden} more")
        kind = "exact" if duplicates.exact else "near"
        table.add_row(kind, escape("\n".join(lines)), end_section=True)
    return table


def _bad_file_table(report: DataReport) -> Table:
    bad = report.overall.bad_files
    table = _table_of_texts("Unreadable images", ["image", "reason"], len(bad))
    for name, reason in list(bad.items())[:SHOWN]:
        table.add_row(escape(name), escape(reason))
    return table
