"""The command ``didvit``: from arguments to one of the `commands`, and to an exit code."""

import importlib.metadata
import os
import sys
from collections.abc import Callable
from inspect import cleandoc
from typing import Annotated

import tyro

from didvit.commands import SUCCESS, evaluate, pack, predict, train
from didvit.config import ConfigError, Stopped, TrainConfig
from didvit.data_commands import check, check_submission, download
from didvit.experiments.command import experiment

FAILED, WRONG_USAGE, INTERRUPTED, TERMINATED = 1, 2, 130, 143


def data() -> int:
    """Check data sets before a model learns from them, check a submission, or download VOC."""
    return _run(
        {"check": check, "check-submission": check_submission, "download": download},
        "didvit data",
        cleandoc(data.__doc__ or ""),
        sys.argv[2:],
    )


def main() -> None:
    """Run the command; what a user can mend is one line on stderr, not a stack trace."""
    arguments = sys.argv[1:]
    if arguments == ["--version"]:
        print(f"didvit {importlib.metadata.version('didvit')}")
        return
    try:
        if arguments[:1] == ["data"]:
            code = data()
        else:
            recipe, arguments = _take_recipe(arguments)
            code = _run(
                {
                    "predict": predict,
                    "evaluate": evaluate,
                    "train": _train_command(recipe, arguments),
                    "pack": pack,
                    "experiment": experiment,
                    "data": data,
                },
                "didvit",
                "Name what is in photographs, learned from image-level labels alone, and show "
                "where each thing was seen. 'didvit --version' prints the version.",
                arguments,
            )
    except (ConfigError, ValueError) as error:
        if not type(error).__module__.startswith("didvit."):
            raise
        code = _fail(error, WRONG_USAGE)
    except BrokenPipeError:
        # The reader of the lines has had enough; nothing is left to flush them to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = SUCCESS
    except Stopped as stopped:
        code = _fail(stopped, TERMINATED)
    except OSError as error:
        code = _fail(error, FAILED)
    except KeyboardInterrupt:
        going_on = (
            "; --resume goes on from the last checkpoint" if arguments[:1] == ["train"] else ""
        )
        code = _fail(f"interrupted{going_on}", INTERRUPTED)
    sys.exit(code)


def _run(
    commands: dict[str, Callable[..., int]], prog: str, description: str, arguments: list[str]
) -> int:
    return tyro.extras.subcommand_cli_from_dict(
        commands, prog=prog, description=description, args=arguments
    )


def _take_recipe(arguments: list[str]) -> tuple[TrainConfig | None, list[str]]:
    """The settings of the recipe that stands behind 'train', and the arguments without it."""
    from didvit.recipes import RECIPES

    if arguments[:1] != ["train"] or len(arguments) < 2 or arguments[1].startswith("-"):
        return None, arguments
    if arguments[1] not in RECIPES:
        raise ConfigError(
            f"there is no recipe {arguments[1]!r}; expected one of {', '.join(RECIPES)}, or none"
        )
    return RECIPES[arguments[1]].config, ["train", *arguments[2:]]


def _train_command(recipe: TrainConfig | None, arguments: list[str]) -> Callable[..., int]:
    """`train`, with the recipe's settings where the user gives none; its help lists the recipes."""
    from didvit.recipes import RECIPES

    if recipe is None:

        def command(config: Annotated[TrainConfig, tyro.conf.arg(name="")]) -> int:
            return train(config)

    else:

        def command(config: Annotated[TrainConfig, tyro.conf.arg(name="")] = recipe) -> int:
            return train(config)

    command.__doc__ = cleandoc(train.__doc__ or "")
    if arguments[:1] == ["train"]:
        summaries = [f"{name}: {known.summary}." for name, known in RECIPES.items()]
        title = "Recipes ('didvit train NAME --data.root DIR', NAME directly behind 'train'):"
        command.__doc__ = "\n\n".join([command.__doc__, title, *summaries])
    return command


def _fail(error: object, code: int) -> int:
    print(f"didvit: error: {error}", file=sys.stderr)
    return code
