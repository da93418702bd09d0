"""Prediction on photographs: the only module that knows the sizes of original images."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from didvit.checkpoint import load_checkpoint
from didvit.config import ConfigError
from didvit.data.images import ImageError, decode, read_image
from didvit.method import DiD, DiDOutput, resize_whole, scale_boxes
from didvit.paths import find_images
from didvit.prediction import Failure, Label, Maps, Prediction, Region
from didvit.presets import PRESETS, Preset

ImageLike = str | Path | Image.Image | np.ndarray | Tensor

DEVICES = "auto, cpu, cuda, cuda:N or mps"


class Predictor:
    """A trained model that takes photographs.

    Args:
        model: The trained DiD; put into evaluation mode.
        labels: One name per category.
        image_size: Height and width of the network's input.
        device: Where it runs; None takes a CUDA GPU where there is one.
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
            images: One image or several: a path, a PIL image, a uint8 array ``(H, W, 3)``, or a
                uint8 tensor ``(3, H, W)``; RGB. The path of a folder stands for its images.
            threshold: Least score of a label, in [0, 1].
            top_n: Regions to look at; None is the model's own number, 0 looks at
                the whole image alone.
            batch_size: Images that the network takes at once.

        Returns:
            A `Prediction` for one image, a list of them for several (empty for none).

        Raises:
            ImageError: An image cannot be read. `stream` goes on instead.
            ConfigError: A setting is out of its range.
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
        if not 0 <= threshold <= 1:
            raise ConfigError(f"threshold is {threshold}; expected a probability in [0, 1]")
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}; expected 1 or more")
        return self._stream(images, threshold, self._with_top_n(top_n), batch_size)

    def _stream(
        self, images: Iterable[ImageLike], threshold: float, model: DiD, batch_size: int
    ) -> Iterator[Prediction | Failure]:
        generator = torch.Generator().manual_seed(0)
        pending: list[tuple[str, Tensor | Failure]] = []
        for place, image in enumerate(images):
            name = str(image) if isinstance(image, str | Path) else f"image {place}"
            try:
                pending.append((name, _pixels(image)))
            except ImageError as error:
                pending.append((name, Failure(name, str(error))))
            if len(pending) == batch_size:
                yield from self._run(model, pending, threshold, generator)
                pending = []
        yield from self._run(model, pending, threshold, generator)

    def _with_top_n(self, top_n: int | None) -> DiD:
        if top_n is None:
            return self.model
        if not 0 <= top_n <= len(self.labels):
            raise ConfigError(
                f"top_n is {top_n}; expected 0 to {len(self.labels)}, the model's number of labels"
            )
        return self.model.with_top_n(top_n)

    def _run(
        self,
        model: DiD,
        pending: list[tuple[str, Tensor | Failure]],
        threshold: float,
        generator: torch.Generator,
    ) -> Iterator[Prediction | Failure]:
        sources = [pixels for _, pixels in pending if isinstance(pixels, Tensor)]
        output = (
            run_model(model, sources, self.image_size, self.device, generator) if sources else None
        )
        place = 0
        for name, pixels in pending:
            if isinstance(pixels, Failure):
                yield pixels
            elif output is not None:
                yield self._prediction(name, pixels, output, place, threshold)
                place += 1

    def _prediction(
        self, name: str, pixels: Tensor, output: DiDOutput, i: int, threshold: float
    ) -> Prediction:
        logits = torch.stack((output.logits[i], output.global_logits[i], output.local_logits[i]))
        fused, global_scores, local_scores = logits.sigmoid().tolist()
        found = [
            Label(*values)
            for values in zip(self.labels, fused, global_scores, local_scores, strict=True)
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
            image=name,
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
            pixels=pixels.permute(1, 2, 0).numpy(),
        )


def load(
    model: str | Path = "default",
    device: str | torch.device | None = None,
    preset: Preset | None = None,
) -> Predictor:
    """A model that takes photographs.

    Args:
        model: ``"default"``, which comes with the package, or a folder that ``didvit train`` wrote.
        device: Where it runs; None takes a CUDA GPU where there is one.
        preset: How to look again: ``"didvit"`` or ``"paper"`` (`PRESETS`); None is the model's own
            settings.

    Raises:
        ConfigError: There is no such preset.
        CheckpointError: There is no such model, or it is damaged.
        WeightsError: The backbone's weights cannot be had.
    """
    if preset not in (None, *PRESETS):
        raise ConfigError(f"preset is {preset!r}; expected {' or '.join(PRESETS)}")
    checkpoint = load_checkpoint(model, PRESETS[preset] if preset else {})
    return Predictor(checkpoint.model, checkpoint.labels, checkpoint.config.image_size, device)


@torch.inference_mode()
def run_model(
    model: DiD,
    sources: list[Tensor],
    image_size: tuple[int, int],
    device: torch.device,
    generator: torch.Generator,
) -> DiDOutput:
    """DiD on photographs ``(3, H, W)`` of any sizes; random strategies draw from the generator."""
    sources = [source.to(device) for source in sources]
    return model(resize_whole(sources, image_size), sources, generator)


def choose_device(device: str | torch.device | None) -> torch.device:
    """The device named; for None or ``"auto"`` a CUDA GPU where there is one, else the CPU.

    Raises:
        ConfigError: There is no such device here.
    """
    if device not in (None, "auto"):
        try:
            chosen = torch.device(device)
            torch.empty(0, device=chosen)
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(
                f"device {str(device)!r} cannot be used; expected {DEVICES} "
                f"({str(error).splitlines()[0]})"
            ) from error
        if chosen.type == "meta":  # which holds no numbers
            raise ConfigError(f"device 'meta' cannot be used; expected {DEVICES}")
        return chosen
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _pixels(image: ImageLike) -> Tensor:
    if isinstance(image, str | Path):
        return read_image(image)
    if isinstance(image, Image.Image):
        return decode(image)
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3:
        image = torch.from_numpy(image.copy()).permute(2, 0, 1)
    if (
        not isinstance(image, Tensor)
        or image.dtype != torch.uint8
        or image.ndim != 3
        or len(image) != 3
        or not image.numel()
    ):
        kind = type(image).__name__
        what = f"{kind} {tuple(image.shape)} of {image.dtype}" if hasattr(image, "shape") else kind
        raise ImageError(
            f"an image came as {what}; expected a path, a PIL image, a uint8 RGB array "
            "(H, W, 3) or a uint8 RGB tensor (3, H, W)"
        )
    return image.cpu()
