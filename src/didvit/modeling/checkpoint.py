"""A model as a folder: ``config.json`` and ``model.safetensors``. Nothing is ever unpickled."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from didvit.config import ConfigError, DiDConfig, ModelConfig
from didvit.config.serialization import to_json
from didvit.files import whole_file, write_json
from didvit.heads import LabelStatistics
from didvit.method.model import DiD
from didvit.modeling.backbones import non_finite, num_parameters
from didvit.modeling.build import build_model
from didvit.modeling.folder import (
    CONFIG,
    FORMAT_VERSION,
    WEIGHTS,
    CheckpointError,
    check_is_there,
    check_labels,
    find_model,
    read_description,
    shortened,
)
from didvit.modeling.quantize import pack, unpack

MOST_TILES, MOST_VIEW_SCALE = 32, 8
"""Limits of settings whose cost grows with them: beyond, no machine has the memory."""


class Checkpoint(NamedTuple):
    """A trained model.

    Attributes:
        model: In evaluation mode, on the CPU.
        labels: One per category, in order.
        config: What the model was built from.
    """

    model: DiD
    labels: tuple[str, ...]
    config: ModelConfig


def save_checkpoint(
    folder: Path,
    model: DiD,
    labels: tuple[str, ...],
    config: ModelConfig,
    packed: bool = False,
) -> None:
    """Write a model folder; each file appears whole or not at all.

    Args:
        folder: Model folder. It is created if it does not exist.
        model: Model that `build_model` built from ``config``.
        labels: Labels, one per category.
        config: Configuration that the model was built from.
        packed: Write the weights in 8 bits, a quarter of the size.

    Raises:
        OSError: A file cannot be written (the disk is full, say). An earlier model stays whole.
    """
    state = {name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()}
    try:
        with whole_file(folder / WEIGHTS) as path:
            safetensors.torch.save_file(pack(state) if packed else state, path)
    except safetensors.SafetensorError as error:  # safetensors raises it if a write failed
        raise OSError(f"the model cannot be written to {folder}: {error}") from error
    content = {"format": FORMAT_VERSION, "labels": list(labels), "model": to_json(config)}
    write_json(folder / CONFIG, content)


def load_checkpoint(model: str | Path, method: DiDConfig | None = None) -> Checkpoint:
    """Load a model folder, or a model that comes with the package, by name (``"default"``).

    If a folder has the name of a packaged model, the folder is loaded.

    Args:
        model: Folder or name.
        method: Settings of the method instead of those that the model was trained with.

    Raises:
        CheckpointError: There is no such model, a file of it is missing, damaged, of another
            version, or does not fit the others.
    """
    folder = find_model(model)
    config_path, weights_path = folder / CONFIG, folder / WEIGHTS
    labels, config = read_description(folder)
    check_is_there(weights_path)
    try:
        state = unpack(safetensors.torch.load_file(weights_path))
    except (safetensors.SafetensorError, KeyError, RuntimeError) as error:
        raise CheckpointError(f"{weights_path} is damaged: {shortened(error)}") from error
    if damage := non_finite(state):
        raise CheckpointError(f"{weights_path} is damaged: {damage}")

    if method is not None:
        config = dataclasses.replace(config, method=method)
    check_labels(folder, labels)
    if problem := _out_of_proportion(config, labels, state):
        raise CheckpointError(f"{weights_path} does not fit {config_path}: {problem}")
    try:
        statistics = _empty_statistics(len(labels), state)
        built = build_model(config, len(labels), pretrained=False, statistics=statistics)
    except (ConfigError, ValueError) as error:
        raise CheckpointError(f"{config_path} cannot be used: {shortened(error)}") from error
    try:
        built.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(
            f"{weights_path} does not fit {config_path}: {shortened(error)}"
        ) from error
    return Checkpoint(built.eval(), labels, config)


def _out_of_proportion(
    config: ModelConfig, labels: tuple[str, ...], state: dict[str, Tensor]
) -> str | None:
    """What would take far more memory than the weights do, found before it is allocated."""
    method, (height, width) = config.method, config.image_size
    for name, most in (("tiles", MOST_TILES), ("view_scale", MOST_VIEW_SCALE)):
        if getattr(method, name) > most:
            return f"{name} is {getattr(method, name)}; expected at most {most}"
    positions = state.get("backbone.vit.pos_embed")
    kernel = state.get("backbone.vit.patch_embed.proj.weight")
    if positions is not None and kernel is not None and kernel.ndim == 4:
        patches = (height // kernel.shape[2]) * (width // kernel.shape[3])
        if patches > positions.shape[1]:
            return (
                f"image_size {height}x{width} takes {patches} positions, and the weights have "
                f"{positions.shape[1]}"
            )
    parameters, size = num_parameters(config.backbone), sum(t.numel() for t in state.values())
    if parameters > 2 * size:
        return f"{config.backbone} has {parameters:,} weights, and the file has {size:,}"
    sizes = {side for name, t in state.items() if name.startswith("head.") for side in t.shape}
    if len(labels) > 2 * max(sizes, default=0):
        return f"there are {len(labels)} labels, and no tensor of the head has as many rows"
    return None


def _empty_statistics(num_labels: int, state: dict[str, Tensor]) -> LabelStatistics:
    """Zeros that the state dict replaces, for heads that need statistics of the labels."""
    vectors = state.get("head.label_embeddings", torch.zeros(num_labels, 0))
    return LabelStatistics(torch.zeros(num_labels, num_labels), torch.zeros_like(vectors))
