"""The step loop (section 3.1): from a configuration to a run folder."""

import math
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from statistics import fmean
from typing import cast

import torch
from timm.utils import ModelEmaV3
from torch import Tensor
from torch.nn.utils import get_total_norm

from didvit.config import ConfigError, TrainConfig
from didvit.config.serialization import to_json
from didvit.data.findings import check_labels
from didvit.data.stream import Batch, TrainingStream
from didvit.data.table import Table
from didvit.decisions.store import data_digest, remove_decisions
from didvit.evaluation.report import report
from didvit.evaluation.scores import Scores
from didvit.method.model import DiD
from didvit.modeling.checkpoint import load_checkpoint, save_checkpoint
from didvit.modeling.start import build_start, load_teacher
from didvit.training.checkpointing import (
    check_same_run,
    data_digests,
    load_newest_state,
    save_state,
)
from didvit.training.decide import tune_folder
from didvit.training.distributed import check_processes, gathered, launch
from didvit.training.losses import balancing_weights
from didvit.training.module import Learner, compile_backbone, seed_of, small_size
from didvit.training.observer import PrintObserver, TrainingObserver
from didvit.training.optim import (
    build_optimizer,
    freeze,
    learning_rate,
    peak_learning_rate,
    set_learning_rate,
)
from didvit.training.run_folder import RunFolder
from didvit.training.stopping import Stopped, StopRequest, stopping_on_signals
from didvit.training.tables import least_source_size, read_tables
from didvit.training.validation import best_step, score_validation

FEWEST_PATCHES = 6
"""Patches along a side of a view below which a run warns: with 4, mAP was 3 points lower than with
8; with 6, it was much the same."""


class TrainingError(ValueError):
    """A run cannot continue; the message says where it stopped and what is likely to help."""


@dataclass(frozen=True)
class TrainedRun:
    """A finished run.

    Attributes:
        folder: The run folder, which `didvit.load` takes. `RunFolder` lists its files.
        step: The step whose weights became the model.
        validation: Validation mAP of these weights in percent, by fusion; None where no label of
            the validation data can be measured.
        passed_over: Why training images could not be read, since the run was started or resumed.
            Another image took their place.
    """

    folder: Path
    step: int
    validation: dict[str, float | None]
    passed_over: tuple[str, ...]


@dataclass
class Progress:
    """Progress of a run: steps done, their losses, and one row for each evaluation."""

    step: int = 0
    losses: list[float] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)


def train(config: TrainConfig, observer: TrainingObserver | None = None) -> TrainedRun:
    """Train a model and write its run folder, a model folder with the run's records beside.

    Args:
        config: All settings.
        observer: Told how the run goes. None prints plain lines to the standard error output.

    Raises:
        ConfigError: A setting is impossible, the folder holds a run already, or a resumed run's
            settings differ.
        DataError: The data sets cannot be used.
        TrainingError: The loss is no longer finite.
        Stopped: SIGTERM or Ctrl-C came; the state is saved.
    """
    run = RunFolder(config.output)
    run.check(config.resume)
    check_processes(config)
    table, validation = read_tables(config.data)
    digests = data_digests(table, validation)
    if config.resume:
        check_same_run(run.settings, to_json(config), digests)
    trainer = Trainer(config, table, validation, run, observer or PrintObserver())
    with stopping_on_signals() as stop:
        trainer.run(stop, digests)
    return trainer.result()


class Trainer:
    """A run: model, optimizer, data and records, on one or several processes."""

    def __init__(
        self,
        config: TrainConfig,
        table: Table,
        validation: Table,
        run: RunFolder,
        observer: TrainingObserver,
    ):
        self.config, self.table, self.validation = config, table, validation
        self.folder = run
        self.fabric = launch(config)
        # Every process learns; one tells and writes.
        self.observer = observer if self.fabric.is_global_zero else TrainingObserver()
        torch.manual_seed(config.seed if config.init_seed is None else config.init_seed)
        model = build_start(config, table, self.observer.note)
        freeze(model, config.optimizer)
        model.backbone.recompute_activations = config.runtime.activation_checkpointing
        if config.schedule.small_steps:
            try:
                model.backbone.grid_size(small_size(config, model))
            except ValueError as error:
                raise ConfigError(f"small_size does not fit: {error}") from error
        self.average = (
            ModelEmaV3(model, config.optimizer.ema, use_warmup=True)
            if config.optimizer.ema
            else None
        )
        balanced = config.loss.positive_weights == "balanced"
        targets = torch.from_numpy(table.targets)
        weights = balancing_weights(targets) if balanced else None
        teacher = load_teacher(config, table.labels)
        self.teacher = teacher.config if teacher else None
        learner = Learner(model, config, weights, teacher)
        if config.runtime.compile:
            compile_backbone(model)
        optimizer = build_optimizer(model, config)
        self.model = model
        self.learner, self.optimizer = self.fabric.setup(learner, optimizer)
        if self.average:
            self.average.to(self.fabric.device)
        self.progress = Progress()
        self.passed_over: dict[str, None] = {}  # in the order of their first failure

    def run(self, stop: StopRequest, digests: dict[str, str]) -> None:
        """Run from the saved state, or the start, to the last step.

        Args:
            stop: Request to save the state and end.
            digests: Digests of the tables (`data_digests`), for the records.
        """
        config, progress = self.config, self.progress
        if config.resume:
            self._load()
        learned_from = data_digest(self.table.images, self.table.targets)
        records = self.folder.records(config, progress.step, digests, learned_from)
        with records if self.fabric.is_global_zero else nullcontext():
            self.observer.start(
                len(self.table), len(self.table.labels), len(self.validation), progress.step
            )
            self._warn_of_data()
            self._warn_of_small_views()
            self._continue(stop)
            self._save()
        if self.fabric.is_global_zero:
            self.folder.write_card(config, self.table, self.validation)

    def result(self) -> TrainedRun:
        """The finished run, the same in all processes, not all of which may see the folder."""
        chosen = self.folder.chosen() if self.fabric.is_global_zero else None
        parts = gathered(self.fabric, (chosen, tuple(self.passed_over)))
        step, validation = parts[0][0]
        passed_over = dict.fromkeys(chain.from_iterable(failures for _, failures in parts))
        return TrainedRun(self.folder.path, step, validation, tuple(passed_over))

    def _warn_of_data(self) -> None:
        """Repeat what ``didvit data check`` says without reading the images."""
        findings = check_labels({"training": self.table, "validation": self.validation})
        for sentence in (*findings.problems, *findings.warnings):
            self.observer.warn(sentence)

    def _warn_of_small_views(self) -> None:
        model, backbone = self.config.model, self.model.backbone
        if model.method.top_n == 0 or model.method.view_scale >= 1:
            return
        height, width = backbone.scaled_size(model.image_size, model.method.view_scale)
        rows, columns = backbone.grid_size((height, width))
        if min(rows, columns) < FEWEST_PATCHES:
            self.observer.warn(
                f"views are {height}x{width} pixels, {rows}x{columns} patches, which is little: "
                "set model.view_scale to 1, or take a larger model.image_size"
            )

    def _continue(self, stop: StopRequest) -> None:
        """Learn, evaluate and save by turns, until the last step is evaluated."""
        schedule, progress = self.config.schedule, self.progress
        batches, saved = self._batches(), progress.step
        while True:
            step, history = progress.step, progress.history
            due = step and (step % schedule.evaluate_every == 0 or step == schedule.steps)
            if due and not (history and history[-1]["step"] == step):
                self._evaluate()
            # After the evaluation, so that a resumed run does not repeat it.
            if step % schedule.save_every == 0 and step > saved:
                self._save()
                saved = step
            if step == schedule.steps:
                break
            if self._any(stop.is_set()):
                self._save()
                raise Stopped(
                    f"stopped after step {step} of {schedule.steps}, and its state is saved; "
                    "--resume continues from there",
                    stop.exit_code,
                )
            self._learn(batches)

    def _batches(self) -> Iterator[Batch]:
        config = self.config
        stream = TrainingStream(
            self.table,
            config.seed,
            config.data.augmentation,
            least_source_size(config, self.teacher),
        )
        return stream.batches(
            self.progress.step,
            config.schedule.steps,
            config.schedule.batch_size,
            config.data.workers,
            self.fabric.global_rank,
            self.fabric.world_size,
            config.runtime.accumulate,
        )

    def _learn(self, batches: Iterator[Batch]) -> None:
        """Do one step."""
        config, progress, step = self.config, self.progress, self.progress.step
        # What layers draw (dropout) is a function of (seed, step) too.
        torch.manual_seed(seed_of(config.seed, 1, step, self.fabric.global_rank))
        rate = learning_rate(step, config)
        set_learning_rate(self.optimizer, rate)
        self.model.train()
        self.model.backbone.train(not config.optimizer.freeze_backbone)
        total, names, accumulate = 0.0, [], config.runtime.accumulate
        for part in range(accumulate):
            batch = next(batches)
            names += batch.names
            for failure in batch.failures:
                self._pass_over(failure)
            with self.fabric.no_backward_sync(self.learner, part + 1 < accumulate):
                sources = [source.to(self.fabric.device) for source in batch.sources]
                targets = batch.targets.to(self.fabric.device)
                place = self.fabric.global_rank * accumulate + part
                loss = self.learner(sources, targets, step, place)
                self._check_finite(loss.detach(), batch.names, "loss")
                self.fabric.backward(loss / accumulate)
            total += loss.item() / accumulate
        norm = self._clip()
        if config.runtime.precision != "fp16-mixed":  # which passes over such steps
            self._check_finite(norm, names, "gradient's norm")
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        progress.step += 1
        if self.average:
            self.average.update(self.model, progress.step)
        value = cast(Tensor, self.fabric.all_reduce(torch.tensor(total))).item()
        progress.losses.append(value)
        if self.fabric.is_global_zero:
            self.folder.log_step(progress.step, value, rate, norm.item())
        self.observer.step(progress.step, value, rate, config.schedule.batch_size)

    def _pass_over(self, failure: str) -> None:
        """Warn of an image that cannot be read, the first time."""
        if failure not in self.passed_over:
            self.passed_over[failure] = None
            self.observer.warn(f"{failure}; another image took its place")

    def _clip(self) -> Tensor:
        """Limit the gradient's norm, if configured. Returns the norm before."""
        clip_norm, precision = self.config.optimizer.clip_norm, self.config.runtime.precision
        if clip_norm is None and precision != "fp16-mixed":
            gradients = (parameter.grad for parameter in self.learner.parameters())
            return get_total_norm([gradient for gradient in gradients if gradient is not None])
        norm = self.fabric.clip_gradients(
            self.learner,
            self.optimizer,
            max_norm=clip_norm or math.inf,
            error_if_nonfinite=False,
        )
        return cast(Tensor, norm)

    def _check_finite(self, value: Tensor, images: list[str], what: str) -> None:
        """Stop all processes where one's value is not finite, before any learns from it."""
        if not self._any(not math.isfinite(value.item())):
            return
        names = ", ".join(images[:8])
        more = f" and {len(images) - 8} more" if len(images) > 8 else ""
        step, precision = self.progress.step + 1, self.config.runtime.precision
        if math.isfinite(value.item()):
            raise TrainingError(f"the {what} is not finite at step {step} in another process")
        other = "" if precision == "fp32" else f", take precision fp32 (now {precision})"
        raise TrainingError(
            f"the {what} is {value.item()} at step {step}: lower learning_rate (its peak is "
            f"{peak_learning_rate(self.config.optimizer):.2g}), set clip_norm (now "
            f"{self.config.optimizer.clip_norm})"
            f"{other}, or look at the images of this batch: {names}{more}"
        )

    def _any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        if self.fabric.world_size == 1:
            return flag
        count = self.fabric.all_reduce(
            torch.tensor(float(flag), device=self.fabric.device), reduce_op="sum"
        )
        return bool(cast(Tensor, count).item())

    def _evaluate(self) -> None:
        """Score the validation data; the best weights become the run folder's model."""
        config, progress = self.config, self.progress
        step, labels = progress.step, self.table.labels
        model = cast(DiD, self.average.module if self.average else self.model)
        scores = self._score(model if config.scores_views(step) else model.with_top_n(0))
        result = report(scores, labels)
        since = int(progress.history[-1]["step"]) if progress.history else 0
        scored = result.fusions if config.scores_views(step) else ("global",)
        row = {"step": step, "loss": fmean(progress.losses[since:])}
        progress.history.append(row | {f"val_{k}": result.fusions[k].mAP for k in scored})
        best = best_step(config, progress.history)
        if self.fabric.is_global_zero:
            self.folder.log_evaluation(config, progress.losses, progress.history)
            folders = [self.folder.last, *([self.folder.path] if best == step else [])]
            for folder in folders:
                remove_decisions(folder)  # of the weights before
                save_checkpoint(folder, model, labels, config.model)
                self.folder.write_metrics(folder, step, result)
        if len(progress.history) == 1:
            for failure in result.failures:
                self.observer.warn(f"{failure}; it is left out of the validation")
        self.observer.evaluation(step, result, best == step)
        self.fabric.barrier()
        if step == config.schedule.steps:
            self._finish(best, scores if best == step else None)

    def _finish(self, best: int, scores: Scores | None) -> None:
        """Decide on the scores of the best weights, which are scored again where they must be.

        Args:
            best: Their step.
            scores: Their scores, if they are at hand.
        """
        without_views = self.config.model.method.top_n and not self.config.scores_views(best)
        if scores is None or without_views:
            scores = self._score(load_checkpoint(self.folder.path).model.to(self.fabric.device))
        if without_views:  # they were chosen by whole images alone
            result = report(scores, self.table.labels)
            if self.fabric.is_global_zero:
                self.folder.write_metrics(self.folder.path, best, result)
            self.observer.evaluation(best, result, True)
        if self.fabric.is_global_zero:
            self._decide(scores)
        self.fabric.barrier()

    def _score(self, model: DiD) -> Scores:
        return score_validation(model, self.validation, self.config, self.fabric)

    def _decide(self, scores: Scores) -> None:
        """Calibrate the run folder's model, and choose thresholds, on the validation data."""
        try:
            tune_folder(self.folder.path, scores, self.table.labels, self.config, self.validation)
        except ConfigError as error:
            self.observer.warn(f"{error}; the model has no thresholds of its own")

    def _save(self) -> None:
        if self.fabric.is_global_zero:
            state = {
                "progress": asdict(self.progress),
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "average": self.average.module.state_dict() if self.average else None,
                "precision": self.fabric.strategy.precision.state_dict(),
            }
            save_state(self.folder.states, self.progress.step, state)
            self.folder.flush()  # a run resumed from here shows the steps until here
        self.fabric.barrier()

    def _load(self) -> None:
        state = load_newest_state(self.folder.states, self.observer.warn)
        step = state["progress"]["step"] if state else 0
        mean = cast(Tensor, self.fabric.all_reduce(torch.tensor(float(step)))).item()
        if self._any(mean != step):
            raise ConfigError(
                f"output {self.config.output} is not the same folder to all processes: they would "
                "continue from different steps; expected one that all machines share"
            )
        if state is None:
            return
        self.progress.__dict__.update(state["progress"])
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average:
            self.average.module.load_state_dict(state["average"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
