"""The files of a training run: a model folder, with the run's records beside."""

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from didvit.config import ConfigError, TrainConfig
from didvit.config.serialization import to_json
from didvit.data.table import Table
from didvit.decisions.store import LEARNED_FROM
from didvit.environment import versions
from didvit.evaluation.report import Report
from didvit.files import TEMPORARY, whole_file, write_json
from didvit.training.model_card import model_card
from didvit.training.optim import learning_rate

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter


class RunFolder:
    """The files of a run.

    - ``config.json``, ``model.safetensors``, ``metrics.json``, ``README.md``: the chosen model, its
      validation metrics and its model card;
    - ``last/``: model and metrics of the last evaluation;
    - ``train.json``: every setting, and the versions it ran with;
    - ``history.csv`` (evaluations), ``steps.csv`` (losses), ``curves.png``, ``tensorboard/``;
    - ``checkpoints/``: what resuming needs.
    """

    _writer: "SummaryWriter"
    """TensorBoard's writer. It exists within `records` alone."""

    def __init__(self, path: Path):
        self.path = path
        self.settings = path / "train.json"
        self.last = path / "last"
        self.states = path / "checkpoints"

    def check(self, resume: bool) -> None:
        """Refuse a folder whose run would be lost, or that has no run to resume.

        Raises:
            ConfigError: It is a file; or it holds a run, and ``resume`` is not set; or it holds a
                model without ``train.json``, and ``resume`` is set.
        """
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(f"output {self.path} is a file; expected a folder")
        begun = (self.path / "config.json").exists() or any(self.states.glob("*.pt"))
        if not resume and begun:
            raise ConfigError(
                f"output {self.path} holds a run already; choose another folder, or --resume to go "
                "on with it"
            )
        if resume and not self.settings.exists() and (self.path / "config.json").exists():
            raise ConfigError(
                f"output {self.path} holds a model, but no run to resume (no train.json)"
            )

    @contextmanager
    def records(
        self, config: TrainConfig, step: int, data: dict[str, str], learned_from: str
    ) -> Iterator[None]:
        """Write settings and data digests; keep the records of the steps after ``step``.

        Args:
            config: Configuration of the run.
            step: The step that it continues from.
            data: Digests of the tables.
            learned_from: `didvit.decisions.store.data_digest` of the training data, by which
                ``didvit tune`` knows them again.
        """
        from tensorboardX import SummaryWriter

        for folder in (self.path, self.last, self.states):
            for leftover in folder.glob(TEMPORARY):  # of a process that was killed while it wrote
                leftover.unlink()
        content = {
            "settings": to_json(config),
            "data": data,
            LEARNED_FROM: learned_from,
            "versions": versions(),
        }
        write_json(self.settings, content)
        with SummaryWriter(str(self.path / "tensorboard"), purge_step=step + 1) as self._writer:
            yield

    def log_step(self, step: int, loss: float, learning_rate: float, norm: float) -> None:
        """Record one step."""
        values = {"loss": loss, "learning_rate": learning_rate, "gradient_norm": norm}
        for name, value in values.items():
            self._writer.add_scalar(f"train/{name}", value, step)

    def log_evaluation(
        self,
        config: TrainConfig,
        losses: Sequence[float],
        history: Sequence[dict[str, float]],
    ) -> None:
        """Record all steps and evaluations so far."""
        step = int(history[-1]["step"])
        for name, value in history[-1].items():
            if name.startswith("val_"):
                self._writer.add_scalar(name.replace("_", "/mAP_", 1), value, step)
        self.flush()
        steps = [
            {"step": i + 1, "loss": loss, "learning_rate": learning_rate(i, config)}
            for i, loss in enumerate(losses)
        ]
        _write_csv(self.path / "steps.csv", steps)
        _write_csv(self.path / "history.csv", history)
        _draw_curves(self.path / "curves.png", config, steps, history)

    def flush(self) -> None:
        """Write all records so far for TensorBoard."""
        self._writer.flush()

    def write_metrics(self, folder: Path, step: int, result: Report) -> None:
        """Write the validation report of a step beside its model."""
        write_json(folder / "metrics.json", {"step": step, **result.to_dict()})

    def chosen(self) -> tuple[int, dict[str, float | None]]:
        """Step of the model, and its validation mAP in percent by fusion."""
        metrics = json.loads((self.path / "metrics.json").read_text(encoding="utf-8"))
        scores = {name: value["mAP"] for name, value in metrics["fusions"].items()}
        return metrics["step"], scores

    def write_card(self, config: TrainConfig, table: Table, validation: Table) -> None:
        """Write the model card of the chosen model."""
        text = model_card(self.path, config, table, validation)
        with whole_file(self.path / "README.md") as path:
            path.write_text(text, encoding="utf-8", errors="backslashreplace")


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    with whole_file(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def _draw_curves(
    path: Path,
    config: TrainConfig,
    steps: Sequence[dict[str, float]],
    history: Sequence[dict[str, float]],
) -> None:
    """Loss and validation mAP over the steps; of every fusion, where it was scored."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    loss, score = figure.subplots(1, 2)
    loss.plot([row["step"] for row in steps], [row["loss"] for row in steps], color="0.8")
    loss.plot([row["step"] for row in history], [row["loss"] for row in history], "o-")
    loss.set(xlabel="step", title="loss (points: mean since the evaluation before)")
    for name in dict.fromkeys(name for row in history for name in row):
        if name.startswith("val_"):
            rows = [row for row in history if name in row]
            places, values = [row["step"] for row in rows], [row[name] for row in rows]
            score.plot(places, values, "o-", label=name[4:])
    score.set(xlabel="step", title="validation mAP by fusion, in percent")
    score.legend()
    for axes in (loss, score):
        axes.grid(alpha=0.3)
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=100)
