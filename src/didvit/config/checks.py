"""Checks of a configuration when it is made."""

import dataclasses
import sys
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from didvit.method.config import ConfigError


def expect(holds: bool, config: Any, name: str, expected: str) -> None:
    """Refuse a configuration where a condition on one of its settings does not hold.

    Raises:
        ConfigError: Names the setting, its value and what was expected.
    """
    if not holds:
        raise ConfigError(f"{name} is {getattr(config, name)}; expected {expected}")


def check_types(config: Any) -> None:
    """Refuse settings that are not of their field's type, and infinite numbers.

    Raises:
        ConfigError: Names the setting, its value and the expected type.
    """
    hints = get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value, kind = getattr(config, field.name), hints[field.name]
        if not _is_of(value, kind):
            raise ConfigError(f"{field.name} is {value!r}; expected {_describe(kind)}")


def _is_of(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is UnionType:
        return any(_is_of(value, part) for part in get_args(kind))
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(_is_of(item, get_args(kind)[0]) for item in value)
    if kind is float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and abs(value) <= sys.float_info.max  # whole numbers may be greater
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))


def _describe(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(get_args(kind))
    if get_origin(kind) is UnionType:
        return " or ".join(map(_describe, get_args(kind)))
    if get_origin(kind) is tuple:
        return f"a tuple, of {_describe(get_args(kind)[0])} each"
    words = {int: "a whole number", float: "a finite number", str: "a text", NoneType: "none"}
    return words.get(kind, f"a {kind.__name__}")
