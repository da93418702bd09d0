"""What a model found in an image."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from didvit.data.images import read_image

LONG_SIDE = 1280
"""Longest side, in pixels, of the copy of a photograph that pictures are drawn on."""

SeenIn = Literal["image", "region", "tile"]
"""Where a label was seen best: in the whole image, in a region, or in a tile."""


@dataclass(frozen=True)
class Label:
    """A label that the image is found to have.

    Attributes:
        label: Its name.
        score: Calibrated probability that the image has the label, by the model's fusion of the two
            below. Of a model that is not tuned, the sigmoid of its logit.
        global_score: The same for the whole image alone.
        local_score: The same for the views, regions and tiles: their highest.
        seen_in: The kind of view with the highest probability. A label that is seen in a tile or in
            the whole image alone may have no region of its own.
        threshold: Least score of the label.
    """

    label: str
    score: float
    global_score: float
    local_score: float
    seen_in: SeenIn = "image"
    threshold: float = 0.5


@dataclass(frozen=True)
class Region:
    """A part of the image that the model recognized on its own.

    Attributes:
        label: The label that it was found for. The image need not have it.
        score: Probability that the image has that label.
        box: ``[x0, y0, x1, y1)`` in whole pixels of the upright original image.
    """

    label: str
    score: float
    box: tuple[int, int, int, int]


class Maps(NamedTuple):
    """Maps on the patch grid: the semantic and instance map of each region, and the spatial map.

    Attributes:
        semantic: Where the region's label is, one map per region.
        spatial: What the class token attends to (in a backbone without one, the patches on
            average). Zeros where there are no regions.
        instance: The two combined. The region's box was found on it.
    """

    semantic: Float[np.ndarray, "K h w"]
    spatial: Float[np.ndarray, "h w"]
    instance: Float[np.ndarray, "K h w"]


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the model found in one image.

    The pixels of the image are not kept: thousands of photographs would fill the memory.

    Attributes:
        image: Its path, or its place among the images given.
        width: Width of the upright original, in pixels.
        height: Height of the upright original, in pixels.
        labels: Labels with a score of at least their threshold, highest first. None is an answer:
            the image has nothing that the model knows.
        regions: Parts that the model recognized on their own, highest score first.
        scores: Probability of every label of the model.
        maps: The maps that the regions come from.
        thresholds: Least score of every label of the model.
        source: The file, or, of an image that came as pixels, a copy with sides of at most
            `LONG_SIDE`.
        has_views: Whether regions and tiles were recognized on their own. Where they were left out
            (by the preset, ``top_n`` or ``passes``), local scores are those that are estimated from
            the whole image.
    """

    image: str
    width: int
    height: int
    labels: tuple[Label, ...]
    regions: tuple[Region, ...]
    scores: dict[str, float]
    maps: Maps
    thresholds: dict[str, float]
    source: Path | UInt8[np.ndarray, "h w 3"]
    has_views: bool = True

    def to_dict(self) -> dict[str, Any]:
        """The line that ``didvit predict`` writes."""
        return {
            "image": self.image,
            "width": self.width,
            "height": self.height,
            "labels": [asdict(label) for label in self.labels],
            "regions": [{**asdict(region), "box": list(region.box)} for region in self.regions],
            "has_views": self.has_views,
        }

    def photograph(self) -> Image.Image:
        """The upright photograph with sides of at most `LONG_SIDE`, read again from its file.

        Raises:
            ImageError: The file is gone, or cannot be read any more.
        """
        if isinstance(self.source, np.ndarray):
            return Image.fromarray(self.source)
        scale = min(LONG_SIDE / max(self.width, self.height), 1)
        least_size = (round(self.height * scale) or 1, round(self.width * scale) or 1)
        return small_copy(read_image(self.source, least_size))

    def plot(self, others: bool = False) -> Image.Image:
        """The photograph with the regions of found labels, and the maps that they come from.

        Args:
            others: Draw the regions of labels below the threshold too, marked as not found.

        Raises:
            ImageError: The photograph's file is gone.
        """
        from didvit.inference.visualization import draw_prediction

        return draw_prediction(self, others)


@dataclass(frozen=True)
class Failure:
    """An image that could not be read, and why."""

    image: str
    error: str

    def to_dict(self) -> dict[str, Any]:
        """The line that ``didvit predict`` writes."""
        return asdict(self)


def small_copy(pixels: UInt8[np.ndarray, "H W 3"]) -> Image.Image:
    """An image of these pixels, with sides of at most `LONG_SIDE`."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    scale = LONG_SIDE / max(image.size)
    if scale >= 1:
        return image
    size = (round(image.width * scale) or 1, round(image.height * scale) or 1)
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2)


def source_of(image: object, pixels: UInt8[np.ndarray, "H W 3"]) -> Path | np.ndarray:
    """What a prediction keeps of an image: the path of its file, or a small copy."""
    if isinstance(image, str | Path):
        return Path(os.path.abspath(image))
    return np.array(small_copy(pixels))
