"""Rows scored, each once, and told from their references."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from didvit.checkpoint import Checkpoint, load_checkpoint
from didvit.config import TrainConfig
from didvit.data.datasets import read_dataset
from didvit.data.table import DataError, Table
from didvit.evaluation import Scores, report, score_table
from didvit.experiments.plans import Row
from didvit.experiments.trainer import DONE, Trainer, digest
from didvit.files import whole_file, write_json
from didvit.inference import choose_device
from didvit.metrics import Interval, bootstrap_difference, mean_average_precision
from didvit.resume import data_digests

ARRAYS = ("indices", "global_logits", "local_logits", "targets")
"""Of `Scores`."""


class Difference(NamedTuple):
    """Of the mAP of an outcome less that of its reference, in percent.

    Attributes:
        mAP: The difference.
        interval: Its 95 % interval over the images that both were scored on (paired bootstrap).
    """

    mAP: float
    interval: Interval


class Outcome(NamedTuple):
    """A row that was trained and scored.

    Attributes:
        row: Of the experiment.
        seed: That was asked for; that of its training is in ``config``.
        config: Its settings in training, with paths relative to the root.
        scored: Its scores on the test images, in its run folder.
        scores: What is in them.
        report: Of the scores, with intervals, as `Report.to_dict` gives it.
        validation: Its mAP on the validation images in percent, by fusion.
        seconds: That training took, or what was left of it after an interruption.
        versions: Of what it ran with.
        difference: From its reference, where it has one.
    """

    row: Row
    seed: int
    config: TrainConfig
    scored: Path
    scores: Scores
    report: dict[str, Any]
    validation: dict[str, float]
    seconds: float
    versions: dict[str, str]
    difference: Difference | None

    @property
    def fusion(self) -> str:
        """Of its prediction."""
        changes = {**self.row.model, **self.row.scored_with}
        return changes.get("fusion", self.config.model.fusion)

    @property
    def logits(self) -> np.ndarray:
        """Of its prediction, for every test image and label."""
        return self.scores.fused(self.fusion)


@dataclass(frozen=True, kw_only=True)
class Runner(Trainer):
    """Trains and scores the rows of experiments.

    Attributes:
        resamples: Of the bootstrap, for the intervals of mAP.
    """

    resamples: int = 1000

    def run(self, row: Row, seed: int, reference: Outcome | None = None) -> Outcome:
        """A row of an experiment, from the cache where it is there.

        Args:
            row: Of the experiment.
            seed: Of its training.
            reference: On the same images: what to tell its difference from.

        Raises:
            ConfigError, DataError, WeightsError: Of the settings and the data.
            TrainingError: The loss is not finite, say.
        """
        benchmark, config = self.benchmarks[row.data], self.config_of(row, seed)
        folder = self.trained(row, seed)
        checkpoint = load_checkpoint(folder, row.scored_with)
        labels, workers = checkpoint.labels, config.data.workers
        test = read_dataset(str(self.root / benchmark.test), labels)
        scored = self._score(row, folder, checkpoint, test, workers)
        scores = read_scores(scored)
        done = json.loads((folder / DONE).read_text())
        validation = done["validation"]  # of the model as it was trained
        if row.scored_with:
            _, table = self._tables(config.data)
            again = read_scores(self._score(row, folder, checkpoint, table, workers))
            validation = {name: f.mAP for name, f in report(again, labels).fusions.items()}
        outcome = Outcome(
            row,
            seed,
            config,
            scored,
            scores,
            _kept(
                scored.with_name(f"{scored.stem}-report-{self.resamples}.json"),
                lambda: report(scores, labels, self.resamples).to_dict(),
            ),
            validation,
            done["seconds"],
            done["versions"],
            None,
        )
        return outcome._replace(difference=reference and self.difference(outcome, reference))

    def scores_path(self, row: Row, seed: int) -> Path:
        """Where `run` keeps the scores of a row, whether it was scored or not.

        Its name and its folder's are those of all that the scores depend on.
        """
        train, _ = self._tables(self.config_of(row, seed).data)
        test = read_dataset(str(self.root / self.benchmarks[row.data].test), train.labels)
        return _scores_path(row, self.folder(row, seed), test)

    def is_known(self, row: Row, seed: int) -> bool:
        """Whether `run` finds the row in the cache, trained and scored."""
        try:
            path = self.scores_path(row, seed)
            _, validation = self._tables(self.config_of(row, seed).data)
        except DataError:  # its data are not here
            return False
        again = [_scores_path(row, path.parent, validation)] if row.scored_with else []
        return all(known.exists() for known in (path.parent / DONE, path, *again))

    def difference(self, outcome: Outcome, other: Outcome) -> Difference:
        """Of two outcomes on the same images."""
        sides = [(o.scored.parent.name, o.scored.stem, o.fusion) for o in (outcome, other)]
        made_of = digest({"sides": sides, "resamples": self.resamples})

        def measure() -> dict[str, Any]:
            one, two, targets = outcome.logits, other.logits, outcome.scores.targets
            value = mean_average_precision(one, targets) - mean_average_precision(two, targets)
            ends = bootstrap_difference(one, two, targets, self.resamples)
            return {"mAP": 100 * value, "interval": [100 * end for end in ends]}

        path = outcome.scored.with_name(f"{outcome.scored.stem}-less-{made_of}.json")
        known = _kept(path, measure)
        return Difference(known["mAP"], Interval(*known["interval"]))

    def _score(
        self, row: Row, folder: Path, checkpoint: Checkpoint, table: Table, workers: int
    ) -> Path:
        """A trained row, on a table: the file of its scores, from the cache where it is there."""
        path = _scores_path(row, folder, table)
        with self._alone(folder):
            if not path.exists():
                self.tell(f"scoring {row.name}: {len(table)} images")
                device, size = choose_device(self.device), checkpoint.config.image_size
                model = checkpoint.model.to(device)
                scores = score_table(model, table, size, device, workers=workers)
                if scores.failures:
                    raise DataError(f"an experiment needs all images, but {scores.failures[0]}")
                with whole_file(path) as temporary:
                    np.savez(temporary, **{name: getattr(scores, name) for name in ARRAYS})
        return path


def _scores_path(row: Row, folder: Path, table: Table) -> Path:
    """Where a trained row's scores of a table are kept."""
    scored = {"test": data_digests(table, table)["val"], "with": dict(row.scored_with)}
    return folder / f"scores-{digest(scored)}.npz"


def read_scores(path: Path) -> Scores:
    """What a `Runner` wrote."""
    with np.load(path) as arrays:
        return Scores(**{name: arrays[name] for name in ARRAYS}, failures=())


def _kept(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What is in a JSON file, made now if it never was."""
    if not path.exists():
        write_json(path, make())
    return json.loads(path.read_text(encoding="utf-8"))
