"""What part of an image is shown to the network in training (section 3.1)."""

import numpy as np
import torch
from torch import Tensor

SCALES = (1.0, 0.875, 0.75, 0.66, 0.5)
"""Sides of the multi-scale crop, as parts of the whole side."""

OFFSETS = ((0, 0), (0, 4), (4, 0), (4, 4), (2, 2), (0, 2), (4, 2), (2, 0), (2, 4), (1, 1), (3, 1))
OFFSETS += ((1, 3), (3, 3))
"""Corners, center, edge centers and quarters: (x, y) in quarters of the room that a crop leaves."""


def multi_scale_crop(image: Tensor, rng: np.random.Generator) -> Tensor:
    """One of the paper's crops of an image ``(3, H, W)``, at the resolution it is cut at.

    Width and height are drawn from `SCALES`, at most two steps apart, and the place from the 13
    `OFFSETS`. Resizing the crop is left to the model's input.
    """
    pairs = [(i, j) for i in range(len(SCALES)) for j in range(len(SCALES)) if abs(i - j) <= 2]
    across, down = pairs[rng.integers(len(pairs))]
    x, y = OFFSETS[rng.integers(len(OFFSETS))]
    height, width = image.shape[-2:]
    crop_width = max(round(width * SCALES[across]), 1)
    crop_height = max(round(height * SCALES[down]), 1)
    left, top = (width - crop_width) * x // 4, (height - crop_height) * y // 4
    return image[:, top : top + crop_height, left : left + crop_width]


def random_flip(image: Tensor, rng: np.random.Generator) -> Tensor:
    """The image, or, as often, its mirror image."""
    return torch.flip(image, (-1,)) if rng.random() < 0.5 else image
