"""``didvit tune``."""

import json as json_format
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from didvit.cli.options import (
    SOMETHING_FAILED,
    SUCCESS,
    OptionalCount,
    OptionalEngine,
    OptionalFolder,
    OptionalText,
    check_count,
    check_data,
    check_device,
    check_folder,
    check_model,
    naming_model,
)
from didvit.cli.threads import default_threads, wait_without_spinning
from didvit.config import ConfigError
from didvit.data.choices import Difficult

if TYPE_CHECKING:
    from rich.table import Table as RichTable

    from didvit.decisions.store import Decisions

Aims = Annotated[
    tuple[str, ...], tyro.conf.arg(name="for", metavar="AIM...", help_behavior_hint="")
]


def tune(
    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(help_behavior_hint="")],
    /,
    *,
    data: OptionalText = None,
    aims: Aims = ("f1",),
    output: OptionalFolder = None,
    reset: bool = False,
    force: bool = False,
    difficult: Difficult = "ignore",
    batch_size: int = 8,
    workers: int = 2,
    threads: OptionalCount = None,
    engine: OptionalEngine = None,
    device: str = "auto",
) -> int:
    """Calibrate a model's scores, and choose a threshold for every label, on validation data.

    Both are written into the model's folder, as decisions.json. 'predict', 'evaluate' and 'report'
    use them from then on.

    Exit code 0; 3 if some images could not be read and were left out; 2 for wrong usage.

    Args:
        model: A folder that 'didvit train' wrote; or 'default', with --output.
        data: Validation data, as PATH or PATH:SPLIT: not the data that the model learned from, nor
            those that it is measured on.
        aims: What thresholds are for: f1 (the highest F1), precision=P or recall=R (at least that,
            by a lower confidence bound), count (as many labels as there are). Several may follow;
            the first is used where 'predict' is given none.
        output: Folder for a copy of the model with the decisions, which leaves the model as it is.
        reset: Remove the model's decisions: scores are sigmoids again, and thresholds 0.5.
        force: Tune on data that the model learned from, which the file then says.
        difficult: VOC's labels with difficult objects alone: unknown, present or absent.
        batch_size: Number of images that the network takes at once.
        workers: Number of threads that read images. 0 reads in the command's own.
        threads: Number of threads on the CPU (default: the physical cores).
        engine: What computes, as in 'didvit predict'.
        device: Where, as in 'didvit predict'.
    """
    check_model("the model", model)
    check_folder("--output", output)
    if reset:
        return _reset(model, data, output)
    if data is None:
        raise ConfigError("--data is missing; expected validation data, as PATH or PATH:SPLIT")
    check_data("--data", data)
    check_count("--batch-size", batch_size, least=1)
    check_count("--workers", workers)
    check_device("--device", device)
    if threads is not None:
        check_count("--threads", threads, least=1)
    from didvit.decisions.aims import parse_aim

    wanted = [parse_aim(aim) for aim in dict.fromkeys(aims)]
    if not wanted:
        raise ConfigError("--for is empty; expected an aim, such as f1 or precision=0.9")
    wait_without_spinning()
    from rich.console import Console
    from rich.markup import escape

    from didvit.cli.console import bar, stderr_console
    from didvit.data.datasets import read_dataset
    from didvit.data.wording import one_line
    from didvit.decisions.store import (
        data_digest,
        decide,
        read_decisions,
        weights_digest,
        with_older_aims,
        write_decisions,
    )
    from didvit.evaluation.evaluate import check_labeled, score
    from didvit.inference.predictor import load
    from didvit.modeling.folder import WEIGHTS, find_model

    folder = find_model(model)
    target = _target(model, folder, output)
    predictor = load(model, device, None, engine, threads or default_threads(), decide=False)
    table = read_dataset(data, predictor.labels, difficult=difficult)
    check_labeled(table, data)
    digest = data_digest(table.images, table.targets)
    learned = _learned_from(folder, data, digest)
    if learned and not force:
        raise ConfigError(
            f"--data {data}: the model learned from these images, so that its scores of them are "
            "too good; expected validation data, or --force"
        )
    console = stderr_console()
    with naming_model(model), bar("scoring", len(table), console) as advance:
        scores = score(predictor, table, batch_size, workers, advance)
    for failure in scores.failures:
        console.print(f"[red]failed[/red] {escape(one_line(failure))}")
    fusion, weights = predictor.method.fusion, weights_digest(folder / WEIGHTS)
    decisions = decide(
        scores.global_logits,
        scores.local_logits,
        scores.targets,
        predictor.labels,
        wanted,
        fusion=fusion,
        weights=weights,
        data=data,
        digest=digest,
        forced=learned,
    )
    before = None
    try:
        before = read_decisions(folder, predictor.labels, weights)
    except ValueError as error:
        console.print(escape(one_line(f"replaced: {error}")))
    decisions = with_older_aims(decisions, before)
    if target != folder:
        _copy(folder, target)
    write_decisions(target, decisions)
    Console(emoji=False, highlight=False).print(_table(decisions))
    console.print(escape(one_line(_summary(decisions, target))))
    return SOMETHING_FAILED if scores.failures else SUCCESS


def _reset(model: str, data: str | None, output: Path | None) -> int:
    from didvit.cli.console import stderr_console
    from didvit.decisions.store import remove_decisions
    from didvit.modeling.folder import find_model

    if data or output:
        raise ConfigError("--reset removes the decisions; expected neither --data nor --output")
    folder = find_model(model)
    if not Path(model).is_dir():
        raise ConfigError(f"the model {model!r} comes with didvit, and keeps its decisions")
    existed = remove_decisions(folder)
    what = "its decisions are removed" if existed else "it had no decisions"
    stderr_console().print(f"{folder}: {what}; scores are sigmoids, thresholds 0.5", markup=False)
    return SUCCESS


def _target(model: str, folder: Path, output: Path | None) -> Path:
    """The folder that is written to.

    Raises:
        ConfigError: It exists already, or is that of a model that comes with didvit.
    """
    if output is None and not Path(model).is_dir():
        raise ConfigError(
            f"the model {model!r} comes with didvit, and is not changed; expected --output DIR, "
            "for a copy of it"
        )
    if output is not None and output.exists() and any(output.iterdir()):
        raise ConfigError(f"--output {output} is not empty; choose another folder")
    return folder if output is None else output


def _learned_from(folder: Path, data: str, digest: str) -> bool:
    """Whether the model learned from these data, by their digest in its run folder."""
    from didvit.decisions.store import LEARNED_FROM

    try:
        content = json_format.loads((folder / "train.json").read_text(encoding="utf-8"))
        return content.get(LEARNED_FROM) == digest
    except (OSError, ValueError, AttributeError):  # a model without its run
        return False


def _copy(folder: Path, target: Path) -> None:
    """Copy the files of a model, not those of its training."""
    target.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        is_graph = path.suffix in (".onnx", ".xml", ".bin")
        if is_graph or path.name in ("config.json", "model.safetensors", "README.md"):
            shutil.copyfile(path, target / path.name)


def _table(decisions: "Decisions") -> "RichTable":
    from rich.markup import escape
    from rich.table import Table

    from didvit.data.wording import one_line

    title = f"thresholds for {decisions.default_aim}, with 95 % intervals"
    table = Table(title=title, title_justify="left")
    table.add_column("label")
    for name in ("positives", "threshold", "precision %", "recall %"):
        table.add_column(name, justify="right")
    table.add_column("note")
    for label, facts in zip(decisions.labels, decisions.facts(), strict=True):
        shares = [_share(facts.precision, facts.precision_interval)]
        shares += [_share(facts.recall, facts.recall_interval)]
        table.add_row(
            escape(one_line(label)),
            f"{facts.positives:,}",
            f"{facts.threshold:.2f}",
            *shares,
            facts.note,
        )
    return table


def _share(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None or interval is None:
        return "-"
    low, high = interval
    return f"{100 * value:.0f} ({100 * low:.0f}-{100 * high:.0f})"


def _summary(decisions: "Decisions", folder: Path) -> str:
    noted = sum(bool(facts.note) for facts in decisions.facts())
    others = list(decisions.aims)[1:]
    parts = [
        f"{folder / 'decisions.json'}: thresholds for {decisions.default_aim}, from "
        f"{decisions.num_images:,} images of {decisions.data}"
    ]
    if others:
        parts.append(f"and for {', '.join(others)}, with --for")
    if noted:
        parts.append(f"{noted} labels have a note")
    if decisions.forced:
        parts.append("the model learned from these images, so that all of it is too good")
    return "; ".join(parts)
