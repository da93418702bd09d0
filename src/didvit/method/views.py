"""Section 2.2.4: views. Here, and nowhere else, boxes become images."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from didvit.method.boxes import Size

Images = Shaped[Tensor, "_ 3 _ _"] | Sequence[Shaped[Tensor, "3 _ _"]]
"""A batch, or a sequence of images of any sizes."""


def crop_and_resize(
    images: Images, boxes: Int[np.ndarray, "B 4"], size: Size, align_corners: bool = False
) -> Float[Tensor, "B 3 H W"]:
    """Cut one box from each image and resize it bilinearly, antialiased where it shrinks.

    Args:
        images: One image per box, each of its own size; uint8, or floats in [0, 1].
        boxes: ``[x0, y0, x1, y1)`` in pixels of each box's own image, inside it and not empty. The
            full box of an image that has the wanted size gives the image unchanged.
        size: Height and width of the views.
        align_corners: Corner pixels' centers stay in the corners, without antialiasing, as the
            authors' code crops its input tensor.

    Views are float32 in [0, 1] (float64 for such images); ``(0, 3, H, W)`` for no boxes.
    """
    views = [
        _resize(image[:, y0:y1, x0:x1], size, align_corners)
        for image, (x0, y0, x1, y1) in zip(images, boxes.tolist(), strict=True)
    ]
    return torch.stack(views) if views else torch.empty(0, 3, *size)


def resize_whole(images: Images, size: Size) -> Float[Tensor, "B 3 H W"]:
    """The global view: whole images of any sizes, resized to the network's input."""
    sides = [(0, 0, image.shape[2], image.shape[1]) for image in images]
    return crop_and_resize(images, np.array(sides, np.int64).reshape(-1, 4), size)


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
