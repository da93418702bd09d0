"""Section 2.2.4: views. Here, and nowhere else, boxes become images."""

from collections.abc import Sequence
from fractions import Fraction
from math import ceil

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor

Size = tuple[int, int]
Images = Shaped[Tensor, "_ 3 _ _"] | Sequence[Shaped[Tensor, "3 _ _"]]
"""A batch, or a sequence of images of any sizes."""

TILE_SIZE = Fraction(8, 7)
"""Sides of a tile, as a multiple of its sides without overlap; 1 to 4/3 score alike."""


def crop_and_resize(
    images: Images, boxes: Int[Tensor, "B 4"], size: Size, align_corners: bool = False
) -> Float[Tensor, "B 3 H W"]:
    """Cut one box from each image and resize it bilinearly, antialiased where it shrinks.

    Args:
        images: One image per box, each of its own size; uint8, or floats in [0, 1]. Crops of images
            on another device move to the boxes' device.
        boxes: ``[x0, y0, x1, y1)`` in pixels of each box's own image, inside it and not empty. The
            full box of an image that has the wanted size gives the image unchanged.
        size: Height and width of the views.
        align_corners: Corner pixels' centers stay in the corners, without antialiasing, as the
            authors' code crops its input tensor.

    Views are float32 in [0, 1] (float64 for such images); ``(0, 3, H, W)`` for no boxes.
    """
    views = [
        _resize(image[:, y0:y1, x0:x1].to(boxes.device), size, align_corners)
        for image, (x0, y0, x1, y1) in zip(images, boxes.tolist(), strict=True)
    ]
    return torch.stack(views) if views else torch.empty(0, 3, *size, device=boxes.device)


def resize_whole(images: Images, size: Size) -> Float[Tensor, "B 3 H W"]:
    """The global view: whole images of any sizes, resized to the network's input."""
    sides = [(0, 0, image.shape[2], image.shape[1]) for image in images]
    device = images[0].device if len(images) else None
    boxes = torch.tensor(sides, dtype=torch.int64, device=device).view(-1, 4)
    return crop_and_resize(images, boxes, size)


def _resize(crop: Tensor, size: Size, align_corners: bool) -> Float[Tensor, "3 H W"]:
    if crop.dtype == torch.uint8:
        crop = crop / 255
    elif crop.dtype != torch.float64:
        crop = crop.float()  # half precision has no antialiased resize on a CPU
    if tuple(crop.shape[-2:]) == size:
        return crop
    return F.interpolate(
        crop[None], size, mode="bilinear", align_corners=align_corners, antialias=not align_corners
    )[0]


def tile_boxes(tiles: int, size: Size) -> Int[Tensor, "n 4"]:
    """Boxes of ``tiles`` rows of as many equal tiles, row by row. The paper has none.

    Together they cover the image, and neighbors overlap: each has `TILE_SIZE` times the sides that
    it would have side by side, rounded up to whole pixels.

    Returns:
        ``[x0, y0, x1, y1)`` in pixels of an image of ``size`` (height, width), ``tiles²`` of them.
    """
    spans = [_tile_spans(tiles, side) for side in size]
    boxes = [(x0, y0, x1, y1) for y0, y1 in spans[0] for x0, x1 in spans[1]]
    return torch.tensor(boxes, dtype=torch.int64).view(-1, 4)


def _tile_spans(tiles: int, side: int) -> list[tuple[int, int]]:
    length = min(ceil(TILE_SIZE * side / max(tiles, 1)), side)
    starts = [round(i * (side - length) / max(tiles - 1, 1)) for i in range(tiles)]
    return [(start, start + length) for start in starts]


def scale_boxes(boxes: Int[Tensor, "*K 4"], from_size: Size, to_size: Size) -> Int[Tensor, "*K 4"]:
    """Boxes in pixels of another size of their image, rounded outward to whole pixels.

    Starts round down and ends round up, in whole-number arithmetic: nothing of a box is lost, no
    box becomes empty or leaves the image, and the full box stays full. Sizes: (height, width).
    """
    (from_height, from_width), (to_height, to_width) = from_size, to_size
    x0, y0, x1, y1 = boxes.unbind(-1)
    starts = x0 * to_width // from_width, y0 * to_height // from_height
    ends = -(-x1 * to_width // from_width), -(-y1 * to_height // from_height)
    return torch.stack((*starts, *ends), dim=-1)
