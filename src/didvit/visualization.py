"""A prediction as a picture: the photograph with its regions, and the maps that they came from."""

from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from didvit.prediction import Prediction

LONG_SIDE = (800, 1280)
"""The photograph is drawn with a long side in this range, so that text is legible on any size."""
MIN_WIDTH = 640
TILE_WIDTH = 150
FEWEST = 4
"""Regions drawn, where there are so many; those of labels that were found all are."""
GAP = 8
BACKGROUND, FOREGROUND, FAINT = (24, 24, 27), (244, 244, 245), (161, 161, 170)
COLORS = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 186, 130),
    (240, 228, 66),
    (231, 110, 180),
    (255, 99, 71),
)
"""Told apart by color-blind people too (after Okabe & Ito), and bright on any photograph."""

Box = tuple[int, int, int, int]


class _Drawn(NamedTuple):
    """A region as it is drawn."""

    text: str
    color: tuple[int, int, int]
    box: Box
    found: bool


def draw_prediction(prediction: "Prediction") -> Image.Image:
    """The photograph with a colored box, label and probability per region, above the heat maps.

    Regions whose label reaches the threshold have a thick line; where they are fewer than 4, the
    best others follow with a thin one. Under each region's name stand its semantic map (where the
    label is) and its instance map (the same after the spatial map acted on it; the box comes from
    it). Maps are scaled to their own range. Without regions there are no maps.

    Returns:
        An RGB picture, at least 640 pixels wide.
    """
    photograph = _at_legible_size(Image.fromarray(prediction.pixels))
    scale_x = photograph.width / prediction.width
    scale_y = photograph.height / prediction.height
    found = {label.label for label in prediction.labels}
    regions = [
        _Drawn(
            f"{one_line(region.label)} {region.score:.2f}",
            color,
            (
                round(region.box[0] * scale_x),
                round(region.box[1] * scale_y),
                round(region.box[2] * scale_x),
                round(region.box[3] * scale_y),
            ),
            region.label in found,
        )
        for region, color in zip(prediction.regions, cycle(COLORS), strict=False)
    ]
    regions = regions[: max(FEWEST, sum(region.found for region in regions))]
    width = max(photograph.width, MIN_WIDTH)
    found_text = "   ".join(
        f"{one_line(label.label)} {label.score:.2f}" for label in prediction.labels
    )
    parts = [
        caption(found_text or "no label reaches the threshold", width),
        _draw_regions(photograph, regions),
        *_map_rows(prediction, photograph, regions, width),
    ]
    return stack(parts, width)


def heat_map(values: np.ndarray, image: Image.Image) -> Image.Image:
    """A map ``(h, w)`` as colors, dark to bright over its own range, over a gray image.

    A constant map is dark all over.
    """
    low, high = float(values.min()), float(values.max())
    scaled = (values - low) / (high - low) if high > low else np.zeros_like(values)
    smooth = cv2.resize(scaled.astype(np.float32), image.size, interpolation=cv2.INTER_LINEAR)
    colors = cv2.applyColorMap((smooth * 255).round().astype(np.uint8), cv2.COLORMAP_INFERNO)
    gray = np.asarray(image.convert("L"), dtype=np.float32)[..., None]
    return Image.fromarray((0.35 * gray + 0.65 * colors[..., ::-1]).astype(np.uint8))


def _at_legible_size(image: Image.Image) -> Image.Image:
    long_side = max(image.size)
    scale = min(max(long_side, LONG_SIDE[0]), LONG_SIDE[1]) / long_side
    return image.resize(
        (max(round(image.width * scale), 1), max(round(image.height * scale), 1)),
        Image.Resampling.BICUBIC if scale > 1 else Image.Resampling.LANCZOS,
    )


def _draw_regions(photograph: Image.Image, regions: Sequence[_Drawn]) -> Image.Image:
    # Tags may need more room than a very narrow photograph has.
    canvas = Image.new("RGB", (max(photograph.width, MIN_WIDTH), photograph.height), BACKGROUND)
    left = (canvas.width - photograph.width) // 2
    canvas.paste(photograph, (left, 0))
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(20)
    boxes = [(r.box[0] + left, r.box[1], r.box[2] + left, r.box[3]) for r in regions]
    # Last the best, so that it lies on top.
    for region, box in reversed(list(zip(regions, boxes, strict=True))):
        _outline(draw, box, region.color, 5 if region.found else 2)
    taken: list[Box] = []
    for region, box in zip(regions, boxes, strict=True):
        tag = _free_place(draw, region.text, font, box, canvas.size, taken)
        taken.append(tag)
        draw.rectangle(tag, fill=region.color)
        draw.text((tag[0] + 5, tag[1] + 2), region.text, fill="black", font=font)
    return canvas


def _outline(draw: ImageDraw.ImageDraw, box: Box, color: tuple[int, int, int], width: int) -> None:
    x0, y0, x1, y1 = box[0], box[1], max(box[2] - 1, box[0]), max(box[3] - 1, box[1])
    # A dark edge on both sides keeps the line visible on a photograph of its own color.
    draw.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline="black", width=width + 2)
    draw.rectangle((x0, y0, x1, y1), outline=color, width=width)


def _free_place(
    draw: ImageDraw.ImageDraw,
    text: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    box: Box,
    size: tuple[int, int],
    taken: Sequence[Box],
) -> Box:
    """Where the tag goes: at its box's top left corner, or below it where others already are."""
    width, height = round(draw.textlength(text, font=font)) + 10, 28
    x = min(max(box[0], 0), max(size[0] - width, 0))
    y = min(max(box[1], 0), max(size[1] - height, 0))
    places = [*range(y, size[1] - height, height), *range(y, 0, -height)]
    for place in places:
        tag = (x, place, x + width, place + height)
        if not any(_overlap(tag, other) for other in taken):
            return tag
    return x, y, x + width, y + height


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _map_rows(
    prediction: "Prediction", photograph: Image.Image, regions: Sequence[_Drawn], width: int
) -> list[Image.Image]:
    """Columns of tiles: the spatial map, then every region's semantic and instance map."""
    if not regions:
        return []
    per_row = max(width // (TILE_WIDTH + GAP), 2)
    tile_width = (width + GAP) // min(per_row, len(regions) + 1) - GAP
    # Very narrow and very wide photographs get tiles of bearable shape.
    aspect = min(max(photograph.height / photograph.width, 0.4), 1.6)
    tile_width = min(tile_width, 320)
    thumbnail = photograph.resize((tile_width, max(round(tile_width * aspect), 1)))
    blank = Image.new("RGB", thumbnail.size, BACKGROUND)
    columns = [
        _column("spatial", FOREGROUND, [heat_map(prediction.maps.spatial, thumbnail), blank])
    ]
    for k, region in enumerate(regions):
        maps = (prediction.maps.semantic[k], prediction.maps.instance[k])
        columns.append(_column(region.text, region.color, [heat_map(m, thumbnail) for m in maps]))
    note = "above: semantic maps    below: instance maps, where the boxes come from"
    rows = [beside(columns[i : i + per_row]) for i in range(0, len(columns), per_row)]
    return [*rows, caption(note, width, 15, FAINT)]


def _column(title: str, color: tuple[int, int, int], tiles: Sequence[Image.Image]) -> Image.Image:
    head = caption(title, tiles[0].width, 16, color)
    return stack([head, *tiles], tiles[0].width)


def caption(
    text: str, width: int, size: int = 22, color: tuple[int, int, int] = FOREGROUND
) -> Image.Image:
    """A line of text, as many lines as it takes, and an ellipsis for a word that is too long."""
    font = ImageFont.load_default(size)
    lines = [""]
    for word in text.split("   "):
        while font.getlength(word) > width and len(word) > 1:
            word = word[:-2] + "…"
        longer = f"{lines[-1]}   {word}" if lines[-1] else word
        if font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    line_height = round(size * 1.4)
    picture = Image.new("RGB", (width, line_height * len(lines)), BACKGROUND)
    for i, line in enumerate(lines):
        ImageDraw.Draw(picture).text((0, i * line_height), line, fill=color, font=font)
    return picture


def beside(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures in a row."""
    width = sum(picture.width + GAP for picture in pictures) - GAP
    row = Image.new("RGB", (width, max(picture.height for picture in pictures)), BACKGROUND)
    x = 0
    for picture in pictures:
        row.paste(picture, (x, 0))
        x += picture.width + GAP
    return row


def stack(pictures: Sequence[Image.Image], width: int) -> Image.Image:
    """Pictures below one another, in a picture of this width."""
    height = sum(picture.height + GAP for picture in pictures) - GAP
    pile = Image.new("RGB", (width, height), BACKGROUND)
    y = 0
    for picture in pictures:
        pile.paste(picture, (0, y))
        y += picture.height + GAP
    return pile


def one_line(text: str) -> str:
    """Text without line breaks."""
    return " ".join(text.split())
