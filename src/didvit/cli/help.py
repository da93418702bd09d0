"""The help of a command, at the terminal's width: its usual options, and the names of the others.

Options come from the parser that tyro makes of the command. ``--help-advanced`` shows all of them.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import cleandoc

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table

from didvit.cli.parsing import Option, options_of

USUAL = {
    "predict": (
        *("PATH...", "--model", "--output", "--json", "--overwrite"),
        *("--threshold", "--preset", "--device"),
    ),
    "evaluate": ("--data", "--model", "--preset", "--json", "--batch-size", "--device"),
    "train": (
        *("--data.train", "--data.val", "--data.root", "--output", "--start-from"),
        *("--model.backbone", "--model.image-size", "--no-freeze-backbone"),
        *("--steps", "--batch-size", "--learning-rate", "--resume", "--device"),
    ),
    "experiment": ("NAME", "--root", "--scale", "--runs", "--seeds", "--rows", "--device"),
}
"""The usual options of commands that have many. Those of the other commands are all usual."""

MOST_COLUMNS, MOST_OF_NAMES = 120, 30


def show_commands(prog: str, description: str, commands: Mapping[str, Callable]) -> None:
    """Show the commands, each with the first sentence of its documentation."""
    rows = [(name, first_sentence(paragraphs(command)[0])) for name, command in commands.items()]
    _show(
        f"usage: {prog} COMMAND [options]",
        description,
        _table(rows),
        f"'{prog} COMMAND --help' explains a command.",
    )


def show_command(
    prog: str, command: Callable[..., int], recipes: Mapping[str, str], everything: bool
) -> None:
    """Show one command.

    Args:
        prog: The command as it is typed.
        command: Its function.
        recipes: Names that may stand directly behind it, with what they are.
        everything: Show all options, and their whole explanations.
    """
    options = options_of(command, prog)
    name = prog.removeprefix("didvit ")
    usual = USUAL.get("train" if name.startswith("train") else name)
    shown = options
    if usual:
        by_name = {name: option for option in options for name in option.flags or (option.name,)}
        shown = [by_name[name] for name in usual]
    others = [option for option in options if option not in shown]
    short = bool(others) and not everything
    parts: list[RenderableType] = [
        f"usage: {' '.join(_usage(prog, options, recipes))}",
        *paragraphs(command),
    ]
    if recipes:
        rows = [(name, re.split("[:;]", text)[0]) for name, text in recipes.items()]
        parts.append(Group(f"recipes, such as '{prog} {rows[0][0]} --data.root DIR'", _table(rows)))
    table = _table([_row(option, short) for option in shown])
    parts.append(Group("usual options" if others else "options", table))
    if others and everything:
        table = _table([_row(option, short=False) for option in others])
        parts.append(Group("advanced", table))
    elif others:
        names = "  ".join(option.name for option in others)
        title = f"advanced ('{prog} --help-advanced' explains all options)"
        parts.append(Group(title, Padding(names, (0, 0, 0, 2))))
    _show(*parts)


def paragraphs(command: Callable) -> list[str]:
    """The documentation of a command without its arguments, each paragraph in one line."""
    text = cleandoc(command.__doc__ or "").partition("\n\nArgs:")[0]
    return [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]


def first_sentence(text: str) -> str:
    """Text up to its first full stop.

    >>> first_sentence("At most 0.5 of it. The rest is lost.")
    'At most 0.5 of it.'
    """
    return re.split(r"(?<=\.)\s+(?=[A-Z0-9'])", text)[0]


def _show(*parts: RenderableType) -> None:
    """Print parts with an empty line between them, at the width of the terminal."""
    console = Console(highlight=False, emoji=False, markup=False)
    console.width = min(console.width, MOST_COLUMNS)
    shown = []
    for part in parts:
        with console.capture() as capture:
            console.print(part)
        shown.append("\n".join(line.rstrip() for line in capture.get().splitlines()))
    print("\n\n".join(shown))


def _table(rows: Iterable[tuple[str, str]]) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(max_width=MOST_OF_NAMES)
    table.add_column()
    for row in rows:
        table.add_row(*row)
    return Padding(table, (0, 0, 0, 2))


def _usage(prog: str, options: Sequence[Option], recipes: Mapping[str, str]) -> Iterable[str]:
    yield prog
    if recipes:
        yield "[RECIPE]"
    yield from (option.metavar for option in options if not option.flags)
    yield from (f"{o.name} {o.metavar}" for o in options if o.required and o.flags)
    yield "[options]"


def _row(option: Option, short: bool) -> tuple[str, str]:
    # Of a flag without a value, only the name that changes something.
    names = ", ".join(option.flags[:1] if short or not option.metavar else option.flags)
    text = first_sentence(option.help) if short else option.help
    if option.choices and option.metavar == "NAME":
        text += f" One of {', '.join(option.choices)}."
    if option.default is not None:
        text += f" (default: {option.default})"
    return f"{names} {option.metavar}".strip(), text
