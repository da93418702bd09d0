"""Configurations as JSON values, and back, from files of this version or an earlier one."""

import dataclasses
from pathlib import Path
from typing import Any

from didvit.config import ConfigError, ModelConfig

EARLY = {
    "head": "baseline",
    "csra_heads": None,
    "csra_weight": None,
    "label_embeddings": None,
    "rollout_order": "descending",
    "box_padding": 0.0,
    "view_scale": 1.0,
    "tiles": 0,
}
"""Settings of a model that came later than the first files of models, and what was done before: a
file without them means these, and names of an experiment's results leave these out."""


def to_json(config: Any) -> dict[str, Any]:
    """A configuration as JSON values: paths as strings, tuples as lists."""
    return {
        field.name: _json_value(getattr(config, field.name)) for field in dataclasses.fields(config)
    }


def upgrade(values: dict[str, Any]) -> dict[str, Any]:
    """The settings of a model's file, of this version or an earlier one, as they are called now."""
    kept = {name: value for name, value in values.items() if (name, value) != ("view_size", None)}
    return {**EARLY, **kept}


def model_config_from_json(values: dict[str, Any]) -> ModelConfig:
    """The inverse of `to_json` for a `ModelConfig`.

    Raises:
        ConfigError: A setting is unknown, missing, or impossible.
    """
    values = upgrade(values)
    names = {field.name for field in dataclasses.fields(ModelConfig)}
    unknown, missing = sorted(values.keys() - names), sorted(names - values.keys())
    if unknown or missing:
        raise ConfigError(
            f"settings do not fit this version: unknown {', '.join(unknown) or 'none'}; "
            f"missing {', '.join(missing) or 'none'}"
        )
    size = values["image_size"]
    return ModelConfig(**{**values, "image_size": tuple(size) if isinstance(size, list) else size})


def _json_value(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_json(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return [_json_value(item) for item in value]
    return value
