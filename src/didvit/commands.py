"""What the commands of ``didvit`` do. What is heavy is imported when it runs."""

import json as json_format
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal, TextIO

import tyro

from didvit.config import ConfigError, TrainConfig
from didvit.config_json import to_json
from didvit.options import RESAMPLES, check_count, check_file, check_folder
from didvit.presets import PRESETS, Preset

SUCCESS, SOMETHING_FAILED = 0, 3

ImagePaths = Annotated[
    tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PATH...", help_behavior_hint="")
]
OptionalFile = Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")]
OptionalFolder = Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")]
OptionalCount = Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="")]
OptionalModel = Annotated[str | None, tyro.conf.arg(metavar="MODEL", help_behavior_hint="")]
OptionalPreset = Annotated[
    Preset | None, tyro.conf.arg(metavar=f"{{{','.join(PRESETS)}}}", help_behavior_hint="")
]
Competition = Literal["comp1", "comp2"]
OptionalCompetition = Annotated[
    Competition | None, tyro.conf.arg(metavar="{comp1,comp2}", help_behavior_hint="")
]


def predict(
    paths: ImagePaths = (),
    /,
    model: str = "default",
    output: OptionalFolder = None,
    json: OptionalFile = None,
    threshold: float = 0.5,
    preset: OptionalPreset = None,
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
        output: Folder for one picture per image: labels, the regions of those that were found (and
            the best others, up to four), and heat maps.
        json: File for the JSON lines; without it they go to the standard output.
        threshold: Least score of a label, in [0, 1].
        preset: All settings of looking again, in place of the model's own: 'didvit' takes 4
            regions and 4 tiles at half the input's sides, 'paper' 4 regions at the input's
            (default: the model's own; those of 'default' are 'didvit').
        top_n: Regions to look at; 0 looks at the whole image alone (default: the preset's, or the
            model's own).
        batch_size: Images that the network takes at once.
        device: 'auto' takes a CUDA GPU where there is one; or a torch device such as 'cpu'.
    """
    if not all(paths) or not paths:
        raise ConfigError("no images: expected files, folders or globs after 'didvit predict'")
    check_folder("--output", output)
    check_file("--json", json)
    from rich.markup import escape

    from didvit.console import bar, stderr_console
    from didvit.data.images import ImageError
    from didvit.files import whole_file
    from didvit.inference import load
    from didvit.paths import find_images, picture_names
    from didvit.prediction import Failure

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
    results = load(model, device, preset).stream(images, threshold, top_n, batch_size)
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
    return SOMETHING_FAILED if failures else SUCCESS


def evaluate(
    *,
    data: str,
    model: str = "default",
    preset: OptionalPreset = None,
    json: OptionalFile = None,
    submission: OptionalFolder = None,
    competition: OptionalCompetition = None,
    difficult: Literal["ignore", "positive", "negative"] = "ignore",
    without_labels: Literal["keep", "drop"] = "keep",
    resamples: int = RESAMPLES,
    batch_size: int = 8,
    workers: int = 2,
    device: str = "auto",
) -> int:
    """Score a model on labeled images: mAP with its 95 % interval, AP by label, precision, recall
    and F1, by fusion.

    Exit code 0; 3 if some images could not be read and were left out; 2 for wrong usage.

    Args:
        data: Data set, as PATH or PATH:SPLIT, in any format that training takes.
        model: 'default', or a folder that 'didvit train' wrote.
        preset: All settings of looking again, as in 'didvit predict' (default: the model's own).
        json: File for the metrics, in percent.
        submission: Folder for the scores in the format of VOC 2012's evaluation server.
        competition: With --submission: comp1 (the default) for a model that learned from VOC's
            training and validation data alone, comp2 for one that learned from other data too.
        difficult: VOC's labels with difficult objects alone: unknown, present or absent.
        without_labels: Images without any label (COCO has some): kept or left out.
        resamples: Resamples of the bootstrap for the intervals of mAP, which takes minutes on tens
            of thousands of images; 0 leaves them out.
        batch_size: Images that the network takes at once.
        workers: Processes that read images; 0 reads in the command's own.
        device: 'auto' takes a CUDA GPU where there is one; or a torch device such as 'cpu'.
    """
    from rich.console import Console
    from rich.markup import escape

    from didvit.checkpoint import load_checkpoint
    from didvit.console import bar, report_tables, stderr_console
    from didvit.data.datasets import read_dataset
    from didvit.evaluation import report, score_table, submit
    from didvit.files import write_json
    from didvit.inference import choose_device
    from didvit.submission import check_names, image_ids, submitted_split

    check_file("--json", json)
    check_folder("--submission", submission)
    if competition and not submission:
        raise ConfigError(
            f"--competition {competition} is for the files of a submission; expected "
            "--submission DIR with it"
        )
    check_count("--resamples", resamples)
    check_count("--workers", workers)
    checkpoint = load_checkpoint(model, PRESETS[preset] if preset else {})
    table = read_dataset(
        data, checkpoint.labels, difficult=difficult, without_labels=without_labels
    )
    labeled = bool((table.targets >= 0).any())
    if not labeled and not submission:
        raise ConfigError(
            f"data {data} says of no label whether it is there, so that nothing can be measured; "
            "--submission DIR writes the scores themselves"
        )
    if not labeled and (json or resamples != RESAMPLES):
        raise ConfigError(
            f"data {data} says of no label whether it is there, so that nothing can be measured; "
            "expected neither --json nor --resamples with it"
        )
    if submission:  # before hours of scoring
        check_names(image_ids(table.images), table.labels)
    chosen, console = choose_device(device), stderr_console()
    network, image_size = checkpoint.model.to(chosen), checkpoint.config.image_size
    with bar("evaluating", len(table), console) as advance:
        scores = score_table(network, table, image_size, chosen, batch_size, workers, advance)
    for failure in scores.failures:
        console.print(f"[red]failed[/red] {escape(failure)}")
    if submission:
        competition = competition or "comp1"
        fusion, split = checkpoint.config.fusion, submitted_split(data)
        submit(submission, scores, table, fusion, split, competition)
        console.print(f"the files for the evaluation server are in {escape(str(submission))}")
    if labeled:
        result = report(scores, checkpoint.labels, resamples)
        if json:
            settings = to_json(checkpoint.config)
            write_json(
                json, {"model": model, "settings": settings, "data": data, **result.to_dict()}
            )
        for rows in report_tables(result, checkpoint.config.fusion):
            Console(emoji=False, highlight=False).print(rows)
    return SOMETHING_FAILED if scores.failures else SUCCESS


def train(config: Annotated[TrainConfig, tyro.conf.arg(name="")]) -> int:
    """Train a model on photographs and their labels.

    'didvit train NAME ...' begins with the settings of a recipe. The run folder that is written
    is what '--model' of the other commands takes. Exit code 0; 2 for wrong usage or data
    that cannot be learned from; 143 if SIGTERM stopped the run, which --resume then goes on with.
    """
    from didvit import training
    from didvit.console import TrainingConsole, stderr_console
    from didvit.processes import is_main_process

    console = stderr_console()
    console.quiet = not is_main_process()  # several processes say everything once
    with TrainingConsole(config, console) as observer:
        folder = training.train(config, observer)
    console.print(f"the {config.choose} weights are in {folder}")
    return SUCCESS


def pack(
    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(help_behavior_hint="")],
    /,
    output: Path,
) -> int:
    """Write a trained model with 8-bit weights: a quarter of the size, nearly the same scores.

    Args:
        model: 'default', or a folder that 'didvit train' wrote.
        output: Folder for the packed model.
    """
    from didvit.checkpoint import load_checkpoint, save_checkpoint
    from didvit.console import stderr_console

    if output.exists():
        raise ConfigError(f"--output {output} is there already; choose another folder")
    checkpoint = load_checkpoint(model)
    save_checkpoint(output, checkpoint.model, checkpoint.labels, checkpoint.config, packed=True)
    size = (output / "model.safetensors").stat().st_size
    stderr_console().print(f"{output}: {size / 1e6:.1f} MB", markup=False)
    return SUCCESS


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
