"""Section 2.2.4: views cut from the image at the boxes. The only place where boxes make images."""

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
"""Sides of a tile, as a multiple of those it would have without an overlap. Anything from 1 to 4/3
does as well (docs/log.md)."""


def crop_and_resize(
    images: Images,
    boxes: Int[Tensor, "B 4"],
    size: Size,
    align_corners: bool = False,
) -> Float[Tensor, "B 3 H W"]:
    """Cut one box from each image and resize it bilinearly, antialiased where it shrinks.

    Args:
        images: One image per box, each of its own size: a batch, or a sequence of tensors; uint8,
            or floats in [0, 1]. An image on another device has its crop brought to the boxes'.
        boxes: ``[x0, y0, x1, y1)`` in pixels of each box's own image, inside it and not empty. The
            full box of an image that has the wanted size gives the image unchanged.
        size: Height and width of the views.
        align_corners: Corner pixels' centers stay in the corners, without antialiasing, as the
            authors' code crops its input tensor.

    Returns:
        Views with pixels in [0, 1], float32 (float64 for such images), on the boxes' device;
        ``(0, 3, H, W)`` for no boxes.
    """
    views = [
        _resize(image[:, y0:y1, x0:x1].to(boxes.device), size, align_corners)
        for image, (x0, y0, x1, y1) in zip(images, boxes.tolist(), strict=True)
    ]
    return torch.stack(views) if views else torch.empty(0, 3, *size, device=boxes.device)


def resize_whole(images: Images, size: Size) -> Float[Tensor, "B 3 H W"]:
    """The global view: whole images of any sizes, as the network's input. The full boxes' views."""
    sides = [(0, 0, image.shape[2], image.shape[1]) for image in images]
    device = images[0].device if len(images) else None
    return crop_and_resize(
        images, torch.tensor(sides, dtype=torch.int64, device=device).view(-1, 4), size
    )


def _resize(crop: Tensor, size: Size, align_corners: bool) -> Float[Tensor, "3 H W"]:
    if crop.dtype == torch.uint8:
        crop = crop / 255
    elif crop.dtype != torch.float64:
        crop = crop.float()  # half precision has no antialiased resize on a CPU
    if tuple(crop.shape[-2:]) == size:
        return crop
    return F.interpolate(
        crop[None],
        size,
        mode="bilinear",
        align_corners=align_corners,
        antialias=not align_corners,
    )[0]


def tile_boxes(tiles: int, size: Size) -> Int[Tensor, "n 4"]:
    """Boxes of ``tiles`` rows of as many equal tiles, row by row; the paper has none of it.

    Together they cover the image, and neighbors overlap: each has `TILE_SIZE` times the sides that
    it would have side by side, rounded up to whole pixels.

    Args:
        tiles: Along each side; 0 for no boxes. 1 is the whole image.
        size: Height and width of the image.

    Returns:
        ``[x0, y0, x1, y1)`` in pixels, ``tiles²`` of them.
    """
    spans = [_tile_spans(tiles, side) for side in size]
    boxes = [(x0, y0, x1, y1) for y0, y1 in spans[0] for x0, x1 in spans[1]]
    return torch.tensor(boxes, dtype=torch.int64).view(-1, 4)


def _tile_spans(tiles: int, side: int) -> list[tuple[int, int]]:
    """Starts and ends of tiles along a side; the first starts at 0, the last ends at its end."""
    length = min(ceil(TILE_SIZE * side / max(tiles, 1)), side)
    starts = [round(i * (side - length) / max(tiles - 1, 1)) for i in range(tiles)]
    return [(start, start + length) for start in starts]


def pad_boxes(boxes: Int[Tensor, "*K 4"], padding: float, size: Size) -> Int[Tensor, "*K 4"]:
    """Boxes that have grown on all sides, within their image; the paper has none of it.

    Args:
        boxes: ``[x0, y0, x1, y1)`` in pixels.
        padding: Part of a box's width that it grows to the left and to the right, and of its height
            up and down; rounded up to whole pixels. 0 leaves boxes as they are.
        size: Height and width of the image.
    """
    height, width = size
    x0, y0, x1, y1 = boxes.unbind(-1)
    across, down = ((padding * side).ceil().long() for side in (x1 - x0, y1 - y0))
    return torch.stack(
        (
            (x0 - across).clamp(min=0),
            (y0 - down).clamp(min=0),
            (x1 + across).clamp(max=width),
            (y1 + down).clamp(max=height),
        ),
        dim=-1,
    )


def scale_boxes(boxes: Int[Tensor, "*K 4"], from_size: Size, to_size: Size) -> Int[Tensor, "*K 4"]:
    """Boxes of one image in the pixels of another size of it, rounded outward to whole pixels.

    Starts round down and ends round up, in whole-number arithmetic: nothing of a box is lost, no
    box becomes empty or leaves the image, and the full box stays full.

    Args:
        boxes: ``[x0, y0, x1, y1)`` in pixels of an image of ``from_size``.
        from_size: Height and width that the boxes refer to.
        to_size: Height and width wanted.
    """
    (from_height, from_width), (to_height, to_width) = from_size, to_size
    x0, y0, x1, y1 = boxes.unbind(-1)
    return torch.stack(
        (
            x0 * to_width // from_width,
            y0 * to_height // from_height,
            -(-x1 * to_width // from_width),
            -(-y1 * to_height // from_height),
        ),
        dim=-1,
    )
