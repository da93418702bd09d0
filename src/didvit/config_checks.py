"""What is checked of a configuration when it is made, and the error for what is impossible."""

import dataclasses
import math
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin


class ConfigError(Exception):
    """A setting is impossible; the message names it and says what was expected.

    No ValueError: the parser of the command line would tell those of nested settings in its own
    words.
    """


def expect(holds: bool, config: Any, name: str, expected: str) -> None:
    """Refuse a configuration where something does not hold of one of its settings."""
    if not holds:
        raise ConfigError(f"{name} is {getattr(config, name)}; expected {expected}")


def check_types(config: Any) -> None:
    """Refuse what is not of its field's type, which Python itself does not check, and infinity."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if not _is_of(value, field.type):
            expected = _describe(field.type)
            raise ConfigError(f"{field.name} is {value!r}; expected {expected}")


def _is_of(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is UnionType:
        return any(_is_of(value, part) for part in get_args(kind))
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(_is_of(item, get_args(kind)[0]) for item in value)
    if kind is float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and math.isfinite(value)
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
