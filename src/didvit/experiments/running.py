"""Rows trained and scored, each once: what was done is found again by what it was done with."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.torch

from didvit.checkpoint import load_checkpoint
from didvit.config import ConfigError, TrainConfig, to_json
from didvit.data.datasets import read_dataset
from didvit.evaluation import Report, Scores, report, score_table
from didvit.experiments.benchmarks import Benchmark, Data
from didvit.experiments.plans import DID_PASSES, Row
from didvit.files import whole_file, write_json
from didvit.inference import choose_device
from didvit.run_folder import versions
from didvit.training import TrainingObserver, train

_HERE = ("output", "resume", "save_every", "device")
"""Settings that a trained model does not depend on, or only by rounding."""

ARRAYS = ("indices", "global_logits", "local_logits", "targets")
"""Of `Scores`."""

SAVE_EVERY = 25
"""Steps that an interrupted row loses at most."""


class Outcome(NamedTuple):
    """A row that was trained and scored.

    Attributes:
        row: Of the experiment.
        seed: Of its training.
        config: Its settings in training, with paths relative to the root.
        labels: Of the data.
        scores: On the test images.
        report: Of the scores, with intervals.
        validation: Its mAP on the validation images in percent, by fusion.
        seconds: That training took, or what was left of it after an interruption.
        versions: Of what it ran with.
    """

    row: Row
    seed: int
    config: TrainConfig
    labels: tuple[str, ...]
    scores: Scores
    report: Report
    validation: dict[str, float]
    seconds: float
    versions: dict[str, str]

    @property
    def fusion(self) -> str:
        """Of its prediction."""
        return self.row.model.get("fusion", "mean")


@dataclass(frozen=True)
class Runner:
    """Trains and scores the rows of experiments.

    Attributes:
        benchmarks: Of a scale.
        root: The folder that their paths are relative to.
        cache: Folder for trained models and scores, by what they were made with.
        device: Where to run, as in `TrainConfig`.
        resamples: Of the bootstrap, for the intervals of mAP.
        observe: Makes the observer of a run, of its settings, for as long as the run takes.
        tell: Told what is done next.
    """

    benchmarks: dict[Data, Benchmark]
    root: Path
    cache: Path
    device: str = "auto"
    resamples: int = 1000
    observe: Callable[[TrainConfig], AbstractContextManager[TrainingObserver]] = lambda config: (
        nullcontext(TrainingObserver())
    )
    tell: Callable[[str], None] = lambda message: None

    def run(self, row: Row, seed: int) -> Outcome:
        """A row of an experiment, from the cache where it is there.

        Raises:
            ConfigError, DataError, WeightsError: Of the settings and the data.
        """
        benchmark, config = self.benchmarks[row.data], self.config_of(row, seed)
        folder = self.trained(row, seed)
        checkpoint = load_checkpoint(folder, row.scored_with)
        scored_with = {"test": benchmark.test, **row.scored_with}
        path = folder / f"scores-{digest(scored_with)}.npz"
        if not path.exists():
            self.tell(f"scoring {row.name}")
            table = read_dataset(str(self.root / benchmark.test), checkpoint.labels)
            device = choose_device(self.device)
            scores = score_table(
                checkpoint.model.to(device),
                table,
                checkpoint.config.image_size,
                device,
                workers=config.data.workers,
            )
            if scores.failures:
                raise ConfigError(f"an experiment needs all images, but {scores.failures[0]}")
            with whole_file(path) as temporary:
                np.savez(temporary, **{name: getattr(scores, name) for name in ARRAYS})
        done = json.loads((folder / "done.json").read_text())
        with np.load(path) as arrays:
            scores = Scores(**{name: arrays[name] for name in ARRAYS}, failures=())
        return Outcome(
            row,
            seed,
            config,
            checkpoint.labels,
            scores,
            report(scores, checkpoint.labels, self.resamples),
            done["validation"],
            done["seconds"],
            done["versions"],
        )

    def config_of(self, row: Row, seed: int) -> TrainConfig:
        """How a row is trained; its fusion plays no part in that."""
        config = self.benchmarks[row.data].config
        changes = {name: value for name, value in row.model.items() if name != "fusion"}
        model = replace(config.model, **changes)
        if row.view_part != 1:
            height, width = model.image_size
            model = replace(
                model, view_size=(int(height * row.view_part), int(width * row.view_part))
            )
        steps = config.steps
        if row.budget == "passes":
            steps = steps * DID_PASSES // (1 + model.top_n)
        return replace(config, model=model, steps=steps, evaluate_every=steps, seed=seed)

    def trained(self, row: Row, seed: int) -> Path:
        """The run folder of a row, trained now if it never was."""
        benchmark, config = self.benchmarks[row.data], self.config_of(row, seed)
        settings = to_json(config)
        weights = config.model.weights
        if benchmark.start:
            settings["model"]["weights"] = digest(to_json(benchmark.start))
            weights = str(self._start(benchmark.start))
        folder = self.cache / digest(settings)
        if not (folder / "done.json").exists():
            self.tell(f"training {row.name} (seed {seed}): {config.steps} steps")
            self._train(config, folder, weights)
        return folder

    def _start(self, config: TrainConfig) -> Path:
        """The backbone that rows begin with, as a file of weights; its head is left behind."""
        folder = self.cache / f"start-{digest(to_json(config))}"
        path = folder / "backbone.safetensors"
        if not path.exists():
            self.tell(f"training the start of all rows: {config.steps} steps")
            self._train(config, folder, config.model.weights)
            vit = load_checkpoint(folder).model.backbone.vit
            with whole_file(path) as temporary:
                safetensors.torch.save_file(vit.state_dict(), temporary)
        return path

    def _train(self, config: TrainConfig, folder: Path, weights: str) -> None:
        config = replace(
            config,
            data=replace(config.data, root=self.root),
            model=replace(config.model, weights=weights),
            output=folder,
            save_every=SAVE_EVERY,
            resume=True,
            device=self.device,
        )
        start = time.perf_counter()
        with self.observe(config) as observer:
            train(config, observer)
        seconds = time.perf_counter() - start
        metrics = json.loads((folder / "metrics.json").read_text())
        validation = {name: values["mAP"] for name, values in metrics["fusions"].items()}
        write_json(
            folder / "done.json",
            {"validation": validation, "seconds": seconds, "versions": versions()},
        )
        for part in ("checkpoints", "last", "tensorboard"):  # hundreds of megabytes a row
            shutil.rmtree(folder / part, ignore_errors=True)


def digest(settings: dict[str, Any]) -> str:
    """A name for settings, without those that a result does not depend on.

    What is off (None, 0, False, empty) is left out too: results outlive the coming of settings.
    """
    text = json.dumps(_what_is_on(settings), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _what_is_on(settings: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in settings.items() if name not in _HERE and value}
    return {
        name: _what_is_on(value) if isinstance(value, dict) else value
        for name, value in kept.items()
    }
