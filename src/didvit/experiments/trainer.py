"""Rows trained, each once: what was trained is found again by what it was trained with."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import safetensors.torch
from filelock import FileLock, Timeout

from didvit.checkpoint import load_checkpoint
from didvit.config import DataConfig, TrainConfig
from didvit.config_json import EARLY, to_json
from didvit.data.datasets import read_dataset
from didvit.data.table import Table
from didvit.experiments.benchmarks import Benchmark, Data
from didvit.experiments.plans import DID_LOOKS, Row
from didvit.files import whole_file, write_json
from didvit.heads.labels import label_embeddings
from didvit.resume import data_digests
from didvit.run_folder import versions
from didvit.training import TrainingObserver, read_tables, train

_HERE = ("output", "resume", "save_every", "device")
"""Settings that a trained model does not depend on, or only by rounding."""

REVISION: int | None = None
"""Part of the name of what is trained: raised by hand when a change of code changes results."""

DONE = "done.json"
"""In a run folder: that it is trained to its end, and what there is to say of it."""


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """Trains the rows of experiments.

    Attributes:
        benchmarks: Of a scale.
        root: The folder that their paths are relative to.
        cache: Folder for trained models and scores, by what they were made with.
        device: Where to run, as in `TrainConfig`.
        observe: Makes the observer of a run, of its settings, for as long as the run takes.
        tell: Told what is done next.
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

    def check(self, rows: Sequence[Row]) -> None:
        """Refuse what is not there before anything is trained: data, word vectors.

        Raises:
            DataError, LabelEmbeddingError: Of the data, or of a head's word vectors.
        """
        for benchmark in {self.benchmarks[row.data] for row in rows}:
            table, _ = self._tables(benchmark.config.data)
            read_dataset(str(self.root / benchmark.test), table.labels)
            if benchmark.start:
                self._tables(benchmark.start.data)
        sources = {row.model["label_embeddings"] for row in rows if "label_embeddings" in row.model}
        for source in sources:
            label_embeddings(source, ("label",))

    def config_of(self, row: Row, seed: int) -> TrainConfig:
        """How a row was trained, or is; its fusion plays no part in that.

        Rows with new heads count their seeds from behind the start's: whose head is drawn by the
        start's seed has the one that the start's backbone fits.
        """
        benchmark = self.benchmarks[row.data]
        if row.budget == "start":
            assert benchmark.start is not None
            return benchmark.start
        changes = benchmark.changes(row.model)
        changes.pop("fusion", None)
        head_rate = changes.pop("head_rate", benchmark.config.head_rate)
        config = replace(benchmark.config, head_rate=head_rate)
        model = replace(config.model, **changes)
        steps = config.steps
        if row.budget == "looks":
            steps = int(steps * DID_LOOKS / model.looks())
        init_seed = None
        if benchmark.start and benchmark.new_heads:
            seed += benchmark.start.seed + 1
        elif benchmark.start and benchmark.start.seed != seed:
            init_seed = benchmark.start.seed
        return replace(
            config,
            model=model,
            steps=steps,
            evaluate_every=steps,
            seed=seed,
            init_seed=init_seed,
        )

    def trained(self, row: Row, seed: int) -> Path:
        """The run folder of a row, trained now if it never was."""
        benchmark, config = self.benchmarks[row.data], self.config_of(row, seed)
        folder, weights = self.folder(row, seed), config.model.weights
        if benchmark.start:
            weights = str(self.start(benchmark.start))
            if row.budget == "start":
                return folder
        with self._alone(folder):
            if not (folder / DONE).exists():
                self.tell(f"training {row.name} (seed {seed}): {config.steps} steps")
                self._train(config, folder, weights)
        return folder

    def folder(self, row: Row, seed: int) -> Path:
        """Where `trained` keeps a row, whether it was trained or not."""
        start = self.benchmarks[row.data].start
        begun = f"start-{self._key(start)}" if start else ""
        if row.budget == "start":
            return self.cache / begun
        return self.cache / self._key(self.config_of(row, seed), begun)

    def start(self, config: TrainConfig) -> Path:
        """The backbone that rows begin with, as a file of weights; its head is left behind."""
        folder = self.cache / f"start-{self._key(config)}"
        path = folder / "backbone.safetensors"
        with self._alone(folder):
            if not (folder / DONE).exists():
                self.tell(f"training the start of all rows: {config.steps} steps")
                self._train(config, folder, config.model.weights)
            if not path.exists():
                vit = load_checkpoint(folder).model.backbone.vit
                with whole_file(path) as temporary:
                    safetensors.torch.save_file(vit.state_dict(), temporary)
        return path

    @contextmanager
    def _alone(self, folder: Path) -> Iterator[None]:
        """While another command makes what is in a folder of the cache, wait; then be the one."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.with_suffix(".lock"))
        try:
            lock.acquire(blocking=False)
        except Timeout:
            self.tell(f"waiting for another command that is at {folder.name}")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _key(self, config: TrainConfig, start: str = "") -> str:
        """A name for what is trained: by settings and data, not by where they lie."""
        settings = {name: v for name, v in to_json(config).items() if name not in _HERE}
        settings["data"] = data_digests(*self._tables(config.data))
        settings["model"] = {
            name: value
            for name, value in settings["model"].items()
            if name not in EARLY or value != EARLY[name]
        }
        if start:
            settings["model"]["weights"] = start
        return digest({**settings, "revision": REVISION})

    def _tables(self, data: DataConfig) -> tuple[Table, Table]:
        """Of training and validation; read once."""
        if data not in self._known:
            self._known[data] = read_tables(replace(data, root=self.root))
        return self._known[data]

    def _train(self, config: TrainConfig, folder: Path, weights: str) -> None:
        config = replace(
            config,
            data=replace(config.data, root=self.root),
            model=replace(config.model, weights=weights),
            output=folder,
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
            folder / DONE,
            {"validation": validation, "seconds": seconds, "versions": versions()},
        )
        for part in ("checkpoints", "last", "tensorboard"):  # hundreds of megabytes a row
            shutil.rmtree(folder / part, ignore_errors=True)


def digest(settings: dict[str, Any]) -> str:
    """A name for settings. Those that are unset are left out: results outlive new settings."""
    text = json.dumps(_what_is_set(settings), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _what_is_set(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _what_is_set(value) if isinstance(value, dict) else value
        for name, value in settings.items()
        if value is not None and value is not False
    }
