"""What part of an image is shown to the network in training (section 3.1), and how changed."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Shaped, UInt8
from numpy.random import Generator
from torch import Tensor
from torchvision.transforms import v2

SCALES = (1.0, 0.875, 0.75, 0.66, 0.5)
"""Sides of the multi-scale crop, as parts of the whole side."""

OFFSETS = ((0, 0), (0, 4), (4, 0), (4, 4), (2, 2), (0, 2), (4, 2), (2, 0), (2, 4), (1, 1), (3, 1))
OFFSETS += ((1, 3), (3, 3))
"""Corners, center, edge centers and quarters: (x, y) in quarters of the room that a crop leaves."""

AREAS = (0.25, 1.0)
"""Least and greatest area of the random crop, as parts of the image's."""

ASPECT_RATIOS = (3 / 4, 4 / 3)
"""Least and greatest width of the random crop, as a multiple of its height."""

GRAY = 128
"""What fills the corners that a rotated or shifted image leaves empty."""

_RAND_AUGMENT = v2.Compose(
    [
        # Of nearest pixels: bilinear interpolation mixes black into the edges of a moved image.
        v2.RandAugment(num_ops=2, magnitude=9, fill=[GRAY] * 3),
        v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2),
    ]
)


def multi_scale_crop(image: Shaped[Tensor, "3 H W"], rng: Generator) -> Shaped[Tensor, "3 h w"]:
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


def random_area_crop(image: Shaped[Tensor, "3 H W"], rng: Generator) -> Shaped[Tensor, "3 h w"]:
    """A crop of random area, shape and place, at the resolution it is cut at.

    The area is drawn from `AREAS`, as far as a crop of such an aspect ratio can be that large, and
    the logarithm of the aspect ratio from what then fits into the image. Of an image too long for
    any of the areas it is the largest crop with an allowed aspect ratio.
    """
    height, width = image.shape[-2:]
    narrow, wide = ASPECT_RATIOS
    largest = min(AREAS[1], wide * height / width, width / height / narrow)
    area = rng.uniform(min(AREAS[0], largest), largest)
    narrowest = max(narrow, area * width / height)
    widest = max(min(wide, width / height / area), narrowest)
    aspect_ratio = math.exp(rng.uniform(math.log(narrowest), math.log(widest)))
    crop_width = min(max(round(math.sqrt(area * width * height * aspect_ratio)), 1), width)
    crop_height = min(max(round(math.sqrt(area * width * height / aspect_ratio)), 1), height)
    left = int(rng.integers(width - crop_width + 1))
    top = int(rng.integers(height - crop_height + 1))
    return image[:, top : top + crop_height, left : left + crop_width]


def random_flip(image: Shaped[Tensor, "3 H W"], rng: Generator) -> Shaped[Tensor, "3 H W"]:
    """The image, or, as often, its mirror image."""
    return torch.flip(image, (-1,)) if rng.random() < 0.5 else image


def rand_augment(image: UInt8[Tensor, "3 H W"], rng: Generator) -> UInt8[Tensor, "3 H W"]:
    """Two operations of RandAugment at magnitude 9, and a little change of color."""
    seed = int(rng.integers(2**63))
    with torch.random.fork_rng(devices=[]):
        # torchvision draws from this generator alone; torch.manual_seed would seed GPUs as well.
        torch.default_generator.manual_seed(seed)
        return _RAND_AUGMENT(image.contiguous())


def _multi_scale_crop(image: Tensor, rng: Generator) -> Tensor:
    return random_flip(multi_scale_crop(image, rng), rng)


def _random_resized_crop(image: Tensor, rng: Generator) -> Tensor:
    return random_flip(random_area_crop(image, rng), rng)


def _modern(image: Tensor, rng: Generator) -> Tensor:
    return rand_augment(_random_resized_crop(image, rng), rng)


def _resize(image: Tensor, rng: Generator) -> Tensor:
    return image


# Functions with names, since loaders that start their workers anew must pickle them.
TRAIN_TRANSFORMS: dict[str, Callable[[Tensor, Generator], Tensor]] = {
    "multi_scale_crop": _multi_scale_crop,
    "random_resized_crop": _random_resized_crop,
    "modern": _modern,
    "resize": _resize,
}
"""From an image ``(3, H, W)``, uint8, to what is shown, uint8, at the resolution it is cut at: the
paper's crop and flip; a crop of any size and shape and a flip; the same with RandAugment and color;
the whole image. Resizing is left to the model, which cuts its local views from what is shown here.
They are pure functions of the image and the generator."""
