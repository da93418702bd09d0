"""The command ``didvit``: train, evaluate, predict. What is heavy is imported when it runs."""

import importlib.metadata
import json as json_format
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TextIO

import tyro

from didvit.config import ConfigError, TrainConfig

SUCCESS, FAILED, WRONG_USAGE, SOME_IMAGES_FAILED, INTERRUPTED = 0, 1, 2, 3, 130

ImagePaths = Annotated[
    tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PATH...", help_behavior_hint="")
]
OptionalFile = Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")]
OptionalFolder = Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")]
OptionalCount = Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="")]


def predict(
    paths: ImagePaths = (),
    /,
    model: str = "default",
    output: OptionalFolder = None,
    json: OptionalFile = None,
    threshold: float = 0.5,
    top_n: OptionalCount = None,
    batch_size: int = 8,
    device: str = "auto",
) -> int:
    """Tag photographs: one JSON line per image, and a picture of what was found where.

    Paths come first, then options. Exit code 0 if every image succeeded, 3 if some failed, 2 for
    wrong usage.

    Args:
        paths: Image files, folders (with the folders in them), and globs.
        model: 'default', or a folder that 'didvit train' wrote.
        output: Folder for one picture per image: regions, labels, and heat maps.
        json: File for the JSON lines; without it they go to the standard output.
        threshold: Least score of a label, in [0, 1].
        top_n: Regions to look at, 0 for none (default: the model's own, 4 for 'default').
        batch_size: Images that the network takes at once.
        device: 'auto' takes a CUDA GPU where there is one; or a torch device such as 'cpu'.
    """
    if not all(paths) or not paths:
        raise ConfigError("no images: expected files, folders or globs after 'didvit predict'")
    if output and output.exists() and not output.is_dir():
        raise ConfigError(f"--output {output} is a file; expected a folder")
    _check_json(json)
    from rich.markup import escape

    from didvit.console import bar, stderr_console
    from didvit.data.images import ImageError
    from didvit.files import whole_file
    from didvit.inference import Failure, load
    from didvit.paths import find_images, picture_names

    images: list[Path] = []
    failures: list[Failure] = []
    for path in paths:
        try:
            images += find_images([path], leave_out=output)
        except ImageError as error:
            failures.append(Failure(path, str(error)))
    images = list(dict.fromkeys(images))
    total = len(images) + len(failures)
    console = stderr_console()
    results = load(model, device).stream(images, threshold, top_n, batch_size)
    pictures = picture_names(images, output) if output else {}
    # On a terminal the lines themselves show how far it is.
    shown = len(images) > 1 and not (json is None and sys.stdout.isatty())
    with _json_lines(json) as write, bar("predicting", len(images), console, shown) as advance:
        for failure in failures:
            write(failure.to_dict())
            console.print(f"[red]failed[/red] {escape(failure.error)}")
        for result in results:
            write(result.to_dict())
            if isinstance(result, Failure):
                failures.append(result)
                console.print(f"[red]failed[/red] {escape(result.error)}")
            elif output:
                with whole_file(pictures[result.image]) as path:
                    result.plot().save(path, quality=90)
            advance(1)
    if failures:
        console.print(f"{len(failures)} of {total} failed")
    return SOME_IMAGES_FAILED if failures else SUCCESS


def evaluate(
    *,
    data: Path,
    model: str = "default",
    json: OptionalFile = None,
    batch_size: int = 8,
    device: str = "auto",
) -> int:
    """Score a model on labeled images: mAP, AP by label, precision, recall and F1, by fusion.

    Exit code 0; 3 if some images could not be read and were left out; 2 for wrong usage.

    Args:
        data: CSV file with the columns 'image' and 'labels'.
        model: 'default', or a folder that 'didvit train' wrote.
        json: File for the metrics, in percent.
        batch_size: Images that the network takes at once.
        device: 'auto' takes a CUDA GPU where there is one; or a torch device such as 'cpu'.
    """
    from rich.console import Console
    from rich.markup import escape

    from didvit.checkpoint import load_checkpoint
    from didvit.console import bar, report_tables, stderr_console
    from didvit.data.table import read_table
    from didvit.evaluation import report, score_table
    from didvit.files import write_json
    from didvit.inference import choose_device

    _check_json(json)
    checkpoint = load_checkpoint(model)
    table = read_table(data, checkpoint.labels)
    chosen, console = choose_device(device), stderr_console()
    network, image_size = checkpoint.model.to(chosen), checkpoint.config.image_size
    with bar("evaluating", len(table), console) as advance:
        scores = score_table(network, table, image_size, chosen, batch_size, advance)
    result = report(scores, checkpoint.labels)
    for failure in result.failures:
        console.print(f"[red]failed[/red] {escape(failure)}")
    for rows in report_tables(result, checkpoint.config.fusion):
        Console(emoji=False, highlight=False).print(rows)
    if json:
        content = {"model": model, "data": str(data), **result.to_dict()}
        write_json(json, content)
    return SOME_IMAGES_FAILED if result.failures else SUCCESS


def train(config: Annotated[TrainConfig, tyro.conf.arg(name="")]) -> int:
    """Train a model on photographs and a table of their labels.

    The run folder that it writes is what '--model' of the other commands takes.
    """
    from didvit import training
    from didvit.console import TrainingConsole, stderr_console

    console = stderr_console()
    with TrainingConsole(config, console) as observer:
        folder = training.train(config, observer)
    console.print(f"the best weights are in {folder}")
    return SUCCESS


def main() -> None:
    """Run the command; what a user can mend is one line on stderr, not a stack trace."""
    if sys.argv[1:] == ["--version"]:
        print(f"didvit {importlib.metadata.version('didvit')}")
        return
    try:
        code = tyro.extras.subcommand_cli_from_dict(
            {"predict": predict, "evaluate": evaluate, "train": train},
            prog="didvit",
            description="Name what is in photographs, learned from image-level labels alone, and "
            "show where each thing was seen. 'didvit --version' prints the version.",
        )
    except ValueError as error:
        if not type(error).__module__.startswith("didvit."):
            raise
        code = _fail(error, WRONG_USAGE)
    except BrokenPipeError:
        # The reader of the lines has had enough; nothing is left to flush them to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = SUCCESS
    except OSError as error:
        code = _fail(error, FAILED)
    except KeyboardInterrupt:
        code = _fail("interrupted", INTERRUPTED)
    sys.exit(code)


def _check_json(path: Path | None) -> None:
    if path and path.is_dir():
        raise ConfigError(f"--json {path} is a folder; expected a file")


def _fail(error: object, code: int) -> int:
    print(f"didvit: error: {error}", file=sys.stderr)
    return code


@contextmanager
def _json_lines(path: Path | None) -> Iterator:
    """A function that writes one JSON line, to a file or to the standard output.

    A file has ``.partial`` behind its name until it is complete, and keeps it if it never is.
    """
    if path is None:
        yield lambda line: _write_line(sys.stdout, line)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        yield lambda line: _write_line(file, line)
    partial.replace(path)


def _write_line(file: TextIO, line: dict) -> None:
    text = json_format.dumps(line, ensure_ascii=False)
    try:
        text.encode(file.encoding)
    except UnicodeEncodeError:
        text = json_format.dumps(line)
    file.write(text + "\n")
    file.flush()
