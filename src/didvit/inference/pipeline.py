"""DiD on photographs, around an engine: NumPy, OpenCV and Pillow alone.

The engine computes the network. What lies between its two passes is here, and the same for every
engine: categories, boxes, views and fusion.
"""

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image

from didvit.config import DiDConfig
from didvit.decisions.passes import ViewBudget
from didvit.inference.engine import Engine, Size
from didvit.inference.engines.graphs import view_size
from didvit.method.boxes import scale_boxes, tile_boxes
from didvit.method.fusion import FUSIONS, Fuse
from didvit.method.localization import LOCALIZERS, Localizer
from didvit.method.selection import SELECTORS, Selector

Logits = Float[np.ndarray, "B C"]
Box = tuple[int, int, int, int]
Photographs = Sequence[UInt8[np.ndarray, "_ _ 3"]]


class NonFiniteScoreError(ValueError):
    """A model gives scores that are no numbers, so that nothing can be said of an image."""


class Steps(NamedTuple):
    """The parts of the method between the passes."""

    select: Selector
    localize: Localizer
    fuse: Fuse


class Output(NamedTuple):
    """Result of DiD on a batch of photographs.

    As `didvit.method.model.DiDOutput`, but for maps, which are those of the K categories alone.
    An image whose views were left out has the local logits that are estimated from its global ones,
    and -inf as the logits of its views.

    Attributes:
        logits: The prediction, fused.
        global_logits: Of whole images.
        local_logits: Maximum over the views.
        view_logits: First the K regions, then the tiles.
        features: Mean of an image's patch tokens.
        categories: What the boxes were found for.
        boxes: ``[x0, y0, x1, y1)`` in pixels of the network's input.
        semantic_maps: Of the K categories.
        spatial_map: None where the method has no boxes.
        instance_maps: Of the K categories.
        has_views: False where the views were left out.
    """

    logits: Logits
    global_logits: Logits
    local_logits: Logits
    view_logits: Float[np.ndarray, "B V C"]
    features: Float[np.ndarray, "B D"]
    categories: Int[np.ndarray, "B K"]
    boxes: Int[np.ndarray, "B K 4"]
    semantic_maps: Float[np.ndarray, "B K h w"]
    spatial_map: Float[np.ndarray, "B h w"] | None
    instance_maps: Float[np.ndarray, "B K h w"]
    has_views: Bool[np.ndarray, " B"]


def steps_of(method: DiDConfig) -> Steps:
    """The functions that the settings name."""
    if method.localization in LOCALIZERS:
        localize = LOCALIZERS[method.localization]
    else:
        from didvit.heads.hcp import LOCALIZERS as MORE

        localize = MORE[method.localization]
    return Steps(SELECTORS[method.selection], localize, FUSIONS[method.fusion])


def run(
    engine: Engine,
    photographs: Photographs,
    method: DiDConfig,
    steps: Steps,
    rng: np.random.Generator | None = None,
    budget: ViewBudget | None = None,
) -> Output:
    """Recognize photographs of any sizes.

    Args:
        engine: The network.
        photographs: One or more.
        method: The settings.
        steps: The functions that they name, or others.
        rng: For random selection and localization.
        budget: Which images' views are computed, and what stands for the others. None: all are.

    Raises:
        NonFiniteScoreError: A logit is NaN or infinite.
        NonFiniteMapError: An instance map is, where the model has regions to find in it.
    """
    images = [Image.fromarray(pixels) for pixels in photographs]
    inputs = [_resize(image, (0, 0, *image.size), engine.input_size) for image in images]
    seen = engine.global_pass(_batch(inputs), with_boxes=method.top_n > 0)
    _check(seen.logits)
    if method.top_n == 0:
        return _without_boxes(seen.logits, seen.features, seen.semantic_maps, steps)
    categories = steps.select(seen.logits, method.top_n, rng)
    index = categories[:, :, None, None]
    semantic = np.take_along_axis(seen.semantic_maps, index, 1)
    instance = np.take_along_axis(seen.instance_maps, index, 1)
    boxes = steps.localize(
        instance, engine.input_size, method.box_threshold, engine.patch_size, rng
    )
    estimated = budget.estimated(seen.logits) if budget else seen.logits
    chosen = np.ones(len(images), bool)
    if budget:
        chosen = budget.needs_views(steps.fuse(seen.logits, estimated))
    canvas = [Image.fromarray(i) for i in inputs] if method.crop_from == "input" else images
    views = _views(engine, canvas, boxes, method, chosen, seen.logits.shape[1])
    local = views.max(1)
    local[~chosen] = estimated[~chosen]
    logits = steps.fuse(seen.logits, local)
    maps = semantic, seen.spatial_map, instance
    branches = (logits, seen.logits, local, views)
    return Output(*branches, seen.features, categories, boxes, *maps, chosen)


def whole_images(photographs: Photographs, size: Size) -> Float[np.ndarray, "B 3 H W"]:
    """Photographs as a network takes them, whole, at a size (height, width)."""
    images = map(Image.fromarray, photographs)
    return _batch([_resize(image, (0, 0, *image.size), size) for image in images])


def _without_boxes(logits: Logits, features: np.ndarray, maps: np.ndarray, steps: Steps) -> Output:
    count, num_labels, height, width = maps.shape
    none = np.empty((count, 0, height, width), np.float32)
    boxes = np.empty((count, 0), np.int64), np.empty((count, 0, 4), np.int64)
    views = np.empty((count, 0, num_labels), np.float32)
    fused = steps.fuse(logits, logits)
    return Output(
        *(fused, logits, logits, views, features),
        *boxes,
        *(none, None, none, np.zeros(count, bool)),
    )


def _views(
    engine: Engine,
    canvas: Sequence[Image.Image],
    boxes: Int[np.ndarray, "B K 4"],
    method: DiDConfig,
    chosen: Bool[np.ndarray, " B"],
    num_labels: int,
) -> Float[np.ndarray, "B V C"]:
    """Logits of the views of the chosen images, in batches over all of them."""
    size = view_size(method, engine.input_size, engine.patch_size)
    resize = _align_corners if method.crop_from == "input" else _resize
    tiles = tile_boxes(method.tiles, engine.input_size)
    boxes = np.concatenate([boxes, np.broadcast_to(tiles, (len(boxes), *tiles.shape))], 1)
    cut: list[list[np.ndarray]] = []
    for i in np.flatnonzero(chosen).tolist():
        image = canvas[i]
        scaled = scale_boxes(boxes[i], engine.input_size, (image.height, image.width))
        cut.append([resize(image, (x0, y0, x1, y1), size) for x0, y0, x1, y1 in scaled.tolist()])
    # As many as fill the area of the input: on a CPU, larger and smaller batches are slower.
    share = max(1, int(np.prod(engine.input_size) // np.prod(size)))
    if engine.all_at_once:
        cut, share = [list(chain.from_iterable(cut))], share * len(canvas)
    parts = [
        engine.view_logits(_batch(of_one[i : i + share]))
        for of_one in cut
        for i in range(0, len(of_one), share)
    ]
    logits = np.concatenate([np.empty((0, num_labels), np.float32), *parts])
    _check(logits)
    views = np.full((*boxes.shape[:2], num_labels), -np.inf, np.float32)
    views[chosen] = logits.reshape(-1, boxes.shape[1], num_labels)
    return views


def _resize(image: Image.Image, box: Box, size: Size) -> UInt8[np.ndarray, "H W 3"]:
    """A part of an image at a size (height, width): bilinear, antialiased where it shrinks."""
    height, width = size
    # Cut first: with a box, `resize` would read pixels around it too, unlike training.
    part = image if box == (0, 0, *image.size) else image.crop(box)
    if part.size != (width, height):
        part = part.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(part)


def _align_corners(image: Image.Image, box: Box, size: Size) -> Float[np.ndarray, "H W 3"]:
    """A part of an image at a size (height, width), in [0, 255]: bilinear, corners aligned.

    Corner pixels' centers stay in the corners, without antialiasing; see `crop_and_resize`.
    """
    pixels = np.asarray(image.crop(box), np.float32)
    for axis, side in enumerate(size):
        places = np.linspace(0, pixels.shape[axis] - 1, side)
        before = places.astype(np.int64)
        after = np.minimum(before + 1, pixels.shape[axis] - 1)
        part = np.expand_dims(places - before, (2, 1 - axis)).astype(np.float32)
        pixels = pixels.take(before, axis) * (1 - part) + pixels.take(after, axis) * part
    return pixels


def _batch(images: Sequence[np.ndarray]) -> Float[np.ndarray, "B 3 H W"]:
    """Images ``(H, W, 3)`` in [0, 255], as a network takes them."""
    stacked = np.stack(images).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(stacked, np.float32) / np.float32(255)


def _check(logits: np.ndarray) -> None:
    if not np.isfinite(logits).all():
        raise NonFiniteScoreError(
            "the model gives scores that are NaN or infinite: the weights are damaged, or training "
            "diverged"
        )
