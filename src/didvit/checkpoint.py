"""A model as a folder: ``config.json`` and ``model.safetensors``. Nothing is ever unpickled."""

import dataclasses
import importlib.resources
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from didvit.build import build_model
from didvit.config import ConfigError, ModelConfig
from didvit.config_json import model_config_from_json, to_json
from didvit.files import whole_file, write_json
from didvit.heads import LabelKnowledge
from didvit.method import DiD
from didvit.packing import pack, unpack

FORMAT_VERSION = 1


class CheckpointError(ValueError):
    """A model folder cannot be used; the message names the file and what is wrong with it."""


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
        folder: Made where it is missing.
        model: Built by `build_model` from ``config``.
        labels: One per category.
        config: What the model was built from.
        packed: Write the weights in 8 bits, a quarter of the size.

    Raises:
        OSError: The disk is full, say; the model before is whole.
    """
    state = {name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()}
    try:
        with whole_file(folder / "model.safetensors") as path:
            safetensors.torch.save_file(pack(state) if packed else state, path)
    except safetensors.SafetensorError as error:  # its word for a write that failed
        raise OSError(f"the model cannot be written to {folder}: {error}") from error
    content = {"format": FORMAT_VERSION, "labels": list(labels), "model": to_json(config)}
    write_json(folder / "config.json", content)


def load_checkpoint(
    model: str | Path, changes: Mapping[str, Any] = MappingProxyType({})
) -> Checkpoint:
    """Load a model folder, or a model that comes with the package, by name (``"default"``).

    A folder of that name, where there is one, comes first.

    Args:
        model: Folder or name.
        changes: Settings of `ModelConfig` that are to be other than when it was trained: how it
            looks again, not what its weights are.

    Raises:
        ConfigError: A change is impossible.
        CheckpointError: There is no such model, a file of it is missing, damaged, of another
            version, or does not fit the others.
    """
    folder = _find(model)
    config_path, weights_path = folder / "config.json", folder / "model.safetensors"
    for path in (config_path, weights_path):
        if not path.is_file():
            raise CheckpointError(
                f"{folder} is not a model: {path.name} is missing; expected a folder that "
                "'didvit train --output' wrote"
            )
    try:
        content = json.loads(config_path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT_VERSION:
            raise ConfigError(
                f"it has format {content['format']}, and this version of didvit reads "
                f"{FORMAT_VERSION}; use the didvit that wrote it"
            )
        labels, config = tuple(content["labels"]), model_config_from_json(content["model"])
        if not isinstance(content["labels"], list) or not all(isinstance(x, str) for x in labels):
            raise ConfigError("labels are not a list of texts")
    except KeyError as error:
        raise CheckpointError(
            f"{config_path} cannot be used: there is no {error}; expected a file that didvit wrote"
        ) from error
    except (ConfigError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{config_path} cannot be used: {error}") from error
    try:
        state = unpack(safetensors.torch.load_file(weights_path))
    except (safetensors.SafetensorError, KeyError, RuntimeError) as error:
        raise CheckpointError(f"{weights_path} is damaged: {error}") from error

    config = dataclasses.replace(config, **changes)
    if len(set(labels)) != len(labels):
        raise CheckpointError(f"{config_path} cannot be used: a label stands in it twice")
    try:
        knowledge = _room_for_knowledge(len(labels), state)
        built = build_model(config, len(labels), pretrained=False, knowledge=knowledge)
    except (ConfigError, ValueError) as error:
        raise CheckpointError(f"{config_path} cannot be used: {error}") from error
    try:
        built.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"{weights_path} does not fit {config_path}: {error}") from error
    return Checkpoint(built.eval(), labels, config)


def _room_for_knowledge(num_labels: int, state: dict[str, Tensor]) -> LabelKnowledge:
    """Zeros, whose places the weights of a head that knows its labels take."""
    vectors = state.get("head.label_embeddings", torch.zeros(num_labels, 0))
    return LabelKnowledge(torch.zeros(num_labels, num_labels), torch.zeros_like(vectors))


def _find(model: str | Path) -> Path:
    if Path(model).is_dir():
        return Path(model)
    packaged = Path(str(importlib.resources.files("didvit") / "models"))
    names = sorted(folder.name for folder in packaged.glob("*") if folder.is_dir())
    if str(model) in names:
        return packaged / str(model)
    raise CheckpointError(
        f"there is no model {str(model)!r}: expected a folder that 'didvit train --output' wrote, "
        f"or one of the models that come with didvit: {', '.join(names)}"
    )
