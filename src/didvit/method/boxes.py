"""Section 2.2.4: boxes of views: tiles, and boxes in pixels of another size of their image.

Boxes are int64, ``[x0, y0, x1, y1)`` in whole pixels, the end exclusive.
"""

from fractions import Fraction
from math import ceil

import numpy as np
from jaxtyping import Int

Size = tuple[int, int]

TILE_SIZE = Fraction(8, 7)
"""Sides of a tile, as a multiple of its sides without overlap; 1 to 4/3 score alike."""


def tile_boxes(tiles: int, size: Size) -> Int[np.ndarray, "n 4"]:
    """Boxes of ``tiles`` rows of as many equal tiles, row by row. The paper has none.

    Together they cover the image, and neighbors overlap: each has `TILE_SIZE` times the sides that
    it would have side by side, rounded up to whole pixels.

    Returns:
        ``[x0, y0, x1, y1)`` in pixels of an image of ``size`` (height, width), ``tiles²`` of them.
    """
    spans = [_tile_spans(tiles, side) for side in size]
    boxes = [(x0, y0, x1, y1) for y0, y1 in spans[0] for x0, x1 in spans[1]]
    return np.array(boxes, np.int64).reshape(-1, 4)


def _tile_spans(tiles: int, side: int) -> list[tuple[int, int]]:
    length = min(ceil(TILE_SIZE * side / max(tiles, 1)), side)
    starts = [round(i * (side - length) / max(tiles - 1, 1)) for i in range(tiles)]
    return [(start, start + length) for start in starts]


def scale_boxes(
    boxes: Int[np.ndarray, "*K 4"], from_size: Size, to_size: Size
) -> Int[np.ndarray, "*K 4"]:
    """Boxes in pixels of another size of their image, rounded outward to whole pixels.

    Starts round down and ends round up, in whole-number arithmetic: nothing of a box is lost, no
    box becomes empty or leaves the image, and the full box stays full. Sizes: (height, width).
    """
    (from_height, from_width), (to_height, to_width) = from_size, to_size
    x0, y0, x1, y1 = np.moveaxis(boxes, -1, 0)
    starts = x0 * to_width // from_width, y0 * to_height // from_height
    ends = -(-x1 * to_width // from_width), -(-y1 * to_height // from_height)
    return np.stack((*starts, *ends), -1)
