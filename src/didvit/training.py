"""The step loop (section 3.1): from a configuration to a run folder."""

import math
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, cast

import torch
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor
from torch.nn.utils import get_total_norm

from didvit.checkpoint import load_checkpoint, save_checkpoint
from didvit.config import ConfigError, DataConfig, Stopped, TrainConfig
from didvit.config_json import to_json
from didvit.data.datasets import read_datasets
from didvit.data.stream import Batch, TrainingStream
from didvit.data.table import DataError, Table
from didvit.evaluation import Report, report
from didvit.learner import Learner, build_start, compile_backbone, seed_of
from didvit.losses import balancing_weights
from didvit.method import DiD
from didvit.optimization import (
    build_optimizer,
    freeze,
    peak_learning_rate,
    schedule,
    set_learning_rate,
)
from didvit.processes import check_processes, launch, stopping_at_sigterm
from didvit.resume import check_same_run, data_digests, load_newest_state, save_state
from didvit.run_folder import RunFolder
from didvit.validation import best_step, score_validation

FEWEST_PATCHES = 6
"""A side of views: with 4, mAP was 3 points lower than with 8; with 6, much the same."""


class TrainingError(ValueError):
    """The run cannot go on; the message says where it stopped and what is likely to help."""


class TrainingObserver:
    """Is told how a run goes; this one does nothing with it."""

    def start(self, num_images: int, num_labels: int, num_validation: int, step: int) -> None:
        """The data are read; the batch after ``step`` is next, which is 0 in a new run."""

    def step(self, step: int, loss: float, learning_rate: float, images: int) -> None:
        """A step is done: its number from 1, its loss, learning rate and images."""

    def evaluation(self, step: int, result: Report, best: bool) -> None:
        """The validation data were scored after a step; ``best`` of all so far.

        In the end the regions of the best weights are scored, if they were not; then its step comes
        a second time.
        """

    def warn(self, message: str) -> None:
        """Something was passed over."""


@dataclass
class Progress:
    """How far a run is, beside its weights."""

    step: int = 0
    losses: list[float] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)


def train(config: TrainConfig, observer: TrainingObserver | None = None) -> Path:
    """Train a model and write its run folder, a model folder with the run's records beside.

    Returns:
        The run folder (`RunFolder` says what is in it).

    Raises:
        ConfigError: A setting is impossible, the folder holds a run already, or a resumed run's
            settings differ.
        DataError: The data sets cannot be used.
        TrainingError: The loss is no longer finite.
        Stopped: SIGTERM came; the state is saved.
    """
    run = RunFolder(config.output)
    run.check(config.resume)
    check_processes(config)
    table, validation = read_tables(config.data)
    digests = data_digests(table, validation)
    if config.resume:
        check_same_run(run.settings, to_json(config), digests)
    trainer = Trainer(config, table, validation, run, observer or TrainingObserver())
    with stopping_at_sigterm() as stop:
        trainer.run(stop, digests)
    return config.output


def read_tables(data: DataConfig) -> tuple[Table, Table]:
    """The tables of training and validation, with the same labels.

    Raises:
        ConfigError: They share images.
        DataError: A data set cannot be used, or validation has no label at all.
    """
    specs = [str(data.root / spec) if data.root else spec for spec in (*data.train, data.val)]
    policies = {"difficult": data.difficult, "without_labels": data.without_labels}
    table = read_datasets(specs[:-1], **cast(Any, policies))
    validation = read_datasets(specs[-1:], table.labels, **cast(Any, policies))
    for name, of_name in ((", ".join(data.train), table), (data.val, validation)):
        if not (of_name.targets == 1).any():
            raise DataError(f"{name}: no image has a label")
    learned, scored = ({str(image.resolve()) for image in t.images} for t in (table, validation))
    shared = learned & scored
    if shared:
        raise ConfigError(
            f"data.val shares {len(shared)} images with data.train, for example {min(shared)}; "
            "expected images that are not learned from"
        )
    return table, validation


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
        model = build_start(config, table)
        freeze(model, config)
        model.backbone.recompute_activations = config.activation_checkpointing
        if config.small_steps:
            try:
                model.backbone.grid_size(config.small_size)
            except ValueError as error:
                raise ConfigError(f"small_size does not fit: {error}") from error
        self.average = ModelEmaV3(model, config.ema, use_warmup=True) if config.ema else None
        balanced = config.loss.positive_weights == "balanced"
        targets = torch.from_numpy(table.targets)
        learner = Learner(model, config, balancing_weights(targets) if balanced else None)
        if config.compile:
            compile_backbone(model)
        optimizer = build_optimizer(model, config)
        self.model = model
        self.learner, self.optimizer = self.fabric.setup(learner, optimizer)
        if self.average:
            self.average.to(self.fabric.device)
        self.progress = Progress()

    def run(self, stop: threading.Event, digests: dict[str, str]) -> None:
        """From the saved state, or the start, to the last step.

        Args:
            stop: Set when the run is to save its state and end.
            digests: `data_digests` of the tables, for the records.
        """
        config, progress = self.config, self.progress
        if config.resume:
            self._load()
        records = self.folder.records(config, progress.step, digests)
        with records if self.fabric.is_global_zero else nullcontext():
            self.observer.start(
                len(self.table), len(self.table.labels), len(self.validation), progress.step
            )
            self._warn_of_small_views()
            self._go_on(stop)
            self._save()
        if self.fabric.is_global_zero:
            self.folder.write_card(config, self.table, self.validation)

    def _warn_of_small_views(self) -> None:
        model, backbone = self.config.model, self.model.backbone
        if model.top_n == 0 or model.view_scale >= 1:
            return
        height, width = backbone.scaled_size(model.image_size, model.view_scale)
        rows, columns = backbone.grid_size((height, width))
        if min(rows, columns) < FEWEST_PATCHES:
            self.observer.warn(
                f"views are {height}x{width} pixels, {rows}x{columns} patches, which is little: "
                "set model.view_scale to 1, or take a larger model.image_size"
            )

    def _go_on(self, stop: threading.Event) -> None:
        """Learn, evaluate and save by turns, until the last step is evaluated."""
        config, progress = self.config, self.progress
        batches = self._batches()
        while True:
            step, history = progress.step, progress.history
            due = step and (step % config.evaluate_every == 0 or step == config.steps)
            if due and not (history and history[-1]["step"] == step):
                self._evaluate()
            if step == config.steps:
                break
            if self._any(stop.is_set()):
                self._save()
                raise Stopped(
                    f"stopped after step {step} of {config.steps}; --resume goes on from there"
                )
            self._learn(batches)
            if progress.step % config.save_every == 0:
                self._save()

    def _batches(self) -> Iterator[Batch]:
        config = self.config
        stream = TrainingStream(
            self.table, config.seed, config.train_transform, least_source_size(config)
        )
        return stream.batches(
            self.progress.step,
            config.steps,
            config.batch_size,
            config.data.workers,
            self.fabric.global_rank,
            self.fabric.world_size,
            config.accumulate,
        )

    def _learn(self, batches: Iterator[Batch]) -> None:
        """One step."""
        config, progress, step = self.config, self.progress, self.progress.step
        # What layers draw (dropout) is a function of (seed, step) too.
        torch.manual_seed(seed_of(config.seed, 1, step, self.fabric.global_rank))
        rate = schedule(step, config)
        set_learning_rate(self.optimizer, rate)
        self.model.train()
        self.model.backbone.train(not config.freeze_backbone)
        total, names = 0.0, []
        for part in range(config.accumulate):
            batch = next(batches)
            names += batch.names
            for failure in batch.failures:
                self.observer.warn(f"{failure}; another image took its place")
            with self.fabric.no_backward_sync(self.learner, part + 1 < config.accumulate):
                sources = [source.to(self.fabric.device) for source in batch.sources]
                targets = batch.targets.to(self.fabric.device)
                place = self.fabric.global_rank * config.accumulate + part
                loss = self.learner(sources, targets, step, place)
                self._check_finite(loss.detach(), batch.names, "loss")
                self.fabric.backward(loss / config.accumulate)
            total += loss.item() / config.accumulate
        norm = self._clip()
        if config.precision != "fp16-mixed":  # which passes over such steps
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
        self.observer.step(progress.step, value, rate, config.batch_size)

    def _clip(self) -> Tensor:
        """Limit the gradient's norm, where it is to be limited; what it was before."""
        config = self.config
        if config.clip_norm is None and config.precision != "fp16-mixed":
            gradients = (parameter.grad for parameter in self.learner.parameters())
            return get_total_norm([gradient for gradient in gradients if gradient is not None])
        norm = self.fabric.clip_gradients(
            self.learner,
            self.optimizer,
            max_norm=config.clip_norm or math.inf,
            error_if_nonfinite=False,
        )
        return cast(Tensor, norm)

    def _check_finite(self, value: Tensor, images: list[str], what: str) -> None:
        """Stop all processes where one's value is not finite, before any learns from it."""
        if not self._any(not math.isfinite(value.item())):
            return
        names = ", ".join(images[:8])
        more = f" and {len(images) - 8} more" if len(images) > 8 else ""
        step, precision = self.progress.step + 1, self.config.precision
        if math.isfinite(value.item()):
            raise TrainingError(f"the {what} is not finite at step {step} in another process")
        other = "" if precision == "fp32" else f", take precision fp32 (now {precision})"
        raise TrainingError(
            f"the {what} is {value.item()} at step {step}: lower learning_rate (its peak is "
            f"{peak_learning_rate(self.config):.2g}), set clip_norm (now {self.config.clip_norm})"
            f"{other}, or look at the images of this batch: {names}{more}"
        )

    def _any(self, flag: bool) -> bool:
        """Whether any process says so."""
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
        result = self._score(model if config.looks_again(step) else model.with_top_n(0))
        since = int(progress.history[-1]["step"]) if progress.history else 0
        row = {"step": step, "loss": fmean(progress.losses[since:])}
        progress.history.append(row | {f"val_{k}": v.mAP for k, v in result.fusions.items()})
        best = best_step(config, progress.history)
        if self.fabric.is_global_zero:
            self.folder.log_evaluation(config, progress.losses, progress.history)
            folders = [self.folder.last, *([self.folder.path] if best == step else [])]
            for folder in folders:
                save_checkpoint(folder, model, labels, config.model)
                self.folder.write_metrics(folder, step, result)
        if len(progress.history) == 1:
            for failure in result.failures:
                self.observer.warn(f"{failure}; it is left out of the validation")
        self.observer.evaluation(step, result, best == step)
        self.fabric.barrier()
        if step == config.steps and config.model.top_n and not config.looks_again(best):
            self._look_again(best)

    def _look_again(self, best: int) -> None:
        """Score the regions of the best weights, which were chosen by whole images alone."""
        model = load_checkpoint(self.folder.path).model.to(self.fabric.device)
        result = self._score(model)
        if self.fabric.is_global_zero:
            self.folder.write_metrics(self.folder.path, best, result)
        self.observer.evaluation(best, result, True)
        self.fabric.barrier()

    def _score(self, model: DiD) -> Report:
        scores = score_validation(model, self.validation, self.config, self.fabric)
        return report(scores, self.table.labels)

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
            self.folder.flush()  # a run that goes on from here shows the steps until here
        self.fabric.barrier()

    def _load(self) -> None:
        state = load_newest_state(self.folder.states, self.observer.warn)
        step = state["progress"]["step"] if state else 0
        mean = cast(Tensor, self.fabric.all_reduce(torch.tensor(float(step)))).item()
        if self._any(mean != step):
            raise ConfigError(
                f"output {self.config.output} is not the same folder to all processes: they would "
                "go on from different steps; expected one that all machines share"
            )
        if state is None:
            return
        self.progress.__dict__.update(state["progress"])
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average:
            self.average.module.load_state_dict(state["average"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])


def least_source_size(config: TrainConfig) -> tuple[int, int]:
    """Height and width that a photograph must have for its crops to fill the network's input.

    Twice the input's, as crops are down to half a side; where views are cut from the crops, twice
    that for views of the input's size.
    """
    model = config.model
    cut = model.top_n and model.crop_from == "raw" and config.num_global_steps < config.steps
    factor = 2 * max(2 * model.view_scale, 1) if cut else 2
    height, width = model.image_size
    return math.ceil(factor * height), math.ceil(factor * width)
