"""Arguments of one command: read by tyro, refused in one line where they make no sense.

tyro and argparse frame their errors and spread them over many lines. So names and values are
checked here first, against the options that tyro derives from the command's signature.
"""

import argparse
import re
import warnings
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple, NoReturn, cast

import tyro

from didvit.cli.advice import advice_for
from didvit.config import ConfigError

LONG_CHOICES = 22
"""Most characters of a list of choices that stands beside its option."""

VALUES = {
    **dict.fromkeys(("--data", "--data.train", "--data.val"), "DATA"),
    **dict.fromkeys(("--model", "--start-from", "model"), "MODEL"),
    "--device": "DEVICE",
}
"""What stands for the text that an option takes; TEXT for others."""


class Option(NamedTuple):
    """An option of a command, or a positional argument.

    Attributes:
        action: The action of argparse that tyro made of the parameter.
        flags: Its names, the longest first; empty for a positional argument.
        metavar: What stands for its value in the help; empty for a flag without a value.
            Choices that would take much space are NAME.
        choices: The values that it takes; empty where it takes any.
        help: Its explanation in one line, without the default.
        default: The default as text; None where there is none, or the explanation has it.
        required: It must be given.
    """

    action: argparse.Action
    flags: tuple[str, ...]
    metavar: str
    choices: tuple[str, ...]
    help: str
    default: str | None
    required: bool

    @property
    def name(self) -> str:
        """How messages call it."""
        return self.flags[0] if self.flags else self.metavar


def parse(command: Callable[..., int], arguments: Sequence[str], prog: str) -> int:
    """Call a command with its arguments, and return its exit code.

    Raises:
        ConfigError: The arguments do not fit; the message is one line.
    """
    parser = _parser(command, prog)
    options = read_options(parser)
    _check_names(arguments, options, prog)
    values = _values(parser, options, arguments, prog)
    if missing := _missing(options, values):
        are = "are" if len(missing) > 1 else "is"
        raise ConfigError(f"{_joined(missing)} {are} missing; '{prog} --help' explains the options")
    for option in options:
        if option.metavar and values[option.action.dest] is not option.action.default:
            _check_value(option, values[option.action.dest])
    return tyro.cli(command, prog=prog, args=list(arguments))


def options_of(command: Callable[..., int], prog: str) -> list[Option]:
    """The options of a command, in the order of its signature."""
    return read_options(_parser(command, prog))


def read_options(parser: argparse.ArgumentParser) -> list[Option]:
    """The options of a parser that tyro made."""
    return [_option(action) for action in parser._actions if action.dest != "help"]


def nearest(name: str, known: Sequence[str]) -> str | None:
    """The known name that a mistyped one is most like, if any.

    >>> nearest("--treshold", ["--threshold", "--top-n"]), nearest("--workers", ["--data.workers"])
    ('--threshold', '--data.workers')
    """
    same_end = [flag for flag in known if flag.rpartition(".")[2] == name.lstrip("-")]
    return next(iter(same_end or get_close_matches(name, known, 1)), None)


def _parser(command: Callable[..., int], prog: str) -> argparse.ArgumentParser:
    with warnings.catch_warnings():
        # It is deprecated as a parser; there is no other public way to the options and their help.
        warnings.simplefilter("ignore", DeprecationWarning)
        return cast(argparse.ArgumentParser, tyro.extras.get_parser(command, prog=prog))


def _option(action: argparse.Action) -> Option:
    text = " ".join(str(action.help).split())
    text, required = re.subn(r" ?\(required\)$", "", text)
    parts = re.fullmatch(r"(.*?)(?: ?\(default: (.*)\))?", text)
    assert parts
    help_text, default = parts.groups()
    flags = tuple(sorted(action.option_strings, key=len, reverse=True))
    if action.nargs == 0:  # --name, --no-name: show the one that changes something
        flags = tuple(sorted(flags, key=lambda flag: flag.startswith("--no-") != action.default))
        default = flags[1] if action.default else None
    choices = tuple(choice for choice in _choices(action) if choice != "None")
    name = flags[0] if flags else action.dest
    metavar = "" if action.nargs == 0 else _plain(str(action.metavar), VALUES.get(name, "TEXT"))
    if choices:
        metavar = "|".join(choices) if len("|".join(choices)) <= LONG_CHOICES else "NAME"
    return Option(
        action,
        flags,
        metavar,
        choices,
        help_text,
        None if default in ("None", "") else default,
        bool(required) or (not flags and action.nargs not in ("*", "?")),
    )


def _choices(action: argparse.Action) -> Sequence[str]:
    """The choices of an action; tyro has those of an optional choice in no order."""
    declared = re.fullmatch(r"\{(.*)\}", str(action.metavar))
    if action.choices is None:
        return ()
    return declared[1].split(",") if declared else tuple(map(str, action.choices))


def _plain(metavar: str, text: str) -> str:
    """tyro's word for a value, for people: '{None}|FLOAT' is NUMBER, '[STR [STR ...]]' TEXT..."""
    metavar = re.sub(r"^\{None\}\|", "", metavar)
    metavar = re.sub(r"^\[(\w+) \[.*", r"\1...", metavar).strip("{}")
    for ours, theirs in ((text, "STR"), ("N", "INT"), ("NUMBER", "FLOAT")):
        metavar = re.sub(rf"\b{theirs}\b", ours, metavar)
    return metavar


def _check_names(arguments: Sequence[str], options: Sequence[Option], prog: str) -> None:
    known = [flag for option in options for flag in option.flags]
    for argument in arguments:
        name = argument.partition("=")[0]
        is_name = re.match(r"--?[A-Za-z]", name)
        if argument == "--":
            return
        if not is_name or name.replace("_", "-") in known:
            continue
        name = name.replace("_", "-")
        positional = [option.metavar for option in options if not option.flags]
        advice = advice_for(name, [*known, *positional])
        if advice is None and (like := nearest(name, known)):
            advice = f"did you mean {like}?"
        advice = advice or f"'{prog} --help-advanced' explains the options"
        raise ConfigError(f"there is no {name} in '{prog}'; {advice}")


def _values(
    parser: argparse.ArgumentParser, options: Sequence[Option], arguments: Sequence[str], prog: str
) -> dict[str, Any]:
    """The words that each option was given."""

    def fail(message: str) -> NoReturn:
        raise ConfigError(message.removeprefix("argument "))

    parser.error = fail
    parser.allow_abbrev = False
    for option in options:  # they are checked later, all of them and in our words
        option.action.required, option.action.choices = False, None
    words = [re.sub(r"^--[^=]*", lambda name: name[0].replace("_", "-"), a) for a in arguments]
    namespace, extra = parser.parse_known_args(words)
    values = vars(namespace)
    if extra:
        missing = [
            o.name for o in options if o.required and values[o.action.dest] is o.action.default
        ]
        positional = [option.metavar for option in options if not option.flags]
        expected = f"{_joined(positional)} first, then options" if positional else "options alone"
        mend = f"did you mean {missing[0]} {extra[0]}?" if len(missing) == 1 else ""
        mend = mend or f"'{prog}' takes {expected}"
        raise ConfigError(f"{extra[0]!r} is not expected there; {mend}")
    return values


def _missing(options: Sequence[Option], values: dict[str, Any]) -> list[str]:
    return [o.name for o in options if o.required and values[o.action.dest] is o.action.default]


def _check_value(option: Option, words: list[str] | str) -> None:
    kinds: dict[str, tuple[type, str]] = {
        "N": (int, "a whole number"),
        "NUMBER": (float, "a number"),
    }
    for word in [words] if isinstance(words, str) else words:
        if option.choices and word not in option.choices:
            raise ConfigError(
                f"{option.name} is {word!r}; expected {_joined(option.choices, 'or')}"
            )
        kind, expected = kinds.get(option.metavar.partition(" ")[0].rstrip("."), (str, ""))
        try:
            kind(word)
        except ValueError:
            if word != "None":
                raise ConfigError(f"{option.name} is {word!r}; expected {expected}") from None


def _joined(words: Sequence[str], last: str = "and") -> str:
    return f" {last} ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
