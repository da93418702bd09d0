"""What the commands of ``didvit data`` do. What is heavy is imported when it runs."""

import shlex
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any, cast

import tyro

from didvit.cli.options import (
    SOMETHING_FAILED,
    SUCCESS,
    OptionalFile,
    OptionalModel,
    check_count,
    check_data,
    check_file,
    check_folder,
    check_model,
)
from didvit.config import ConfigError
from didvit.data.choices import Competition


def check(
    paths: Annotated[
        tuple[str, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="PATH...", help_behavior_hint=""),
    ] = (),
    /,
    json: OptionalFile = None,
    picture: OptionalFile = None,
    page: OptionalFile = None,
    overwrite: bool = False,
    workers: int = 2,
) -> int:
    """Check data sets before a model learns from them.

    Reads every image, and reports problems and warnings: files that are missing or bad, labels
    that are missing, rare or doubtful, and images that data sets share. Also shows counts, label
    co-occurrence and sizes. Exit code 0 if there is no problem (there may be warnings), 3 if
    there is one; 2 for wrong usage.

    Args:
        paths: Data sets, as PATH or PATH:SPLIT; first the one that a model learns from.
        json: File for the report.
        picture: File for a picture of the report (.png).
        page: File for the report as a page for a browser (.html).
        overwrite: Replace existing files of --json, --picture and --page, which are refused
            otherwise.
        workers: Threads that read images; 0 reads in the command's own.
    """
    if not paths:
        raise ConfigError("no data set: expected one or more after 'didvit data check'")
    check_file("--json", json, overwrite)
    check_file("--picture", picture, overwrite)
    check_file("--page", page, overwrite)
    check_count("--workers", workers)
    if picture and picture.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise ConfigError(f"--picture {picture} is no picture; expected a .png or .jpg file")
    twice = next((path for i, path in enumerate(paths) if path in paths[:i]), None)
    if twice:
        raise ConfigError(f"data set {twice} is named twice; expected other images in each")
    for path in paths:
        check_data("data set", path)
    from rich.console import Console

    from didvit.cli.console import bar, stderr_console
    from didvit.data.datasets import read_dataset
    from didvit.data.wording import one_line
    from didvit.environment import versions
    from didvit.files import whole_file, write_json
    from didvit.inspection import draw_report, inspect, inspection_tables
    from didvit.inspection.page import data_page
    from didvit.pages import write_page

    names = [Path(path).name for path in paths]  # short, where they tell the data sets apart
    names = names if len(set(names)) == len(paths) else paths
    tables = {
        name: read_dataset(path, missing="keep") for name, path in zip(names, paths, strict=True)
    }
    total = sum(map(len, tables.values()))
    with bar("reading", total, stderr_console()) as advance:
        result = inspect(tables, advance, workers)
    console = Console(emoji=False, highlight=False)
    for rows in inspection_tables(result):
        console.print(rows)
    if json:
        write_json(json, result.to_dict())
    if picture:
        with whole_file(picture) as path, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph")  # a box stands for what no font has
            draw_report(result).savefig(path)
    if page:
        command = ("didvit", *map(shlex.quote, sys.argv[1:]))
        write_page(page, data_page(result, tables, command, versions()))
    lines = []
    for title, sentences in (("Problems:", result.problems), ("Warnings:", result.warnings)):
        if sentences:
            lines += [title, *(f"- {one_line(sentence)}" for sentence in sentences)]
    outputs = (("report", json), ("picture", picture), ("page", page))
    written = [f"; the {name} is in {path}" for name, path in outputs if path]
    lines.append(f"{result.summary}{''.join(written)}")
    console.print("\n".join(lines), markup=False, soft_wrap=True)
    return SOMETHING_FAILED if result.problems else SUCCESS


def check_submission(
    folder: Annotated[
        Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR", help_behavior_hint="")
    ],
    /,
    data: str,
    model: OptionalModel = None,
    competition: Competition = "comp1",
) -> int:
    """Check files for VOC 2012's evaluation server, with one line per problem.

    Reports files that are missing or do not belong there, images that are missing, unknown or
    listed twice, and scores that are no finite number. Exit code 0 if nothing is wrong, 3 if
    something is; 2 for wrong usage.

    Args:
        folder: What 'didvit evaluate --submission' wrote, or other files of that format.
        data: Data set with the images that were to be scored, as PATH or PATH:SPLIT.
        model: Model whose labels were to be scored (default: the labels of the data set).
        competition: comp1 for a model that learned from VOC's training and validation data alone,
            comp2 for one that learned from other data too.
    """
    check_data("--data", data)
    if model:
        check_model("--model", model)
    from didvit.cli.console import stderr_console
    from didvit.data.datasets import read_dataset
    from didvit.evaluation.voc_submission import image_ids, submitted_split, validate_submission
    from didvit.modeling.folder import find_model, read_description

    labels = read_description(find_model(model)).labels if model else None
    table = read_dataset(data, labels)
    problems = validate_submission(
        folder, image_ids(table.images), table.labels, submitted_split(data), competition
    )
    for problem in problems:
        print(problem)
    if not problems:
        stderr_console().print(
            f"{folder}: nothing is wrong with the scores of {len(table.labels)} labels and "
            f"{len(table)} images",
            markup=False,
            soft_wrap=True,
        )
    return SOMETHING_FAILED if problems else SUCCESS


def download(
    split: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="VOC2007:trainval")],
    /,
    root: Path = Path("."),
) -> int:
    """Download a split of VOC 2007 or 2012 from its server, and unpack it.

    Args:
        split: VOC2007:train, :val, :trainval or :test, or VOC2012:train, :val or :trainval.
        root: Folder that receives the archive and VOCdevkit.
    """
    check_folder("--root", root)
    year, _, part = split.removeprefix("VOC").partition(":")
    parts = {"2007": ("train", "val", "trainval", "test"), "2012": ("train", "val", "trainval")}
    if part not in parts.get(year, ()):
        known = ", ".join(
            f"VOC{year}:{part}" for year, all_parts in parts.items() for part in all_parts
        )
        raise ConfigError(f"there is no {split!r} to download; expected one of {known}")
    from didvit.data.formats.voc_download import download_voc

    folder = download_voc(root, cast(Any, year), part)
    print(f"{folder}:{part}")
    return SUCCESS
