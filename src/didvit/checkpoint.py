"""A model as a folder: ``config.json`` and ``model.safetensors``. Nothing is ever unpickled."""

import importlib.resources
import json
from pathlib import Path
from typing import NamedTuple

import safetensors
import safetensors.torch

from didvit.config import ConfigError, ModelConfig, build_model, model_config_from_json, to_json
from didvit.files import whole_file, write_json
from didvit.method import DiD

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
    folder: Path, model: DiD, labels: tuple[str, ...], config: ModelConfig, with_backbone: bool
) -> None:
    """Write a model folder; each file appears whole or not at all.

    Args:
        folder: Made where it is missing.
        model: Built by `build_model` from ``config``.
        labels: One per category.
        config: What the model was built from.
        with_backbone: False leaves the backbone out, for one that is unchanged and embedded: then
            loading takes it from the installation again, and the file holds the head alone.
    """
    assert with_backbone or config.weights == "embedded"
    state = {
        name: tensor.contiguous()
        for name, tensor in model.state_dict().items()
        if with_backbone or not name.startswith("backbone.")
    }
    with whole_file(folder / "model.safetensors") as path:
        safetensors.torch.save_file(state, path)
    content = {"format": FORMAT_VERSION, "labels": list(labels), "model": to_json(config)}
    write_json(folder / "config.json", content)


def load_checkpoint(model: str | Path) -> Checkpoint:
    """Load a model folder, or a model that comes with the package, by name (``"default"``).

    A folder of that name, where there is one, comes first.

    Raises:
        CheckpointError: There is no such model, a file of it is missing, damaged, of another
            version, or does not fit the others, or the embedded backbone is not installed.
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
                f"format {content['format']}, and this version reads {FORMAT_VERSION}"
            )
        labels, config = tuple(content["labels"]), model_config_from_json(content["model"])
        if not isinstance(content["labels"], list) or not all(isinstance(x, str) for x in labels):
            raise ConfigError("labels are not a list of texts")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{config_path} cannot be used: {error!r}") from error
    try:
        state = safetensors.torch.load_file(weights_path)
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{weights_path} is damaged: {error}") from error

    if len(set(labels)) != len(labels):
        raise CheckpointError(f"{config_path} cannot be used: a label stands in it twice")
    has_backbone = any(name.startswith("backbone.") for name in state)
    if not has_backbone and config.weights != "embedded":
        raise CheckpointError(
            f"{weights_path} does not fit {config_path}: it holds no backbone, and the backbone is "
            "not the embedded one"
        )
    try:
        built = build_model(config, len(labels), pretrained=not has_backbone)
    except ValueError as error:
        raise CheckpointError(f"{config_path} cannot be used: {error}") from error
    if not has_backbone:
        state |= {f"backbone.{k}": tensor for k, tensor in built.backbone.state_dict().items()}
    try:
        built.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"{weights_path} does not fit {config_path}: {error}") from error
    return Checkpoint(built.eval(), labels, config)


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
