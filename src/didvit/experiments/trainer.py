"""Trains the rows of experiments, each once: a trained model is cached under its settings."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from didvit.config import DataConfig, TrainConfig, with_settings
from didvit.config.serialization import to_json
from didvit.data.datasets import read_dataset
from didvit.data.table import Table
from didvit.environment import versions
from didvit.experiments.benchmarks import Benchmark, Data
from didvit.experiments.plans import DID_PASSES, Row
from didvit.files import write_json
from didvit.heads.labels import label_embeddings
from didvit.training.checkpointing import data_digests
from didvit.training.observer import TrainingObserver
from didvit.training.tables import read_tables
from didvit.training.trainer import train

DONE = "done.json"
"""File of a run folder that is trained to its end: validation scores, seconds, versions."""


def training_config(benchmark: Benchmark, row: Row, seed: int) -> TrainConfig:
    """How a row is trained, whatever its fusion."""
    changes = {k: v for k, v in benchmark.changes(row.changes).items() if k != "fusion"}
    config = with_settings(benchmark.config, changes)
    steps = config.schedule.steps
    if row.budget == "equal_passes":
        steps = int(steps * DID_PASSES / config.model.method.forward_passes())
    schedule = replace(config.schedule, steps=steps, evaluate_every=steps)
    return replace(config, schedule=schedule, seed=seed)


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """Trains the rows of experiments.

    Attributes:
        benchmarks: Benchmarks of one scale.
        root: The folder that their paths are relative to.
        cache: Folder for trained models. Several commands may share it.
        device: Where to run, as in `RuntimeConfig`.
        observe: Makes the observer of a run from its settings, for as long as the run takes.
        tell: Receives a message about each next step.
    """

    benchmarks: dict[Data, Benchmark]
    root: Path
    cache: Path
    device: str = "auto"
    observe: Callable[[TrainConfig], AbstractContextManager[TrainingObserver]] = lambda config: (
        nullcontext(TrainingObserver())
    )
    tell: Callable[[str], None] = lambda message: None
    _known: dict[DataConfig, tuple[Table, Table]] = field(default_factory=dict, repr=False)
    _known_tests: dict[Any, Table] = field(default_factory=dict, repr=False)

    def check(self, rows: Sequence[Row]) -> None:
        """Refuse missing data and word vectors before anything is trained.

        Raises:
            DataError: A data set cannot be used.
            LabelEmbeddingError: A head's word vectors cannot be had.
        """
        for benchmark in {self.benchmarks[row.data] for row in rows}:
            self._tables(benchmark.config.data)
        for row in rows:
            self._test_table(row)
        name = "label_embeddings"
        for source in {row.changes[name] for row in rows if name in row.changes}:
            label_embeddings(source, ("label",))

    def config_of(self, row: Row, seed: int) -> TrainConfig:
        """See `training_config`."""
        return training_config(self.benchmarks[row.data], row, seed)

    def trained(self, row: Row, seed: int) -> Path:
        """The run folder of a row. It is trained now if the cache does not have it."""
        config, folder = self.config_of(row, seed), self.folder(row, seed)
        if row.teacher is not None and not (folder / DONE).exists():
            teacher = self.trained(row.teacher, seed)
            config = with_settings(config, {"teacher": str(teacher)})
        with self._alone(folder):
            if not (folder / DONE).exists():
                self.tell(f"training {row.name} (seed {seed}): {config.schedule.steps} steps")
                self._train(config, folder)
        return folder

    def folder(self, row: Row, seed: int) -> Path:
        """Where `trained` keeps a row, trained or not."""
        return self.cache / self._key(self.config_of(row, seed))

    @contextmanager
    def _alone(self, folder: Path) -> Iterator[None]:
        """Hold a folder of the cache, or any name there, alone; wait while another command does."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.with_suffix(".lock"))
        try:
            lock.acquire(blocking=False)
        except Timeout:
            self.tell(f"waiting for another command that works on {folder.name}")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _key(self, config: TrainConfig) -> str:
        """A name for a trained model: by its settings and data, not by where they lie."""
        settings = to_json(with_settings(config, {"device": "auto", "save_every": 1, "workers": 0}))
        for name in ("output", "resume"):
            settings.pop(name)
        for name in ("train", "val", "root"):
            settings["data"].pop(name)
        settings["data"] |= data_digests(*self._tables(config.data))
        return digest(settings)

    def _tables(self, data: DataConfig) -> tuple[Table, Table]:
        """The tables of training and validation, read once."""
        if data not in self._known:
            self._known[data] = read_tables(replace(data, root=self.root))
        return self._known[data]

    def _test_table(self, row: Row) -> Table:
        """The table of a row's test images, read once."""
        benchmark = self.benchmarks[row.data]
        train, _ = self._tables(benchmark.config.data)
        key = benchmark.test, train.labels
        if key not in self._known_tests:
            self._known_tests[key] = read_dataset(
                str(self.root / benchmark.test),
                train.labels,
                without_labels=benchmark.config.data.without_labels,
            )
        return self._known_tests[key]

    def _train(self, config: TrainConfig, folder: Path) -> None:
        weights = config.model.weights
        if (self.root / weights).is_file():
            weights = str(self.root / weights)
        config = replace(
            config,
            data=replace(config.data, root=self.root),
            model=replace(config.model, weights=weights),
            output=folder,
            resume=True,
            runtime=replace(config.runtime, device=self.device),
        )
        start = time.perf_counter()
        with self.observe(config) as observer:
            train(config, observer)
        seconds = time.perf_counter() - start
        metrics = json.loads((folder / "metrics.json").read_text())
        validation = {name: values["mAP"] for name, values in metrics["fusions"].items()}
        write_json(
            folder / DONE,
            {"validation": validation, "seconds": seconds, "versions": versions()},
        )
        for part in ("checkpoints", "last", "tensorboard"):  # hundreds of megabytes a row
            shutil.rmtree(folder / part, ignore_errors=True)


def digest(settings: dict[str, Any]) -> str:
    """A short name for settings."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
