"""``didvit benchmark``."""

from typing import TYPE_CHECKING, Annotated, Any

import tyro

from didvit.cli.options import (
    SUCCESS,
    OptionalFile,
    OptionalText,
    check_count,
    check_data,
    check_file,
    check_images,
    check_model,
)
from didvit.cli.threads import wait_without_spinning
from didvit.config import ConfigError

if TYPE_CHECKING:
    from didvit.inference.predictor import Predictor

Models = Annotated[
    tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="MODEL...", help_behavior_hint="")
]
Images = Annotated[tuple[str, ...], tyro.conf.arg(metavar="PATH...", help_behavior_hint="")]
BATCHES = (1, 8)


def benchmark(
    models: Models = ("default",),
    /,
    *,
    images: Images,
    data: OptionalText = None,
    count: int = 24,
    threads: int = 1,
    workers: int = 2,
    json: OptionalFile = None,
    overwrite: bool = False,
) -> int:
    """Measure how fast models are with each engine that is installed, and how good.

    Photographs are decoded before. All contestants take each batch in turn, so that a ratio holds
    on a busy machine too.

    Args:
        models: 'default', and folders that 'didvit train' or 'didvit export' wrote.
        images: Photographs: files, folders and globs.
        data: Labeled data, as PATH or PATH:SPLIT, for mAP. It takes a prediction of every image
            for each contestant.
        count: Number of photographs that are timed: the first that can be read.
        threads: Number of threads on the CPU.
        workers: Number of threads that read labeled images. 0 reads in the command's own.
        json: File for the figures.
        overwrite: Replace an existing --json file, which is refused otherwise.
    """
    for model in models:
        check_model("the model", model)
    check_images(images)
    if data is not None:
        check_data("--data", data)
    check_file("--json", json, overwrite)
    for option, value in (("--count", count), ("--threads", threads)):
        check_count(option, value, least=1)
    check_count("--workers", workers)
    wait_without_spinning()
    from rich.console import Console

    from didvit.cli.console import bar, stderr_console
    from didvit.data.images import ImageError, read_image
    from didvit.environment import versions
    from didvit.evaluation.speed import measure_speed
    from didvit.files import write_json
    from didvit.inference.paths import find_images

    predictors = _contestants(models, threads)
    least = next(iter(predictors.values())).least_size
    photographs = []
    for path in find_images(images):
        if len(photographs) == count:
            break
        try:
            photographs.append(read_image(path, least))
        except ImageError:
            continue
    if not photographs:
        raise ConfigError(f"--images {' '.join(images)}: no photograph can be read")
    console, rows = stderr_console(), []
    total = len(predictors) * sum(max(len(photographs) // b, 1) + 1 for b in BATCHES)
    with bar("timing", total, console) as advance:
        for batch_size in BATCHES:
            speeds = measure_speed(predictors, photographs, batch_size, advance)
            rows += [{"contestant": name, **speed._asdict()} for name, speed in speeds.items()]
    mAPs = _mean_average_precisions(predictors, data, workers) if data else {}
    for row in rows:
        row["megabytes"] = _megabytes(row["contestant"].rpartition(", ")[0])
        row["mAP"] = mAPs.get(row["contestant"])
    if json:
        content = {"photographs": len(photographs), "threads": threads, "rows": rows}
        write_json(json, {**content, "versions": versions()})
    Console(emoji=False, highlight=False).print(_table(rows, len(photographs), threads))
    return SUCCESS


def _contestants(models: tuple[str, ...], threads: int) -> "dict[str, Predictor]":
    """Every model with every engine that is installed and can run it."""
    from didvit.config.presets import EngineName, Precision
    from didvit.inference.engine import EngineError, is_installed
    from didvit.inference.predictor import load

    found, reason = {}, None
    ways: tuple[tuple[str, EngineName, Precision | None], ...] = (
        ("pytorch", "pytorch", None),
        ("onnx", "onnx", "fp32"),
        ("onnx int8", "onnx", "int8"),
        ("openvino", "openvino", None),
    )
    for model in models:
        for name, engine, precision in ways:
            if not is_installed(engine):
                continue
            try:
                found[f"{model}, {name}"] = load(
                    model, "cpu", None, engine, threads, precision=precision
                )
            except EngineError as error:
                reason = error
    if not found:
        raise ConfigError(f"no engine that is installed runs these models ({reason})")
    return found


def _mean_average_precisions(
    predictors: "dict[str, Predictor]", data: str, workers: int
) -> dict[str, float]:
    from didvit.data.datasets import read_dataset
    from didvit.evaluation.evaluate import check_labeled, score
    from didvit.evaluation.metrics import mean_average_precision

    result = {}
    for name, predictor in predictors.items():
        table = read_dataset(data, predictor.labels)
        check_labeled(table, data)
        scores = score(predictor, table, 8, workers)
        fused = scores.fused(predictor.method.fusion)
        result[name] = 100 * mean_average_precision(fused, scores.targets)
    return result


def _megabytes(model: str) -> float:
    from didvit.modeling.folder import find_model

    return sum(path.stat().st_size for path in find_model(model).iterdir() if path.is_file()) / 1e6


def _table(rows: list[dict[str, Any]], count: int, threads: int) -> Any:
    from rich.markup import escape
    from rich.table import Table

    from didvit.data.wording import counted

    title = f"{counted(count, 'photograph')}, {counted(threads, 'thread')}"
    table = Table(title=title, caption="CPU time is of a decoded photograph")
    table.add_column("model, engine")
    for name in ("batch", "CPU ms", "of the first", "images/s", "MB", "mAP"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            escape(row["contestant"]),
            str(row["batch_size"]),
            f"{1000 * row['cpu_seconds']:.1f}",
            f"{row['ratio']:.2f}",
            f"{row['images_per_second']:.1f}",
            f"{row['megabytes']:.1f}",
            "" if row["mAP"] is None else f"{row['mAP']:.2f}",
        )
    return table
