"""A model's folder, without its weights: where it is, and what ``config.json`` says. No PyTorch."""

import importlib.resources
import json
from pathlib import Path
from typing import NamedTuple

from didvit.config import ConfigError, ModelConfig
from didvit.config.serialization import from_json
from didvit.data.wording import one_line

FORMAT_VERSION = 2

MOST_BYTES = 2**26
"""Limit of a configuration file's size. Ten thousand labels take a hundredth of it."""

CONFIG, WEIGHTS = "config.json", "model.safetensors"


class CheckpointError(ValueError):
    """A model folder cannot be used; the message names the file and what is wrong with it."""


class Description(NamedTuple):
    """What ``config.json`` says.

    Attributes:
        labels: One per category, in order, each once.
        config: What the model is built from.
    """

    labels: tuple[str, ...]
    config: ModelConfig


def find_model(model: str | Path) -> Path:
    """The folder of a model. A folder goes before a packaged model of the same name.

    Raises:
        CheckpointError: There is no such model.
    """
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


def read_description(folder: Path) -> Description:
    """Read ``config.json``.

    Raises:
        CheckpointError: It is missing, damaged, too large or of another version.
    """
    path = folder / CONFIG
    check_is_there(path)
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise CheckpointError(
            f"{path} cannot be used: it has {size:,} bytes; expected a file that didvit "
            f"wrote, of at most {MOST_BYTES:,}"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT_VERSION:
            raise ConfigError(
                f"it has format {content['format']}, and this version of didvit reads "
                f"{FORMAT_VERSION}; use the didvit that wrote it"
            )
        labels, config = tuple(content["labels"]), from_json(ModelConfig, content["model"])
        is_list = isinstance(content["labels"], list) and len(labels) > 0
        if not is_list or not all(isinstance(label, str) for label in labels):
            raise ConfigError("labels are not a list of texts, one or more")
    except KeyError as error:
        raise CheckpointError(
            f"{path} cannot be used: there is no {error}; expected a file that didvit wrote"
        ) from error
    except RecursionError as error:
        raise CheckpointError(
            f"{path} cannot be used: it is nested too deeply; expected a file that didvit wrote"
        ) from error
    except (ConfigError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} cannot be used: {shortened(error)}") from error
    return Description(labels, config)


def check_labels(folder: Path, labels: tuple[str, ...]) -> None:
    """Refuse labels of which one stands twice."""
    if len(set(labels)) != len(labels):
        raise CheckpointError(f"{folder / CONFIG} cannot be used: a label stands in it twice")


def check_is_there(path: Path) -> None:
    """Refuse a model folder that lacks a file."""
    folder = path.parent
    if not path.is_file() and (folder / "train.json").exists():
        raise CheckpointError(
            f"{folder} is a run without a model yet: it stopped before its first evaluation; "
            "continue it with 'didvit train ... --resume'"
        )
    if not path.is_file():
        raise CheckpointError(
            f"{folder} is not a model: {path.name} is missing; expected a folder that "
            "'didvit train --output' wrote"
        )


def shortened(error: Exception) -> str:
    """A message in one line, without most of a value or a list that is absurdly long."""
    text = one_line(" ".join(str(error).split()))
    return text if len(text) <= 500 else f"{text[:500]} … ({len(text):,} characters)"
