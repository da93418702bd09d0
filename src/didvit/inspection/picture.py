"""The report as a figure: images by label, co-occurrence, sizes and duplicates."""

from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from didvit.data.findings import FEW
from didvit.data.images import read_image
from didvit.data.wording import counted
from didvit.inspection.report import DataReport, Duplicates, Place

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
"""Colors of the splits, which color-blind people tell apart too (after Okabe and Ito)."""
WIDTH = 13
"""Width of the figure in inches, of 100 pixels each."""
BAR_LABELS = 90
"""Number of labels that have bars; of more, the most frequent, beside a curve of all."""
MATRIX_LABELS = 40
"""Number of labels of the matrix, the most frequent."""
NUMBERED_LABELS = 20
"""Number of labels up to which the matrix shows the number of images in its cells."""
PAIRS = 6
"""Number of pairs of duplicates."""
THUMBNAIL = 300
"""Longer side of the image of a duplicate, in pixels."""
OTHER_FONTS = ("Noto Sans CJK JP", "Noto Sans CJK SC", "WenQuanYi Zen Hei", "MS Gothic", "SimSun")
"""Fonts for Chinese, Japanese and Korean labels, where a machine has one."""


def draw_report(report: DataReport) -> "Figure":
    """Draw the images by label, co-occurrence, sizes, and up to six pairs of duplicates.

    Returns:
        The figure, 1300 pixels wide. ``figure.savefig("report.png")`` writes it.
    """
    from matplotlib import font_manager, rc_context

    fonts = set(font_manager.get_font_names()).intersection(OTHER_FONTS)
    with rc_context({"font.family": ["sans-serif", *fonts], "font.size": 9}):
        return _draw(report)


def _draw(report: DataReport) -> "Figure":
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    columns = report.cooccurrence.most_frequent(len(report.labels))
    shown = columns if len(columns) <= BAR_LABELS else columns[: 2 * MATRIX_LABELS]
    pairs = sorted(report.duplicates, key=_suspicion)[:PAIRS]
    num_bar_columns = min(max(len(shown) // 9, 1), 3)
    bar_rows = -(-len(shown) // num_bar_columns)
    heights = {
        "labels": 0.9 + bar_rows * max(0.2, 0.11 * len(report.splits)),
        "matrix": 2 + 0.2 * max(min(len(columns), MATRIX_LABELS), 5),
        "sizes": 2.6 * bool(report.size_edges or len(columns) > len(shown)),
        "duplicates": 0.3 * bool(pairs) + 2.6 * -(-len(pairs) // 3),
    }
    drawn = {name: height for name, height in heights.items() if height}
    layout = ConstrainedLayoutEngine(rect=(0.008, 0.004, 0.984, 0.992))  # leaves a margin
    figure = Figure(figsize=(WIDTH, 0.6 + sum(drawn.values())), dpi=100, layout=layout)
    figure.suptitle(_title(report), fontsize=13)
    parts = figure.subfigures(len(drawn), height_ratios=list(drawn.values()), squeeze=False)
    part = dict(zip(drawn, parts[:, 0], strict=True))
    colors = dict(zip(report.splits, cycle(COLORS), strict=False))
    _draw_bars(part["labels"], report, shown, num_bar_columns, colors)
    _draw_matrix(part["matrix"], report, columns[:MATRIX_LABELS])
    if "sizes" in part:
        _draw_distributions(part["sizes"], report, len(columns) > len(shown), colors)
    if pairs:
        _draw_duplicates(part["duplicates"], pairs)
    return figure


def _title(report: DataReport) -> str:
    splits = ", ".join(f"{_text(name)} {of.num_images:,}" for name, of in report.splits.items())
    bad = len(report.overall.bad_files)
    return (
        f"{counted(report.overall.num_images, 'image')} ({splits}), {bad:,} unreadable, "
        f"{counted(len(report.labels), 'label')}"
    )


def _text(text: str, length: int = 40) -> str:
    """Text on one line and not too long, of which matplotlib takes no part for a formula."""
    text = " ".join(text.split())
    text = "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
    return (text if len(text) <= length else f"{text[: length - 1]}…").replace("$", r"\$")


def _draw_bars(
    figure: Any, report: DataReport, shown: Sequence[int], num_columns: int, colors: dict[str, str]
) -> None:
    """Draw a row for each label, with a bar for each split, in so many columns."""
    of = "" if len(shown) == len(report.labels) else f" (the {len(shown)} most frequent labels)"
    figure.suptitle(f"Images by label, in percent of each split, and their number{of}", fontsize=11)
    rows = -(-len(shown) // num_columns)
    panels = figure.subplots(1, num_columns, squeeze=False, sharex=True)[0]
    thickness = 0.8 / len(report.splits)
    for column, axes in enumerate(panels):
        part = [report.labels[c] for c in shown[column * rows : (column + 1) * rows]]
        for i, (name, color) in enumerate(colors.items()):
            split = report.splits[name]
            numbers = [split.positives[label] for label in part]
            percents = [100 * number / max(split.num_images, 1) for number in numbers]
            places = np.arange(len(part)) - 0.4 + (i + 0.5) * thickness
            bars = axes.barh(places, percents, thickness, color=color, label=_text(name))
            axes.bar_label(bars, [f"{n:,}" for n in numbers], padding=2, fontsize=7, color="0.35")
        axes.set_yticks(range(len(part)), [_text(label, 24) for label in part])
        axes.set_ylim(rows - 0.5, -0.5)
        axes.margins(x=0.12)
        axes.tick_params(left=False)
        _lighten(axes)
    if len(colors) > 1:
        panels[-1].legend(loc="lower right", fontsize=9)


def _draw_matrix(figure: Any, report: DataReport, columns: Sequence[int]) -> None:
    """Draw the probability of the column's label given the row's, darker where it is greater."""
    of = "" if len(columns) == len(report.labels) else f" (the {len(columns)} most frequent)"
    axes = figure.subplots()
    axes.set_title(
        f"Label co-occurrence{of}: percent of images with the row's label that have the column's"
        + ("; numbers: images with both" if len(columns) <= NUMBERED_LABELS else ""),
        fontsize=11,
    )
    together, conditional = report.cooccurrence.matrix(columns)
    itself = np.eye(len(columns), dtype=bool)
    percent = np.ma.masked_where(itself | np.isnan(conditional), 100 * conditional)
    limit = max(percent.max(), 10) if percent.count() else 10
    image = axes.imshow(percent, cmap="Blues", vmin=0, vmax=limit, aspect="auto")
    axes.set_facecolor("0.9")
    names = [_text(report.labels[column], 24) for column in columns]
    axes.set_yticks(range(len(names)), names)
    turned = {"rotation": 90} if len(names) > 8 else {}
    axes.set_xticks(range(len(names)), names, **turned)
    axes.tick_params(length=0)
    figure.colorbar(image, ax=axes, pad=0.01, format="{x:.0f} %")
    if len(columns) <= NUMBERED_LABELS:
        for (row, column), images in np.ndenumerate(together):
            value = 0 if itself[row, column] else np.nan_to_num(100 * conditional[row, column])
            color = "white" if value > 0.6 * limit else "0.3"
            text = f"{images:,}" if images else ""
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=color)


def _draw_distributions(
    figure: Any, report: DataReport, with_curve: bool, colors: dict[str, str]
) -> None:
    """Draw the histogram of shorter sides, and the images of all labels if there are many."""
    has_sizes = bool(report.size_edges)
    panels = figure.subplots(1, has_sizes + with_curve, squeeze=False)[0]
    if has_sizes:
        _draw_sizes(panels[0], report, colors)
    if with_curve:
        _draw_curve(panels[-1], report, colors)


def _draw_sizes(axes: "Axes", report: DataReport, colors: dict[str, str]) -> None:
    edges = report.size_edges
    bins = np.arange(len(edges) - 1)
    width = 0.85 / len(report.splits)
    for i, (name, color) in enumerate(colors.items()):
        counts = np.array(report.size_counts[name])
        percents = 100 * counts / max(counts.sum(), 1)
        places = bins + 0.5 - 0.425 + (i + 0.5) * width
        axes.bar(places, percents, width, color=color, label=_text(name))
    axes.set_xticks(range(len(edges)), [str(edge) for edge in edges])
    axes.set_xlim(0, max(len(bins), 8))
    axes.set_title("Shorter side of the images in pixels, in percent of each split", fontsize=11)
    _lighten(axes, "y")


def _draw_curve(axes: "Axes", report: DataReport, colors: dict[str, str]) -> None:
    """Draw the number of images of every label, the most frequent label of each split first."""
    for name, color in colors.items():
        numbers = sorted(report.splits[name].positives.values(), reverse=True)
        axes.step(range(1, len(numbers) + 1), numbers, color=color, label=_text(name))
    axes.axhline(FEW, color="0.5", linewidth=0.8, linestyle="--")
    axes.set_yscale("symlog", linthresh=1)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylim(bottom=0)
    axes.set_title(f"Images by rank of the label (dashed: {FEW})", fontsize=11)
    _lighten(axes, "both")


def _lighten(axes: "Axes", grid: Any = "x") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, alpha=0.3)
    axes.set_axisbelow(True)


def _suspicion(duplicates: Duplicates) -> tuple[bool, bool]:
    """Sort first what two splits share, and of that what only looks alike: it wants eyes."""
    first, second = duplicates.pair
    return first.split == second.split, duplicates.exact


def _draw_duplicates(figure: Any, pairs: Sequence[Duplicates]) -> None:
    figure.suptitle("Duplicates", fontsize=11)
    rows = -(-len(pairs) // 3)
    cells = figure.subfigures(rows, 3, squeeze=False).ravel()
    for cell, duplicates in zip(cells, pairs, strict=False):
        others = len(duplicates.images) - 2
        kind = "same file" if duplicates.exact else "looks alike"
        cell.suptitle(kind + (f" (and {others:,} more)" if others else ""), fontsize=9, color="0.3")
        for axes, place in zip(cell.subplots(1, 2), duplicates.pair, strict=True):
            axes.imshow(_thumbnail(place))
            axes.set_axis_off()
            name = str(place.image).replace("\\", "/").rpartition("/")[2]
            axes.set_title(f"{_text(place.split, 24)}\n{_text(name, 24)}", fontsize=8)


def _thumbnail(place: Place) -> Image.Image:
    image = Image.fromarray(read_image(place.image))
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    return image
