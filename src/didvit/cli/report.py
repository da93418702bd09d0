"""``didvit report``."""

import datetime
import shlex
import sys
from pathlib import Path
from typing import Annotated

import tyro

from didvit.cli.options import (
    RESAMPLES,
    SOMETHING_FAILED,
    SUCCESS,
    OptionalAim,
    OptionalCount,
    OptionalEngine,
    OptionalPreset,
    check_count,
    check_data,
    check_device,
    check_file,
    check_model,
    naming_model,
)
from didvit.cli.threads import default_threads, wait_without_spinning
from didvit.decisions.aims import parse_aim


def report(
    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(help_behavior_hint="")],
    /,
    *,
    data: str,
    output: Annotated[Path, tyro.conf.arg(metavar="FILE")],
    overwrite: bool = False,
    aim: OptionalAim = None,
    preset: OptionalPreset = None,
    resamples: int = RESAMPLES,
    batch_size: int = 8,
    workers: int = 2,
    threads: OptionalCount = None,
    engine: OptionalEngine = None,
    device: str = "auto",
) -> int:
    """Write a page about a model: how good it is at each label, and where it is wrong.

    The page is one HTML file that needs nothing else: headline figures, a table by label, curves,
    what is taken for what, and the photographs with the worst mistakes.

    Exit code 0; 3 if some images could not be read and were left out; 2 for wrong usage.

    Args:
        model: 'default', or a folder that 'didvit train' wrote.
        data: Data set that was used for nothing else, as PATH or PATH:SPLIT.
        output: File for the page (.html).
        overwrite: Replace an existing --output file, which is refused otherwise.
        aim: What the thresholds are for, as in 'didvit tune': f1, count, precision=P or recall=R
            (default: that of the model's decisions). A model without decisions has none.
        preset: Settings of the method, as in 'didvit predict' (default: the model's own).
        resamples: Number of resamples of the bootstrap for the interval of mAP. It takes minutes on
            tens of thousands of images. 0 leaves the interval out.
        batch_size: Number of images that the network takes at once.
        workers: Threads that read images; 0 reads in the command's own.
        threads: Number of threads on the CPU (default: the physical cores).
        engine: What computes, as in 'didvit predict'.
        device: 'auto' takes a CUDA GPU where PyTorch computes and there is one; or a device of
            PyTorch such as 'cuda:1'.
    """
    check_file("--output", output, overwrite)
    if aim:
        parse_aim(aim)
    check_count("--resamples", resamples)
    check_count("--workers", workers)
    check_count("--batch-size", batch_size, least=1)
    check_device("--device", device)
    check_model("the model", model)
    check_data("--data", data)
    if threads is not None:
        check_count("--threads", threads, least=1)
    wait_without_spinning()
    from rich.markup import escape

    from didvit.cli.console import bar, stderr_console
    from didvit.data.datasets import read_dataset
    from didvit.data.wording import counted, one_line
    from didvit.decisions.store import data_digest
    from didvit.environment import versions
    from didvit.evaluation.evaluate import check_labeled, score
    from didvit.inference.predictor import load
    from didvit.pages import write_page
    from didvit.reports import Circumstances, make_page, read_subject, rule_of

    predictor = load(model, device, preset, engine, threads or default_threads())
    subject = read_subject(model, predictor.method, predictor.engine.name)
    table = read_dataset(data, predictor.labels)
    check_labeled(table, data)
    digest = data_digest(table.images, table.targets)
    rule = rule_of(predictor.labels, predictor.decisions, digest, aim)
    console = stderr_console()
    with naming_model(model), bar("measuring", len(table), console) as advance:
        scores = score(predictor, table, batch_size, workers, advance)
        circumstances = Circumstances(
            data=data,
            data_digest=digest,
            date=datetime.date.today().isoformat(),
            failures=scores.failures,
            command=("didvit", *map(shlex.quote, sys.argv[1:])),
            versions=versions(),
        )
        page = make_page(predictor, subject, table, scores, rule, circumstances, resamples)
    write_page(output, page)
    for failure in scores.failures:
        console.print(f"[red]failed[/red] {escape(one_line(failure))}")
    failed = f", {len(scores.failures):,} failed and left out" if scores.failures else ""
    images = counted(len(scores.targets), "image")
    console.print(escape(f"{images} measured{failed}; the page is in {output}"))
    return SOMETHING_FAILED if scores.failures else SUCCESS
