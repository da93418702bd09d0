"""What a model found in an image."""

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image


@dataclass(frozen=True)
class Label:
    """A label that the image is found to have.

    Attributes:
        label: Its name.
        score: Probability, by the model's fusion of the two below.
        global_score: Probability by the look at the whole image.
        local_score: Highest probability by the looks at its regions and tiles.
    """

    label: str
    score: float
    global_score: float
    local_score: float


@dataclass(frozen=True)
class Region:
    """A part of the image that was looked at again.

    Attributes:
        label: The label that it was looked at for; the image need not have it.
        score: Probability that the image has that label.
        box: ``[x0, y0, x1, y1)`` in whole pixels of the upright original image.
    """

    label: str
    score: float
    box: tuple[int, int, int, int]


class Maps(NamedTuple):
    """Where the model looked, on the patch grid; the semantic and instance map of each region.

    Attributes:
        semantic: Where the region's label is, one map per region.
        spatial: What the class token attends to (in a backbone without one, the patches on
            average); zeros where nothing was looked at again.
        instance: The two combined: what the region's box was found on.
    """

    semantic: Float[np.ndarray, "K h w"]
    spatial: Float[np.ndarray, "h w"]
    instance: Float[np.ndarray, "K h w"]


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the model found in one image.

    Attributes:
        image: Its path, or its place among the images given.
        width: Of the upright original, in pixels.
        height: Of the upright original, in pixels.
        labels: Those with a score of at least the threshold, highest first.
        regions: The parts looked at again, highest score first.
        scores: Probability of every label of the model.
        maps: Where it looked.
        pixels: The upright original, uint8.
    """

    image: str
    width: int
    height: int
    labels: tuple[Label, ...]
    regions: tuple[Region, ...]
    scores: dict[str, float]
    maps: Maps
    pixels: UInt8[np.ndarray, "H W 3"]

    def to_dict(self) -> dict[str, Any]:
        """The line that ``didvit predict`` writes."""
        return {
            "image": self.image,
            "width": self.width,
            "height": self.height,
            "labels": [asdict(label) for label in self.labels],
            "regions": [{**asdict(region), "box": list(region.box)} for region in self.regions],
        }

    def plot(self) -> Image.Image:
        """The photograph with regions of found labels (and others up to four), above heat maps."""
        from didvit.visualization import draw_prediction

        return draw_prediction(self)


@dataclass(frozen=True)
class Failure:
    """An image that could not be read, and why."""

    image: str
    error: str

    def to_dict(self) -> dict[str, Any]:
        """The line that ``didvit predict`` writes."""
        return asdict(self)
