"""How good the boxes are that a model finds, having learned from image-level labels alone.

The box of a label that an image has is localized in the label's instance map, whether or not the
model selects the label; its point is where that map is largest. Views are the boxes of the selected
labels, which the model recognizes on their own (its tiles are not measured). All are measured in
pixels of the original image, with boxes rounded outward to whole pixels, as predictions have them.

Two trivial methods are measured alike: a box that is the whole image, and one of half its area in
its center. The point of both is the center of the image.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Generator, Tensor

from didvit.config import ConfigError
from didvit.data.boxes import AnnotatedImage
from didvit.data.reading import read_in_order
from didvit.data.table import DataError
from didvit.evaluation.box_metrics import BoxQuality, Found, draw_images, measure
from didvit.method.boxes import Size, scale_boxes
from didvit.method.model import DiD
from didvit.method.views import resize_whole

SIDES = {"whole_image": 1.0, "center_box": math.sqrt(0.5)}
"""Sides of the trivial methods' boxes, as a part of the image's."""


@dataclass(frozen=True)
class BoxReport:
    """The quality of a model's boxes, and of trivial ones.

    Attributes:
        num_images: Number of images that were measured.
        num_pairs: Number of pairs of an image and a label in them.
        num_objects: Number of objects in them.
        methods: Measures by method: model, whole_image, center_box.
        failures: For each image that could not be read, why.
    """

    num_images: int
    num_pairs: int
    num_objects: int
    methods: dict[str, BoxQuality]
    failures: tuple[str, ...]


def score_boxes(
    model: DiD,
    images: Sequence[AnnotatedImage],
    image_size: Size,
    device: torch.device,
    batch_size: int = 8,
    workers: int = 0,
    advance: Callable[[int], None] = lambda images: None,
    resamples: int = 1000,
    seed: int = 0,
) -> BoxReport:
    """Run the model, in evaluation mode, over all images, and measure the boxes that it finds.

    Args:
        model: DiD on ``device``. Its labels are those that ``images`` were read with.
        images: Annotated images, at least one.
        image_size: Height and width of the network's input.
        device: Where to run.
        batch_size: Number of images that the network takes at once.
        workers: Number of threads that read images; 0 reads in this one.
        advance: Called with the number of images that were just done.
        resamples: Number of resamples of the percentile bootstrap over images, for the intervals.
        seed: Seed of its draws, and of a model's random strategies.

    Raises:
        ConfigError: ``batch_size`` or ``resamples`` is less than 1.
        DataError: No image can be read, or one has another size than its annotation says.
    """
    for name, value in (("batch_size", batch_size), ("resamples", resamples)):
        if value < 1:
            raise ConfigError(f"{name} is {value}; expected 1 or more")
    was_training, generator = model.training, torch.Generator().manual_seed(seed)
    model.eval()
    batches = read_in_order([image.image for image in images], batch_size, workers)
    kept: list[AnnotatedImage] = []
    found: list[Found] = []
    failures = []
    for start, batch in zip(range(0, len(images), batch_size), batches, strict=True):
        pairs = list(zip(images[start : start + batch_size], batch, strict=True))
        failures += [pixels for _, pixels in pairs if isinstance(pixels, str)]
        readable = [(image, pixels) for image, pixels in pairs if not isinstance(pixels, str)]
        if readable:
            found += find_boxes(model, readable, image_size, device, generator)
            kept += [image for image, _ in readable]
        advance(len(batch))
    model.train(was_training)
    if not kept:
        raise DataError(f"no image can be read: {'; '.join(failures[:1])}")
    methods = {"model": found}
    for name, side in SIDES.items():
        methods[name] = [center_box(image, side) for image in kept]
    draws = draw_images(len(kept), resamples, seed)  # the same for every method
    return BoxReport(
        len(kept),
        sum(len(image.present) for image in kept),
        sum(len(image.labels) for image in kept),
        {name: measure(kept, of_method, draws) for name, of_method in methods.items()},
        tuple(failures),
    )


@torch.inference_mode()
def find_boxes(
    model: DiD,
    batch: Sequence[tuple[AnnotatedImage, UInt8[np.ndarray, "_ _ 3"]]],
    image_size: Size,
    device: torch.device,
    generator: Generator,
) -> list[Found]:
    """What the model finds in images, given with their pixels ``(height, width, 3)``.

    Raises:
        DataError: An image has another size than its annotation says.
    """
    for image, pixels in batch:
        if pixels.shape[:2] != image.size:
            raise DataError(
                f"{image.image}: it has {pixels.shape[:2]} pixels (height, width), but its boxes "
                f"refer to {image.size}; use the images that the boxes were drawn on"
            )

    sources = [torch.from_numpy(pixels).permute(2, 0, 1).to(device) for _, pixels in batch]
    view = model.global_view(resize_whole(sources, image_size))
    categories = model.select_categories(view.logits, generator)
    views = model.find_boxes(view.instance_maps, categories, image_size, generator).cpu().numpy()
    found = []
    for i, (image, _) in enumerate(batch):
        maps = view.instance_maps[i, list(image.present)]  # P h w
        # Each map alone, as a batch of its own: no other label's map plays a part.
        alone = torch.zeros(len(maps), 1, dtype=torch.int64, device=maps.device)
        boxes = model.find_boxes(maps[:, None], alone, image_size, generator)[:, 0]
        found.append(
            Found(
                peaks(maps, image.size),
                scale_boxes(boxes.cpu().numpy(), image_size, image.size).astype(np.float64),
                scale_boxes(views[i], image_size, image.size).astype(np.float64),
            )
        )
    return found


def peaks(maps: Float[Tensor, "P h w"], size: Size) -> Float[np.ndarray, "P 2"]:
    """Where maps, bilinearly upsampled to an image, are largest: ``(x, y)`` in its pixels.

    That is the center of the patch of the largest value, as what lies between centers is an
    average of values; of equals, the first.
    """
    patches = maps.flatten(1).argmax(1).cpu().numpy()
    rows, columns = np.divmod(patches, maps.shape[2])
    x, y = (columns + 0.5) * size[1] / maps.shape[2], (rows + 0.5) * size[0] / maps.shape[1]
    return np.stack((x, y), axis=1)


def center_box(image: AnnotatedImage, side: float) -> Found:
    """A box in the center for every label, and as the only view.

    Args:
        image: Its size, and the labels that it has.
        side: Side of the box, as a part of the image's. It is rounded outward to whole pixels: a
            box of half the area is never a rounding error short of half.
    """
    height, width = image.size
    margin = (1 - side) / 2
    starts = math.floor(margin * width), math.floor(margin * height)
    ends = math.ceil((1 - margin) * width), math.ceil((1 - margin) * height)
    view, count = np.array([[*starts, *ends]], dtype=float), len(image.present)
    return Found(np.tile([[width / 2, height / 2]], (count, 1)), view.repeat(count, 0), view)
