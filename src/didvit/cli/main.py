"""The command ``didvit``: from arguments to a command, and from an exception to an exit code."""

import importlib.metadata
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import tyro

from didvit.cli.audit import audit
from didvit.cli.benchmark import benchmark
from didvit.cli.data import check, check_submission, download
from didvit.cli.evaluate import evaluate
from didvit.cli.experiment import experiment
from didvit.cli.export import export
from didvit.cli.help import show_command, show_commands
from didvit.cli.models import models
from didvit.cli.options import SUCCESS
from didvit.cli.pack import pack
from didvit.cli.parsing import nearest, parse
from didvit.cli.predict import predict
from didvit.cli.rank import rank
from didvit.cli.report import report
from didvit.cli.train import train
from didvit.cli.tune import tune
from didvit.config import ConfigError, TrainConfig
from didvit.config.recipes import RECIPES, Recipe
from didvit.data.wording import one_line
from didvit.training.stopping import Stopped

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130

DESCRIPTION = (
    "Name what is in photographs, learned from image-level labels alone, and show where each thing "
    "was seen. 'didvit --version' prints the version."
)
HELP = ("-h", "--help", "--help-advanced")

EXTRAS = {
    "datasets": "hf",
    "filelock": "train",
    "lightning_fabric": "train",
    "matplotlib": "report",
    "onnx": "export",
    "onnxscript": "export",
    "openvino": "openvino",
    "safetensors": "train",
    "scipy": "train",
    "tensorboardX": "train",
    "timm": "train",
    "torch": "train",
    "torchvision": "train",
}
"""Which extra of the package installs a module that the default installation lacks."""


def main() -> None:
    """Run the command; what a user can mend is one line on stderr, not a stack trace."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files may be no text
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _run(sys.argv[1:])
    except (ConfigError, ValueError) as error:
        if not type(error).__module__.startswith("didvit."):
            raise
        code = _fail(error, WRONG_USAGE)
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in EXTRAS:
            raise
        code = _fail(_what_is_missing(module), FAILED)
    except BrokenPipeError:
        # The reader of the lines has had enough; nothing is left to flush them to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = SUCCESS
    except Stopped as stopped:
        code = _fail(stopped, stopped.exit_code)
    except OSError as error:
        code = _fail(error, FAILED)
    except KeyboardInterrupt:
        code = _fail("interrupted", INTERRUPTED)
    sys.exit(code)


def _commands() -> dict[str, Callable[..., int]]:
    return {
        "predict": predict,
        "evaluate": evaluate,
        "report": report,
        "tune": tune,
        "train": train,
        "audit": audit,
        "rank": rank,
        "export": export,
        "benchmark": benchmark,
        "pack": pack,
        "experiment": experiment,
        "data check": check,
        "data check-submission": check_submission,
        "data download": download,
        "models": models,
    }


def _run(arguments: Sequence[str]) -> int:
    """Find the command that the arguments name, and run it or show its help."""
    if arguments[:1] == ["--version"]:
        print(f"didvit {importlib.metadata.version('didvit')}")
        return SUCCESS
    commands, group = _commands(), "didvit"
    if arguments[:1] == ["data"]:
        group, arguments = "didvit data", arguments[1:]
        start = "data "
        commands = {k.removeprefix(start): v for k, v in commands.items() if k.startswith(start)}
    if arguments and arguments[0] in HELP:
        description = DESCRIPTION if group == "didvit" else "Check data sets, or download VOC."
        show_commands(group, description, commands)
        return SUCCESS
    if not arguments or arguments[0] not in commands:
        _refuse_command(group, arguments, commands)
    name, *rest = arguments
    prog, command, recipes = f"{group} {name}", commands[name], {}
    if command is train:
        recipe, rest = _take_recipe(rest)
        command = _train_command(recipe)
        if recipe:
            prog += f" {arguments[1]}"
        else:
            recipes = {name: recipe.summary for name, recipe in RECIPES.items()}
    if any(argument in HELP for argument in rest):
        show_command(prog, command, recipes, everything="--help-advanced" in rest)
        return SUCCESS
    return parse(command, rest, prog)


def _refuse_command(group: str, arguments: Sequence[str], commands: dict[str, Callable]) -> None:
    names = list(dict.fromkeys(name.split()[0] for name in commands))
    known = f"expected one of {', '.join(names)}"
    if not arguments:
        raise ConfigError(f"'{group}' needs a command; {known}")
    like = nearest(arguments[0], names)
    mend = f"did you mean {like!r}?" if like else known
    raise ConfigError(f"there is no command {arguments[0]!r} in '{group}'; {mend}")


def _take_recipe(arguments: list[str]) -> tuple[Recipe | None, list[str]]:
    """The recipe that stands directly behind 'train', and the arguments without it."""
    if not arguments or arguments[0].startswith("-"):
        return None, arguments
    name, *rest = arguments
    if name not in RECIPES:
        raise ConfigError(
            f"there is no recipe {name!r}; expected one of {', '.join(RECIPES)}, or none"
        )
    return RECIPES[name], rest


def _train_command(recipe: Recipe | None) -> Callable[..., int]:
    """`train`, with the recipe's settings where the user gives none, and with its description."""
    if recipe is None:

        def command(config: Annotated[TrainConfig, tyro.conf.arg(name="")]) -> int:
            return train(config)

        command.__doc__ = train.__doc__
    else:

        def command(
            config: Annotated[TrainConfig, tyro.conf.arg(name="")] = recipe.config,
        ) -> int:
            return train(config)

        command.__doc__ = (
            f"Train by a recipe: {recipe.summary}.\n\nIt needs {recipe.hardware}. Expected result: "
            f"{recipe.expected}. 'didvit train --help' says what training does."
        )
    return command


def _what_is_missing(module: str) -> str:
    extra = EXTRAS[module]
    needs = "PyTorch" if extra == "train" else module
    return f"this command needs {needs}: pip install 'didvit[{extra}]'"


def _fail(error: object, code: int) -> int:
    print(f"didvit: error: {one_line(error)}", file=sys.stderr)
    return code
