"""The findings of an inspection as one picture: labels, what comes with what, sizes, duplicates."""

from collections.abc import Sequence
from itertools import cycle

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from didvit.data.images import read_image
from didvit.inspection.report import DataReport, Duplicates, Place
from didvit.visualization import (
    BACKGROUND,
    COLORS,
    FAINT,
    FOREGROUND,
    GAP,
    beside,
    caption,
    one_line,
    stack,
)

WIDTH, MARGIN = 1280, 16
NAME_WIDTH = 130
BAR_HEIGHT = 13
CELL = (15, 64)
"""The least and greatest side of a cell of the matrix; counts are written where they fit."""
MATRIX_LABELS = 100
"""The matrix has no more than these, the commonest."""
PAIRS = 6
EMPTY = (39, 39, 42)


def draw_report(report: DataReport) -> Image.Image:
    """Label counts of every split, co-occurrence of labels, sizes, and up to six duplicates.

    Returns:
        An RGB picture, 1312 to 1662 pixels wide; more than 76 labels need more than the least.
    """
    colors = dict(zip(report.splits, cycle(COLORS), strict=False))
    commonest = f" ({MATRIX_LABELS} commonest labels)"
    parts = [
        _legend(report, colors),
        _heading("labels: percent of each split's images, and their number"),
        _label_bars(report, colors),
        _heading(
            "of the images with the row's label, how many have the column's too"
            + commonest * (len(report.labels) > MATRIX_LABELS)
        ),
        _matrix(report),
    ]
    if report.size_edges:
        heading = _heading("the shorter side, in pixels: percent of each split's images")
        parts += [heading, _size_bars(report, colors)]
    if pairs := sorted(report.duplicates, key=_suspicion)[:PAIRS]:
        parts += [_heading("duplicates"), _strip(pairs)]
    return ImageOps.expand(stack(parts, max(part.width for part in parts)), MARGIN, BACKGROUND)


def _heading(text: str) -> Image.Image:
    return stack([_canvas(WIDTH, GAP), caption(text, WIDTH, 18)], WIDTH)


def _name(
    text: str, width: int, size: int, color: tuple[int, int, int] = FOREGROUND
) -> Image.Image:
    """One line, ended by an ellipsis where it is too long."""
    return caption(one_line(text)[:100], width, size, color)  # longer never fits, and takes long


def _canvas(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), BACKGROUND)


def _legend(report: DataReport, colors: dict[str, tuple[int, int, int]]) -> Image.Image:
    bad = len(report.overall.bad_files)
    title = f"{report.overall.num_images} images, {bad} unreadable; {len(report.labels)} labels"
    lines = [
        _name(f"{split.num_images} images: {name}", WIDTH, 18, colors[name])
        for name, split in report.splits.items()
    ]
    return stack([caption(title, WIDTH), *lines], WIDTH)


def _label_bars(report: DataReport, colors: dict[str, tuple[int, int, int]]) -> Image.Image:
    """A row per label, in as many columns as leave them legible, with a bar per split."""
    num_columns = min(max(len(report.labels) // 9, 1), 3)
    width = (WIDTH + GAP) // num_columns - GAP
    most = max(_percent(report, name, label) for name in report.splits for label in report.labels)
    rows = []
    for label in report.labels:
        name = _name(label, NAME_WIDTH - GAP, 14)
        bars_height = (BAR_HEIGHT + 1) * len(report.splits)
        row = _canvas(width, max(bars_height, name.height))
        row.paste(name, (0, (row.height - name.height) // 2))
        draw, font = ImageDraw.Draw(row), ImageFont.load_default(11)
        for i, (split, color) in enumerate(colors.items()):
            percent = _percent(report, split, label)
            y = (row.height - bars_height) // 2 + i * (BAR_HEIGHT + 1)
            text = f"{percent:.1f} %  {report.splits[split].positives[label]}"
            room = width - NAME_WIDTH - 80
            right = NAME_WIDTH + round(room * percent / most) if most else NAME_WIDTH
            if percent:
                draw.rectangle((NAME_WIDTH, y, right, y + BAR_HEIGHT - 1), fill=color)
            draw.text((right + 5, y), text, fill=FAINT, font=font)
        rows.append(row)
    per_column = -(-len(rows) // num_columns)
    columns = [rows[i : i + per_column] for i in range(0, len(rows), per_column)]
    return beside([stack(column, width) for column in columns])


def _percent(report: DataReport, split: str, label: str) -> float:
    return 100 * report.splits[split].positives[label] / report.splits[split].num_images


def _matrix(report: DataReport) -> Image.Image:
    """Brighter where the column's label is more probable; on the diagonal, the label's images."""
    kept = np.sort(np.argsort(-report.cooccurrence.diagonal(), kind="stable")[:MATRIX_LABELS])
    count, together = len(kept), report.cooccurrence[np.ix_(kept, kept)]
    cell = min(max((WIDTH - NAME_WIDTH) // count, CELL[0]), CELL[1])
    off_diagonal = ~np.eye(count, dtype=bool)
    probability = np.where(off_diagonal, np.nan_to_num(report.conditional[np.ix_(kept, kept)]), 0)
    scaled = probability / max(probability.max(), 1e-9)
    heat = cv2.applyColorMap((255 * scaled).round().astype(np.uint8), cv2.COLORMAP_INFERNO)
    heat[~off_diagonal] = EMPTY
    size = NAME_WIDTH + cell * count
    picture = _canvas(size, size)
    picture.paste(
        Image.fromarray(heat[..., ::-1]).resize(
            (cell * count, cell * count), Image.Resampling.NEAREST
        ),
        (NAME_WIDTH, NAME_WIDTH),
    )
    font_size = min(cell - 4, 14)
    names = [_name(report.labels[k], NAME_WIDTH - GAP, font_size) for k in kept]
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(min(cell / 3, 14))
    for i, name in enumerate(names):
        start = NAME_WIDTH + i * cell + (cell - name.height) // 2
        picture.paste(name, (0, start))
        turned = name.transpose(Image.Transpose.ROTATE_90)
        picture.paste(turned, (start, NAME_WIDTH - GAP - turned.height))
        for j, images in enumerate(together[i]):
            if cell >= 30 and images:
                middle = (NAME_WIDTH + (j + 0.5) * cell, NAME_WIDTH + (i + 0.5) * cell)
                color = "black" if scaled[i, j] > 0.6 else FOREGROUND
                draw.text(middle, f"{images}", fill=color, font=font, anchor="mm")
    return picture


def _size_bars(report: DataReport, colors: dict[str, tuple[int, int, int]]) -> Image.Image:
    """A group of bars per bin of the histogram, one bar per split."""
    height, picture = 160, _canvas(WIDTH, 200)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(12)
    totals = {name: max(sum(counts), 1) for name, counts in report.size_counts.items()}
    parts = {name: np.array(c) / totals[name] for name, c in report.size_counts.items()}
    most = max(part.max() for part in parts.values())
    num_bins = len(report.size_edges) - 1
    for b in range(num_bins):
        left, right = WIDTH * b / num_bins, WIDTH * (b + 1) / num_bins - GAP
        width = (right - left) / len(parts)
        for i, (name, part) in enumerate(parts.items()):
            x, top = left + i * width, height - (height - 20) * part[b] / most
            if part[b]:
                draw.rectangle((x, top, x + width - 1, height), fill=colors[name])
        tallest = max(part[b] for part in parts.values())
        if tallest:
            top = height - (height - 20) * tallest / most - 2
            text = f"{100 * tallest:.1f}"
            draw.text(((left + right) / 2, top), text, fill=FAINT, font=font, anchor="mb")
        draw.text((left, height + 6), f"{report.size_edges[b]}", fill=FAINT, font=font)
    return picture


def _suspicion(duplicates: Duplicates) -> tuple[bool, bool]:
    """Sorts first what two splits share, and of that what only looks alike: it wants eyes."""
    first, second = duplicates.pair
    return first.split == second.split, duplicates.exact


def _strip(pairs: Sequence[Duplicates]) -> Image.Image:
    width = (WIDTH + 3 * GAP) // 3 - 3 * GAP
    tiles = []
    for duplicates in pairs:
        others = len(duplicates.images) - 2
        kind = "same file" if duplicates.exact else "looks alike"
        head = caption(kind + (f" (and {others} more)" if others else ""), width, 14, FAINT)
        images = beside([_thumbnail(place, (width - GAP) // 2) for place in duplicates.pair])
        tiles.append(stack([head, images], width + 2 * GAP))
    return stack([beside(tiles[i : i + 3]) for i in range(0, len(tiles), 3)], WIDTH)


def _thumbnail(place: Place, side: int) -> Image.Image:
    image = Image.fromarray(read_image(place.image).permute(1, 2, 0).numpy())
    image.thumbnail((side, side))
    name = str(place.image).replace("\\", "/").rpartition("/")[2]
    captions = [
        _name(text, side, 14, color) for text, color in ((place.split, FOREGROUND), (name, FAINT))
    ]
    return stack([image, *captions], side)
