"""Configurations as JSON values, and back."""

import dataclasses
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from didvit.method.config import ConfigError

Config = TypeVar("Config")


def to_json(config: Any) -> dict[str, Any]:
    """A configuration as JSON values: paths become strings, and tuples become lists.

    >>> from didvit.config import LossConfig
    >>> to_json(LossConfig())["name"]
    'soft_margin'
    """
    return json.loads(json.dumps(dataclasses.asdict(config), default=str))


def from_json(kind: type[Config], values: dict[str, Any]) -> Config:
    """The inverse of `to_json`. Every setting must be there, and no other.

    Raises:
        ConfigError: A setting is unknown, missing or impossible.

    >>> from didvit.config import LossConfig
    >>> from_json(LossConfig, to_json(LossConfig("focal"))).name
    'focal'
    """
    return _read(kind, values, "the configuration")


def changed_settings(
    old: dict[str, Any], new: dict[str, Any], may_differ: Collection[str] = ()
) -> list[str]:
    """A phrase for each setting that differs between two configurations as JSON values.

    Args:
        old: The configuration before.
        new: The configuration now.
        may_differ: Names of settings to ignore, with their groups: ``"data.workers"``.

    >>> changed_settings({"a": {"b": 1}}, {"a": {"b": 2}})
    ['a.b was 1 and is 2']
    """
    was, now = _flat(old), _flat(new)
    return [
        f"{name} was {was.get(name)} and is {now.get(name)}"
        for name in sorted(was.keys() | now.keys())
        if name not in may_differ and was.get(name) != now.get(name)
    ]


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in settings.items():
        nested = isinstance(value, dict)
        flat |= _flat(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return flat


def _read(kind: Any, values: Any, group: str) -> Any:
    if not isinstance(values, dict):
        raise ConfigError(f"{group} is {values!r}; expected names and values of settings")
    kinds = get_type_hints(kind)
    unknown, missing = sorted(values.keys() - kinds), sorted(kinds.keys() - values)
    if unknown or missing:
        raise ConfigError(
            f"the settings do not fit this version: unknown {', '.join(unknown) or 'none'}; "
            f"missing {', '.join(missing) or 'none'}"
        )
    return kind(**{name: _read_value(kinds[name], values[name], name) for name in kinds})


def _read_value(kind: Any, value: Any, name: str) -> Any:
    """A setting from its JSON value. The configuration refuses what is not of its type."""
    if dataclasses.is_dataclass(kind):
        return _read(kind, value, name)
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, str) and Path in (kind, *get_args(kind)):
        return Path(value)
    return value
