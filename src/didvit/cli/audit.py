"""``didvit audit``."""

import csv
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import tyro

from didvit.cli.options import (
    SOMETHING_FAILED,
    SUCCESS,
    OptionalCount,
    OptionalEngine,
    OptionalFile,
    check_count,
    check_data,
    check_device,
    check_file,
    check_model,
    naming_model,
)
from didvit.cli.threads import default_threads, wait_without_spinning
from didvit.config import ConfigError
from didvit.data.choices import Difficult

COLUMNS = ("image", "label", "kind", "suspicion", "score")


def audit(
    data: Annotated[str, tyro.conf.Positional, tyro.conf.arg(help_behavior_hint="")],
    /,
    *,
    output: Path,
    model: str = "default",
    page: OptionalFile = None,
    overwrite: bool = False,
    top: OptionalCount = None,
    folds: int = 5,
    seed: int = 0,
    cache: OptionalFile = None,
    difficult: Difficult = "ignore",
    batch_size: int = 8,
    workers: int = 2,
    threads: OptionalCount = None,
    engine: OptionalEngine = None,
    device: str = "auto",
) -> int:
    """Find labels of a data set that are probably wrong or missing. The data are not changed.

    A linear head learns the labels from the model's features, and scores the images that it has not
    learned from. Use a model that has not learned from these labels: it would agree with their
    errors. Its own labels may be others.

    Exit code 0; 3 if some images could not be read and were left out; 2 for wrong usage.

    Args:
        data: Data set, as PATH or PATH:SPLIT, in any format that training takes.
        output: File for the suspicions (.csv), the likeliest first.
        model: Whose features are used: 'default', or a folder that 'didvit train' wrote.
        page: File for the likeliest ones with pictures, for a browser (.html).
        overwrite: Replace existing files of --output and --page, which are refused otherwise.
        top: Most suspicions that are written (default: all above 0.5).
        folds: Number of parts of the images; each is scored by a head of the others.
        seed: Of the parts.
        cache: File for the features (.npz), with which another audit takes seconds.
        difficult: VOC's labels with difficult objects alone: unknown, present or absent.
        batch_size: Number of images that the network takes at once.
        workers: Number of threads that read images. 0 reads in the command's own.
        threads: Number of threads on the CPU (default: the physical cores).
        engine: What computes, as in 'didvit predict'.
        device: Where, as in 'didvit predict'.
    """
    check_data("data set", data)
    check_file("--output", output, overwrite)
    check_file("--page", page, overwrite)
    check_file("--cache", cache)
    _refuse_equal({"data set": data, "--output": output, "--page": page, "--cache": cache})
    check_model("--model", model)
    check_count("--folds", folds, least=2)
    check_count("--batch-size", batch_size, least=1)
    check_count("--workers", workers)
    check_device("--device", device)
    for option, value in (("--top", top), ("--threads", threads)):
        if value is not None:
            check_count(option, value, least=1)
    wait_without_spinning()
    from rich.markup import escape

    from didvit.cli.console import bar, stderr_console
    from didvit.curation.audit import audit as find
    from didvit.curation.features import check_cache, features_of
    from didvit.curation.page import audit_page
    from didvit.data.datasets import read_dataset
    from didvit.data.wording import counted, one_line
    from didvit.decisions.store import weights_digest
    from didvit.evaluation.evaluate import check_labeled
    from didvit.files import whole_file
    from didvit.inference.predictor import load
    from didvit.modeling.folder import WEIGHTS, find_model
    from didvit.pages import write_page

    if cache:
        check_cache(cache)
    table = read_dataset(data, difficult=difficult)
    check_labeled(table, data)
    predictor = load(model, device, None, engine, threads or default_threads(), decide=False)
    console = stderr_console()

    def tell(message: str) -> None:
        console.print(escape(one_line(message)))

    with naming_model(model), bar("reading", len(table), console) as advance:
        features = features_of(
            predictor,
            weights_digest(find_model(model) / WEIGHTS),
            table.images,
            cache,
            batch_size,
            workers,
            advance,
            tell,
        )
    for failure in features.failures:
        console.print(f"[red]failed[/red] {escape(one_line(failure))}")
    targets = table.targets[features.indices]
    found = find(features.values, targets, table.labels, folds, seed)
    found = replace(found, suspicions=found.suspicions[:top])
    written = found.suspicions
    with (
        whole_file(output) as path,
        path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for one in written:
            image = table.images[int(features.indices[one.image])]
            label = table.labels[one.label]
            writer.writerow((image, label, one.kind, f"{one.suspicion:.4f}", f"{one.score:.4f}"))
    indices = features.indices.tolist()
    if page:
        write_page(page, audit_page(found, table, indices, data, str(output)))
    missing = sum(one.kind == "missing" for one in written)
    parts = [
        f"{counted(found.num_images, 'image')} audited: {missing:,} labels perhaps missing, "
        f"{len(written) - missing:,} perhaps wrong, in {output}"
    ]
    if page:
        parts.append(f"the likeliest with pictures in {page}")
    if found.left_out:
        parts.append(f"{counted(len(found.left_out), 'label')} left out, of too few images")
    tell("; ".join(parts))
    return SOMETHING_FAILED if features.failures else SUCCESS


def _refuse_equal(paths: Mapping[str, str | Path | None]) -> None:
    """Refuse two outputs in one file, and an output in the place of the data."""
    seen: dict[str, str] = {}
    for option, path in paths.items():
        if path is None:
            continue
        name = os.path.realpath(path)
        if name in seen:
            raise ConfigError(
                f"{seen[name]} and {option} are one file, {path}; expected a file for each"
            )
        seen[name] = option
