"""Prediction on photographs: the only module that knows the sizes of original images."""

from collections.abc import Iterable, Iterator
from numbers import Real
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from didvit.config import ConfigError
from didvit.config.presets import PRESETS, Preset
from didvit.data.images import ImageError, decode, read_image
from didvit.data.pixels import array_pixels
from didvit.devices import choose_device
from didvit.inference.paths import find_images
from didvit.inference.prediction import (
    Failure,
    Label,
    Maps,
    Prediction,
    Region,
    SeenIn,
    source_of,
)
from didvit.method.model import DiD, DiDOutput
from didvit.method.views import resize_whole, scale_boxes
from didvit.modeling.checkpoint import load_checkpoint

ImageLike = str | Path | Image.Image | np.ndarray | Tensor


class _Pending(NamedTuple):
    """An image that waits for its batch: what was given, and its pixels or why there are none."""

    name: str
    image: ImageLike
    pixels: Tensor | Failure


class NonFiniteScoreError(ValueError):
    """A model gives scores that are no numbers, so that nothing can be said of an image."""


class Predictor:
    """A trained model that takes photographs.

    Args:
        model: The trained DiD. It is put into evaluation mode.
        labels: One name per category.
        image_size: Height and width of the network's input.
        device: Where it runs. None takes a CUDA GPU where there is one.
    """

    def __init__(
        self,
        model: DiD,
        labels: tuple[str, ...],
        image_size: tuple[int, int],
        device: str | torch.device | None = None,
    ):
        self.device = choose_device(device)
        self.model = model.to(self.device).eval()
        self.labels = labels
        self.image_size = image_size

    def predict(
        self,
        images: ImageLike | Iterable[ImageLike],
        threshold: float = 0.5,
        top_n: int | None = None,
        batch_size: int = 8,
    ) -> Prediction | list[Prediction]:
        """Find labels and regions.

        Args:
            images: One image or several. Each is a path, a PIL image, an array ``(H, W)``,
                ``(H, W, 1)``, ``(H, W, 3)`` or ``(H, W, 4)``, or a tensor ``(1, H, W)``,
                ``(3, H, W)`` or ``(4, H, W)``; gray, RGB or RGBA, of uint8 or of floats in [0, 1].
                The path of a folder stands for its images.
            threshold: Least score of a label, in [0, 1].
            top_n: Number of regions. None is the model's own, 0 takes the whole image alone.
            batch_size: Number of images that the network takes at once.

        Returns:
            A `Prediction` for one image, a list of them for several (empty for none).

        Raises:
            ImageError: An image cannot be read. `stream` continues instead.
            ConfigError: A setting is out of its range.
            NonFiniteScoreError, NonFiniteMapError: The model's weights are damaged.
        """
        single = False
        if isinstance(images, str | Path) and Path(images).is_dir():
            images = find_images([images])
        elif isinstance(images, str | Path | Image.Image | np.ndarray | Tensor):
            single, images = True, [images]
        results = []
        for result in self.stream(images, threshold, top_n, batch_size):
            if isinstance(result, Failure):
                raise ImageError(result.error)
            results.append(result)
        return results[0] if single else results

    def stream(
        self,
        images: Iterable[ImageLike],
        threshold: float = 0.5,
        top_n: int | None = None,
        batch_size: int = 8,
    ) -> Iterator[Prediction | Failure]:
        """Like `predict`, one result at a time; an image that cannot be read is a `Failure`.

        Raises:
            ConfigError: A setting is out of its range; at once, before any image is read.
        """
        if not isinstance(threshold, Real) or not 0 <= threshold <= 1:
            raise ConfigError(
                f"threshold is {threshold!r}; expected a number in [0, 1], one for all labels"
            )
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size!r}; expected a whole number, 1 or more")
        return self._stream(images, threshold, self._with_top_n(top_n), batch_size)

    def _stream(
        self, images: Iterable[ImageLike], threshold: float, model: DiD, batch_size: int
    ) -> Iterator[Prediction | Failure]:
        generator = torch.Generator().manual_seed(0)
        pending: list[_Pending] = []
        for place, image in enumerate(images):
            name = str(image) if isinstance(image, str | Path) else f"image {place}"
            try:
                pixels = _pixels(image)
            except ImageError as error:
                pixels = Failure(name, str(error))
            pending.append(_Pending(name, image, pixels))
            if len(pending) == batch_size:
                yield from self._run(model, pending, threshold, generator)
                pending = []
        yield from self._run(model, pending, threshold, generator)

    def _with_top_n(self, top_n: int | None) -> DiD:
        if top_n is None:
            return self.model
        if not isinstance(top_n, int) or not 0 <= top_n <= len(self.labels):
            raise ConfigError(
                f"top_n is {top_n!r}; expected a whole number from 0 to {len(self.labels)}, the "
                "number of labels"
            )
        return self.model.with_top_n(top_n)

    def _run(
        self,
        model: DiD,
        pending: list[_Pending],
        threshold: float,
        generator: torch.Generator,
    ) -> Iterator[Prediction | Failure]:
        sources = [waiting.pixels for waiting in pending if isinstance(waiting.pixels, Tensor)]
        output = (
            run_model(model, sources, self.image_size, self.device, generator) if sources else None
        )
        place = 0
        for waiting in pending:
            if isinstance(waiting.pixels, Failure):
                yield waiting.pixels
            elif output is not None:
                yield self._prediction(waiting, waiting.pixels, output, place, threshold)
                place += 1

    def _prediction(
        self, waiting: _Pending, pixels: Tensor, output: DiDOutput, i: int, threshold: float
    ) -> Prediction:
        logits = torch.stack((output.logits[i], output.global_logits[i], output.local_logits[i]))
        fused, global_scores, local_scores = logits.sigmoid().tolist()
        found = [
            Label(*values)
            for values in zip(
                self.labels, fused, global_scores, local_scores, seen_in(output, i), strict=True
            )
            if values[1] >= threshold
        ]
        height, width = pixels.shape[1:]
        boxes = scale_boxes(output.boxes[i], self.image_size, (height, width)).tolist()
        categories = output.categories[i].tolist()
        by_score = sorted(range(len(boxes)), key=lambda k: -fused[categories[k]])
        regions = [
            Region(self.labels[categories[k]], fused[categories[k]], tuple(boxes[k]))
            for k in by_score
        ]
        shown = [categories[k] for k in by_score]
        semantic = output.semantic_maps[i, shown].cpu().numpy()
        spatial = output.spatial_map
        return Prediction(
            image=waiting.name,
            width=width,
            height=height,
            labels=tuple(sorted(found, key=lambda label: -label.score)),
            regions=tuple(regions),
            scores=dict(zip(self.labels, fused, strict=True)),
            maps=Maps(
                semantic,
                np.zeros(semantic.shape[1:]) if spatial is None else spatial[i].cpu().numpy(),
                output.instance_maps[i, shown].cpu().numpy(),
            ),
            threshold=float(threshold),
            source=source_of(waiting.image, pixels.permute(1, 2, 0).numpy()),
        )


def seen_in(output: DiDOutput, i: int) -> list[SeenIn]:
    """The kind of view that every category has its highest logit in, for the i-th image."""
    views = output.view_logits[i]  # V C: first the regions, then the tiles
    if not len(views):
        return ["image"] * len(output.global_logits[i])
    in_image = (output.global_logits[i] >= output.local_logits[i]).tolist()
    in_region = (views.argmax(0) < output.boxes.shape[1]).tolist()
    return [
        "image" if whole else "region" if region else "tile"
        for whole, region in zip(in_image, in_region, strict=True)
    ]


def load(
    model: str | Path = "default",
    device: str | torch.device | None = None,
    preset: Preset | None = None,
) -> Predictor:
    """A model that takes photographs.

    Args:
        model: ``"default"``, which comes with the package, or a folder that ``didvit train`` wrote.
        device: Where it runs. None takes a CUDA GPU where there is one.
        preset: Settings of the method by name, ``"didvit"``, ``"fast"`` or ``"paper"``
            (`PRESETS`). None is the model's own.

    Raises:
        ConfigError: There is no such preset.
        CheckpointError: There is no such model, or it is damaged.
        WeightsError: The backbone's weights cannot be had.
    """
    if preset not in (None, *PRESETS):
        raise ConfigError(f"preset is {preset!r}; expected one of {', '.join(PRESETS)}")
    checkpoint = load_checkpoint(model, PRESETS[preset] if preset else None)
    return Predictor(checkpoint.model, checkpoint.labels, checkpoint.config.image_size, device)


@torch.inference_mode()
def run_model(
    model: DiD,
    sources: list[Tensor],
    image_size: tuple[int, int],
    device: torch.device,
    generator: torch.Generator,
) -> DiDOutput:
    """DiD on photographs ``(3, H, W)`` of any sizes; random strategies draw from the generator.

    Raises:
        NonFiniteScoreError: A logit is NaN or infinite.
        NonFiniteMapError: An instance map is, where the model has regions to find in it.
    """
    sources = [source.to(device) for source in sources]
    output = model(resize_whole(sources, image_size), sources, generator)
    if not (output.global_logits.isfinite().all() and output.local_logits.isfinite().all()):
        raise NonFiniteScoreError(
            "the model gives scores that are NaN or infinite: the weights are damaged, or training "
            "diverged"
        )
    return output


def _pixels(image: ImageLike) -> Tensor:
    """RGB pixels ``(3, H, W)``, uint8, of anything that an image may be given as."""
    if isinstance(image, str | Path):
        return read_image(image)
    if isinstance(image, Image.Image):
        return decode(image)
    if isinstance(image, np.ndarray):
        return array_pixels(image)
    if not isinstance(image, Tensor):
        raise ImageError(
            f"an image came as {type(image).__name__}; expected a path, a PIL image, an array or a "
            "tensor"
        )
    if image.ndim != 3 or image.shape[0] not in (1, 3, 4) or not image.numel():
        channels_last = image.ndim == 3 and image.shape[2] in (1, 3, 4)
        mend = "; its channels come last: pass tensor.permute(2, 0, 1)" * channels_last
        raise ImageError(
            f"got a tensor {tuple(image.shape)} of {image.dtype}; expected gray (1, H, W), RGB "
            f"(3, H, W) or RGBA (4, H, W), not empty{mend}"
        )
    if image.dtype in (torch.float16, torch.bfloat16):
        image = image.float()
    return array_pixels(image.detach().cpu().permute(1, 2, 0).numpy())
