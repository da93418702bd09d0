"""Prediction on photographs: the only module that knows the sizes of original images."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, get_args

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from didvit.config import ConfigError, DiDConfig, ModelConfig
from didvit.config.presets import PRESETS, EngineName, Precision, Preset
from didvit.data.images import ImageError, Photograph, decode, read_photograph
from didvit.data.pixels import array_pixels
from didvit.decisions.passes import ViewBudget
from didvit.decisions.store import FILE, Decisions, DecisionsError, read_decisions, weights_digest
from didvit.inference.cut import Cut, Threshold, choose_cut
from didvit.inference.engine import Engine, EngineError, choose_engine
from didvit.inference.paths import find_images
from didvit.inference.pipeline import Output, Steps, run, steps_of
from didvit.inference.prediction import (
    Failure,
    Label,
    Maps,
    Prediction,
    Region,
    SeenIn,
    source_of,
)
from didvit.method.boxes import scale_boxes
from didvit.modeling.folder import (
    CONFIG,
    WEIGHTS,
    CheckpointError,
    check_labels,
    find_model,
    read_description,
)

ImageLike = Any
"""A path, a PIL image, an array or a tensor of PyTorch; see `Predictor.predict`."""

Pixels = UInt8[np.ndarray, "H W 3"]


class _Pending(NamedTuple):
    """An image that waits for its batch: what was given, and its pixels or why there are none."""

    name: str
    image: ImageLike
    photograph: Photograph | Failure


ENOUGH = 2
"""A photograph is decoded at a reduced scale whose sides are at least this multiple of the input's:
a region of a quarter of the area still has the pixels of the input."""


class Predictor:
    """A trained model that takes photographs.

    Args:
        engine: What computes the network.
        labels: One name per category.
        config: Settings of the model. Those of the method are ``config.method``.
        steps: Functions of the method in place of those that ``config`` names.
        decisions: Calibration and thresholds. None: the sigmoid, and 0.5.
    """

    def __init__(
        self,
        engine: Engine,
        labels: tuple[str, ...],
        config: ModelConfig,
        steps: Steps | None = None,
        decisions: Decisions | None = None,
    ):
        self.engine, self.labels, self.config = engine, labels, config
        self.decisions = decisions
        self.steps = steps or steps_of(config.method)

    @property
    def method(self) -> DiDConfig:
        """Settings of the method."""
        return self.config.method

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the network's input, in pixels."""
        return self.engine.input_size

    @property
    def least_size(self) -> tuple[int, int]:
        """Height and width of a photograph that are enough, where it can be decoded smaller."""
        height, width = self.image_size
        return ENOUGH * height, ENOUGH * width

    def predict(
        self,
        images: ImageLike | Iterable[ImageLike],
        threshold: Threshold = None,
        top_n: int | None = None,
        batch_size: int = 8,
        aim: str | None = None,
        passes: float | None = None,
    ) -> Prediction | list[Prediction]:
        """Find labels and regions.

        Args:
            images: One image or several. Each is a path, a PIL image, an array ``(H, W)``,
                ``(H, W, 1)``, ``(H, W, 3)`` or ``(H, W, 4)``, or a tensor ``(1, H, W)``,
                ``(3, H, W)`` or ``(4, H, W)``; gray, RGB or RGBA, of uint8 or of floats in [0, 1].
                The path of a folder stands for its images.
            threshold: Least score of a label, in [0, 1]: one number for all labels, or a mapping
                from some labels to theirs. None: the thresholds that the model was tuned to, or 0.5
                if it was not.
            top_n: Number of regions. None is the model's own, 0 takes the whole image alone. With
                another number than its own, the model's calibration and thresholds do not apply.
            batch_size: Number of images that the network takes at once.
            aim: Which of the model's thresholds, such as ``"precision=0.85"``. None: its default.
            passes: Forward passes per image, on average over images like those that the model was
                tuned on: images whose labels the whole image leaves uncertain have views, the
                others none. From 1 to the method's own, which None takes.

        Returns:
            A `Prediction` for one image, a list of them for several (empty for none).

        Raises:
            ImageError: An image cannot be read. `stream` continues instead.
            ConfigError: A setting is out of its range.
            EngineError: The engine cannot run these settings with ``top_n`` regions.
            NonFiniteScoreError, NonFiniteMapError: The model's weights are damaged.
        """
        single = False
        if isinstance(images, str | Path) and Path(images).is_dir():
            images = find_images([images])
        elif isinstance(images, str | Path | Image.Image | np.ndarray) or _is_tensor(images):
            single, images = True, [images]
        results = []
        for result in self.stream(images, threshold, top_n, batch_size, aim, passes):
            if isinstance(result, Failure):
                raise ImageError(result.error)
            results.append(result)
        return results[0] if single else results

    def stream(
        self,
        images: Iterable[ImageLike],
        threshold: Threshold = None,
        top_n: int | None = None,
        batch_size: int = 8,
        aim: str | None = None,
        passes: float | None = None,
    ) -> Iterator[Prediction | Failure]:
        """Like `predict`, one result at a time; an image that cannot be read is a `Failure`.

        Raises:
            ConfigError: A setting is out of its range; at once, before any image is read.
            EngineError: The engine cannot run these settings with ``top_n`` regions; at once too.
        """
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size!r}; expected a whole number, 1 or more")
        method = self._with_top_n(top_n)
        decisions = self.decisions if method == self.method else None
        cut = choose_cut(self.labels, decisions, threshold, aim)
        budget = self.view_budget(passes) if method == self.method else _refuse(passes)
        return self._stream(images, cut, method, batch_size, budget)

    def view_budget(self, passes: float | None) -> ViewBudget | None:
        """What takes so many forward passes per image on average; None: all images have views.

        Raises:
            ConfigError: The number is out of its range, or the model is not tuned for these
                settings.
        """
        if passes is None:
            return None
        if self.decisions is None:
            return _refuse(passes)
        return self.decisions.view_budget(passes, self.method.forward_passes(len(self.labels)))

    def run(
        self,
        photographs: Sequence[Pixels],
        rng: np.random.Generator | None = None,
        budget: ViewBudget | None = None,
    ) -> Output:
        """DiD on photographs of any sizes, as arrays.

        Args:
            photographs: One or more.
            rng: For random selection and localization.
            budget: From `view_budget`.

        Raises:
            NonFiniteScoreError, NonFiniteMapError: The model's weights are damaged.
            CheckpointError: The model has another number of labels than its network.
        """
        return self._see(photographs, self.method, rng, budget)

    def _see(
        self,
        photographs: Sequence[Pixels],
        method: DiDConfig,
        rng: np.random.Generator | None,
        budget: ViewBudget | None,
    ) -> Output:
        output = run(self.engine, photographs, method, self.steps, rng, budget)
        if output.logits.shape[1] != len(self.labels):
            raise CheckpointError(
                f"{CONFIG} has {len(self.labels)} labels, and the network gives "
                f"{output.logits.shape[1]} logits; expected the file that was written with it"
            )
        return output

    def _stream(
        self,
        images: Iterable[ImageLike],
        cut: Cut,
        method: DiDConfig,
        batch_size: int,
        budget: ViewBudget | None,
    ) -> Iterator[Prediction | Failure]:
        rng = np.random.default_rng(0)
        pending: list[_Pending] = []
        for place, image in enumerate(images):
            name = str(image) if isinstance(image, str | Path) else f"image {place}"
            try:
                photograph = _photograph(image, self.least_size)
            except ImageError as error:
                photograph = Failure(name, str(error))
            pending.append(_Pending(name, image, photograph))
            if len(pending) == batch_size:
                yield from self._run(method, pending, cut, rng, budget)
                pending = []
        yield from self._run(method, pending, cut, rng, budget)

    def _with_top_n(self, top_n: int | None) -> DiDConfig:
        if top_n is None:
            return self.method
        if not isinstance(top_n, int) or not 0 <= top_n <= len(self.labels):
            raise ConfigError(
                f"top_n is {top_n!r}; expected a whole number from 0 to {len(self.labels)}, the "
                "number of labels"
            )
        method = replace(self.method, top_n=top_n)
        self.engine.check_method(method)
        return method

    def _run(
        self,
        method: DiDConfig,
        pending: list[_Pending],
        cut: Cut,
        rng: np.random.Generator,
        budget: ViewBudget | None,
    ) -> Iterator[Prediction | Failure]:
        photographs = [one.photograph for one in pending]
        sources = [one.pixels for one in photographs if not isinstance(one, Failure)]
        output = self._see(sources, method, rng, budget) if sources else None
        place = 0
        for waiting in pending:
            if isinstance(waiting.photograph, Failure):
                yield waiting.photograph
            elif output is not None:
                yield self._prediction(waiting, waiting.photograph, output, place, cut)
                place += 1

    def _prediction(
        self, waiting: _Pending, photograph: Photograph, output: Output, i: int, cut: Cut
    ) -> Prediction:
        logits = np.stack((output.logits[i], output.global_logits[i], output.local_logits[i]))
        scores = cut.calibration.probabilities(logits.astype(np.float64)).tolist()
        fused, thresholds = scores[0], cut.thresholds.tolist()
        found = [
            Label(*values)
            for values in zip(self.labels, *scores, seen_in(output, i), thresholds, strict=True)
            if values[1] >= values[5]
        ]
        pixels, height, width = photograph
        boxes = scale_boxes(output.boxes[i], self.image_size, (height, width)).tolist()
        categories = output.categories[i].tolist()
        by_score = sorted(range(len(boxes)), key=lambda k: -fused[categories[k]])
        regions = [
            Region(self.labels[categories[k]], fused[categories[k]], tuple(boxes[k]))
            for k in by_score
        ]
        semantic = output.semantic_maps[i, by_score]
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
                np.zeros(semantic.shape[1:]) if spatial is None else spatial[i],
                output.instance_maps[i, by_score],
            ),
            thresholds=dict(zip(self.labels, thresholds, strict=True)),
            source=source_of(waiting.image, pixels),
            has_views=bool(output.has_views[i]),
        )


def seen_in(output: Output, i: int) -> list[SeenIn]:
    """The kind of view that every category has its highest logit in, for the i-th image."""
    views = output.view_logits[i]  # V C: first the regions, then the tiles
    if not output.has_views[i]:
        return ["image"] * output.global_logits.shape[1]
    in_image = (output.global_logits[i] >= output.local_logits[i]).tolist()
    in_region = (views.argmax(0) < output.boxes.shape[1]).tolist()
    return [
        "image" if whole else "region" if region else "tile"
        for whole, region in zip(in_image, in_region, strict=True)
    ]


def load(
    model: str | Path = "default",
    device: Any = None,
    preset: Preset | None = None,
    engine: EngineName | None = None,
    threads: int | None = None,
    decide: bool = True,
    precision: Precision | None = None,
) -> Predictor:
    """A model that takes photographs.

    Args:
        model: ``"default"``, which comes with the package, or a folder that ``didvit train`` or
            ``didvit export`` wrote.
        device: Where it runs. None takes a CUDA GPU where PyTorch computes and there is one.
        preset: Settings of the method by name, ``"didvit"``, ``"fast"`` or ``"paper"``
            (`PRESETS`). None is the model's own.
        engine: What computes: ``"onnx"``, ``"openvino"`` or ``"pytorch"``. None: ONNX Runtime
            where the folder has graphs for it and the device is the CPU, else PyTorch.
        threads: Number of threads on the CPU. None: the engine's own choice. Where it is given,
            OpenCV gets one in this process: what it does here is too small for more.
        decide: Use the model's calibration and thresholds; False: sigmoids, and 0.5.
        precision: What is computed in: ``"fp32"``, or with ONNX Runtime ``"int8"``. None: int8
            where the folder has graphs for it, as that of ``"default"`` has, and the processor is
            fast at it; else fp32, or of OpenVINO what suits a graph of half weights.

    Raises:
        ConfigError: There is no such preset, engine or device.
        EngineError: The engine is not installed, or cannot run this model.
        CheckpointError: There is no such model, or it is damaged.
        DecisionsError: Its calibration and thresholds are damaged, or those of other weights.
        WeightsError: The backbone's weights cannot be had.
    """
    if threads is not None:
        cv2.setNumThreads(1)
    if preset not in (None, *PRESETS):
        raise ConfigError(f"preset is {preset!r}; expected one of {', '.join(PRESETS)}")
    chosen = choose_engine(model, engine, device)
    if precision not in (None, *get_args(Precision)):
        expected = ", ".join(get_args(Precision))
        raise ConfigError(f"precision is {precision!r}; expected one of {expected}")
    if precision == "int8" and chosen != "onnx":
        raise ConfigError(f"precision int8 needs the engine onnx, not {chosen}")
    if chosen == "pytorch":
        from didvit.inference.engines.pytorch import load_pytorch

        parts = load_pytorch(model, PRESETS[preset] if preset else None, device, threads)
        return Predictor(*parts, _decisions(model, preset) if decide else None)
    folder = find_model(model)
    labels, config = read_description(folder)
    check_labels(folder, labels)
    method = PRESETS[preset] if preset else config.method
    method = replace(method, top_n=min(method.top_n, len(labels)))
    opened = _open(chosen, folder, method, threads, precision)
    if opened.input_size != config.image_size:
        raise EngineError(
            f"image_size is {config.image_size} in {folder / CONFIG}, and the graph was made with "
            f"{opened.input_size}; expected the same"
        )
    decisions = _decisions(model, preset) if decide else None
    return Predictor(opened, labels, replace(config, method=method), decisions=decisions)


def _refuse(passes: float | None) -> None:
    """Refuse a number of passes where nothing is known of leaving out views."""
    if passes is not None:
        raise ConfigError(
            f"passes is {passes}, and the model is not tuned, or not with this preset or top_n; "
            "leave passes out, or tune it with 'didvit tune MODEL --data VAL'"
        )


def _decisions(model: str | Path, preset: Preset | None) -> Decisions | None:
    """Those of the folder, if the model is run with the settings that it was tuned with."""
    folder = find_model(model)
    labels, config = read_description(folder)
    if (preset and PRESETS[preset] != config.method) or not (folder / FILE).is_file():
        return None
    decisions = read_decisions(folder, labels, weights_digest(folder / WEIGHTS))
    if decisions and decisions.fusion != config.method.fusion:
        raise DecisionsError(
            f"{folder / FILE} is for the fusion {decisions.fusion}, and the model's is "
            f"{config.method.fusion}; tune the model again with 'didvit tune', or remove the file "
            "with --reset"
        )
    return decisions


def _open(
    name: EngineName,
    folder: Path,
    method: DiDConfig,
    threads: int | None,
    precision: Precision | None,
) -> Engine:
    if name == "openvino":
        from didvit.inference.engines.openvino import OpenVinoEngine

        engine: Engine = OpenVinoEngine(folder, threads, precision)
    else:
        from didvit.inference.engines.onnx import OnnxEngine

        engine = OnnxEngine(folder, threads, precision)
    engine.check_method(method)
    return engine


def _is_tensor(image: object) -> bool:
    """Whether something is a tensor of PyTorch, which need not be installed."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(image, torch.Tensor)


def _photograph(image: ImageLike, least_size: tuple[int, int]) -> Photograph:
    """Anything that an image may be given as. A file may be read at a reduced scale."""
    if isinstance(image, str | Path):
        return read_photograph(image, least_size)
    pixels = _pixels(image)
    return Photograph(pixels, *pixels.shape[:2])


def _pixels(image: ImageLike) -> Pixels:
    """RGB pixels of an image that is in memory."""
    if isinstance(image, Image.Image):
        return decode(image)
    if isinstance(image, np.ndarray):
        return array_pixels(image)
    if not _is_tensor(image):
        raise ImageError(
            f"an image came as {type(image).__name__}; expected a path, a PIL image, an array or a "
            "tensor"
        )
    return _pixels_of_tensor(image)


def _pixels_of_tensor(image: Any) -> Pixels:
    if image.ndim != 3 or image.shape[0] not in (1, 3, 4) or not image.numel():
        channels_last = image.ndim == 3 and image.shape[2] in (1, 3, 4)
        mend = "; its channels come last: pass tensor.permute(2, 0, 1)" * channels_last
        raise ImageError(
            f"got a tensor {tuple(image.shape)} of {image.dtype}; expected gray (1, H, W), RGB "
            f"(3, H, W) or RGBA (4, H, W), not empty{mend}"
        )
    if str(image.dtype) in ("torch.float16", "torch.bfloat16"):
        image = image.float()
    return array_pixels(image.detach().cpu().permute(1, 2, 0).numpy())
