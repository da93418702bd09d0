"""Small photographs inside a page."""

import base64
import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from didvit.pages.markup import Html, element

SIDE = 220
"""Longer side of a thumbnail, in pixels."""

QUALITY = 72
"""Of the JPEG: a thumbnail has about 10 kilobytes."""

Box = tuple[int, int, int, int]

EDGE, LINE = (0, 0, 0), (255, 196, 0)


def thumbnail(
    pixels: UInt8[np.ndarray, "H W 3"], alt: str, box: Box | None = None, side: int = SIDE
) -> Html:
    """An image element that holds a photograph as a small JPEG.

    Args:
        pixels: The photograph, RGB.
        alt: What it shows, for who cannot see it.
        box: ``[x0, y0, x1, y1)`` in pixels of the photograph, which is drawn on it.
        side: Its longer side, in pixels; the other one is at least 1 pixel. A smaller photograph is
            enlarged.
    """
    photograph = Image.fromarray(np.ascontiguousarray(pixels))
    scale = side / max(photograph.size)
    size = (max(round(photograph.width * scale), 1), max(round(photograph.height * scale), 1))
    kind = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC
    small = photograph.resize(size, kind, reducing_gap=2 if scale < 1 else None)
    if box:
        _outline(small, box, photograph.size)
    small.save(file := io.BytesIO(), "JPEG", quality=QUALITY, optimize=True)
    content = base64.b64encode(file.getvalue()).decode()
    source = f"data:image/jpeg;base64,{content}"
    return element("img", src=source, alt=alt, width=size[0], height=size[1])


def _outline(small: Image.Image, box: Box, size: tuple[int, int]) -> None:
    """Draw a box of the photograph; a dark edge keeps it visible on any color."""
    x, y = small.width / size[0], small.height / size[1]
    x0, y0 = round(box[0] * x), round(box[1] * y)
    x1, y1 = max(round(box[2] * x) - 1, x0), max(round(box[3] * y) - 1, y0)
    draw = ImageDraw.Draw(small)
    draw.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=EDGE, width=4)
    draw.rectangle((x0, y0, x1, y1), outline=LINE, width=2)
