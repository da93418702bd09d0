"""A prediction as a picture: the photograph with its regions, and the maps that they came from."""

import math
from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from didvit.inference.prediction import Prediction

LONG_SIDE = (800, 1280)
"""The photograph is drawn with a long side in this range, so that text is legible on any size."""
MIN_WIDTH, MIN_PHOTOGRAPH_WIDTH = 640, 280
"""Width of the narrowest picture, and of the room for a photograph in it, in pixels."""
MAP_WIDTHS = (120, 420)
"""Width of a map, in pixels."""
MAP_ASPECTS = (0.4, 1.6)
"""Height of a map as a multiple of its width: photographs of odd shapes get bearable maps."""
TITLE_HEIGHT, NOTE_HEIGHT = 23, 130
"""Height of a map's title, and of what explains maps in one column, in pixels."""
MOST_COLUMNS = 5
"""Maps side by side below a photograph."""
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

NOTE = (
    "Semantic: where the label is. Spatial: what the model attends to. Instance: both combined; "
    "the box comes from it."
)
WHERE = {
    "image": "in the whole image",
    "region": "in another label's region",
    "tile": "in a tile of the image",
}

Box = tuple[int, int, int, int]


class _Drawn(NamedTuple):
    """A region as it is drawn: its place in the prediction, and its box in the picture."""

    place: int
    text: str
    color: tuple[int, int, int]
    box: Box
    found: bool


class _Map(NamedTuple):
    """A map with its title."""

    title: str
    color: tuple[int, int, int]
    values: np.ndarray


def draw_prediction(prediction: "Prediction", others: bool = False) -> Image.Image:
    """The photograph with a colored box, label and probability per region, and the heat maps.

    Only regions of labels that reach the threshold are drawn. A label that was found without a
    region of its own stands in a line with where it was seen. The maps are the spatial map, and
    the semantic and instance map of every region drawn. They are scaled to their own range, and
    lie beside an upright photograph and below any other. Without regions there are no maps.

    Args:
        prediction: What was found.
        others: Draw the regions of other labels too, with a thin line and an empty tag.

    Returns:
        An RGB picture, at least 640 pixels wide.
    """
    photograph = _at_legible_size(prediction.photograph())
    regions = _regions(prediction, photograph.size, others)
    drawn = _draw_regions(photograph, regions)
    maps = _maps(prediction, regions)
    body = [drawn]
    if maps and photograph.height > 1.1 * photograph.width:
        body = [beside([drawn, _maps_beside(maps, photograph)])]
    elif maps:
        body = [drawn, _maps_below(maps, photograph, max(drawn.width, MIN_WIDTH))]
    width = max(MIN_WIDTH, *(part.width for part in body))
    return stack([*_captions(prediction, others, width), *body], width)


def _regions(prediction: "Prediction", size: tuple[int, int], others: bool) -> list[_Drawn]:
    """The regions to draw, in pixels of a picture of this size."""
    scale_x, scale_y = size[0] / prediction.width, size[1] / prediction.height
    found = {label.label for label in prediction.labels}
    shown = [
        (place, region)
        for place, region in enumerate(prediction.regions)
        if others or region.label in found
    ]
    return [
        _Drawn(
            place,
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
        for (place, region), color in zip(shown, cycle(COLORS), strict=False)
    ]


def _captions(prediction: "Prediction", others: bool, width: int) -> list[Image.Image]:
    """What was found, in lines above the photograph."""
    with_region = {region.label for region in prediction.regions}
    text = "   ".join(f"{one_line(label.label)} {label.score:.2f}" for label in prediction.labels)
    lines = [caption(text or "nothing that the model knows", width)]
    for place, where in WHERE.items():
        elsewhere = [
            one_line(label.label)
            for label in prediction.labels
            if label.seen_in == place and label.label not in with_region
        ]
        if elsewhere and prediction.regions:
            text = f"no region of its own, seen {where}: {', '.join(elsewhere)}"
            lines.append(caption(text, width, 16, FAINT, between=" "))
    best = max(prediction.scores, key=lambda label: prediction.scores[label], default=None)
    if best is not None and not prediction.labels:
        score, threshold = prediction.scores[best], prediction.thresholds[best]
        text = f"the most likely was {one_line(best)} {score:.2f}, below its {threshold:.2f}"
        lines.append(caption(text, width, 16, FAINT))
    found = {label.label for label in prediction.labels}
    if others and any(region.label not in found for region in prediction.regions):
        lines.append(caption("thin lines: examined and not found", width, 16, FAINT))
    return lines


def _maps(prediction: "Prediction", regions: Sequence[_Drawn]) -> list[_Map]:
    if not regions:
        return []
    maps = [_Map("spatial", FOREGROUND, prediction.maps.spatial)]
    for region in regions:
        label = one_line(prediction.regions[region.place].label)
        for kind in ("semantic", "instance"):
            values = getattr(prediction.maps, kind)[region.place]
            maps.append(_Map(f"{label}, {kind}", region.color, values))
    return maps


def _maps_below(maps: Sequence[_Map], photograph: Image.Image, width: int) -> Image.Image:
    """Maps in rows that fill the width, as far as they stay bearably small."""
    rows = math.ceil(len(maps) / MOST_COLUMNS)
    columns = math.ceil(len(maps) / rows)
    tile_width = min((width + GAP) // columns - GAP, MAP_WIDTHS[1])
    return _grid(maps, photograph, columns, max(tile_width, MAP_WIDTHS[0]))


def _maps_beside(maps: Sequence[_Map], photograph: Image.Image) -> Image.Image:
    """Maps in as many columns as make them as high as the photograph.

    The maps of one region are in one column; else its pair has a row, or half of one, and the
    spatial map shares the first row with the note.
    """
    regions = len(maps) // 2
    columns = {1: 1, 2: 2}.get(regions, 4)
    rows = 3 if columns == 1 else 1 + math.ceil(2 * regions / columns)
    note_height = NOTE_HEIGHT if columns == 1 else 0
    tile_height = (photograph.height - note_height) // rows - TITLE_HEIGHT - 2 * GAP
    tile_width = round(tile_height / _aspect(photograph))
    tile_width = min(max(tile_width, MAP_WIDTHS[0]), MAP_WIDTHS[1])
    if columns == 1:
        return _grid(maps, photograph, columns, tile_width)
    spatial, *others = _tiles(maps, photograph, tile_width)
    note = caption(NOTE, (columns - 1) * (tile_width + GAP) - GAP, 14, FAINT, between=" ")
    pairs = [others[i : i + columns] for i in range(0, len(others), columns)]
    return stack(
        [beside(row) for row in ([spatial, note], *pairs)], columns * (tile_width + GAP) - GAP
    )


def _grid(
    maps: Sequence[_Map], photograph: Image.Image, columns: int, tile_width: int
) -> Image.Image:
    """Maps in rows, and a line that says what they are."""
    tiles = _tiles(maps, photograph, tile_width)
    rows = [beside(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    note = caption(NOTE, rows[0].width, 14, FAINT, between=" ")
    return stack([*rows, note], rows[0].width)


def _tiles(maps: Sequence[_Map], photograph: Image.Image, width: int) -> list[Image.Image]:
    """Maps of this width under their titles."""
    thumbnail = photograph.resize((width, round(width * _aspect(photograph))))
    return [
        stack([caption(title, width, 16, color), heat_map(values, thumbnail)], width)
        for title, color, values in maps
    ]


def _aspect(photograph: Image.Image) -> float:
    return min(max(photograph.height / photograph.width, MAP_ASPECTS[0]), MAP_ASPECTS[1])


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
    # A narrow one is enlarged to the width of the picture, as far as its height allows.
    scale = max(scale, min(MIN_WIDTH / image.width, LONG_SIDE[1] / long_side))
    return image.resize(
        (max(round(image.width * scale), 1), max(round(image.height * scale), 1)),
        Image.Resampling.BICUBIC if scale > 1 else Image.Resampling.LANCZOS,
    )


def _draw_regions(photograph: Image.Image, regions: Sequence[_Drawn]) -> Image.Image:
    # Tags need more room than a very narrow photograph has.
    width = max(photograph.width, MIN_PHOTOGRAPH_WIDTH)
    canvas = Image.new("RGB", (width, photograph.height), BACKGROUND)
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
        fill, ink = (region.color, "black") if region.found else (BACKGROUND, region.color)
        draw.rectangle(tag, fill=fill, outline=region.color)
        draw.text((tag[0] + 5, tag[1] + 2), region.text, fill=ink, font=font)
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


def caption(
    text: str,
    width: int,
    size: int = 22,
    color: tuple[int, int, int] = FOREGROUND,
    between: str = "   ",
) -> Image.Image:
    """Text in as many lines as it takes, broken at ``between``. Too long a part is cut short."""
    font = ImageFont.load_default(size)
    lines = [""]
    for word in text.split(between):
        while font.getlength(word) > width and len(word) > 1:
            word = word[:-2] + "…"
        longer = f"{lines[-1]}{between}{word}" if lines[-1] else word
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
