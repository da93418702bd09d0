"""Scores trained rows on the test set, each once, and writes their runs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from didvit.config import with_settings
from didvit.config.serialization import to_json
from didvit.data.table import DataError, Table
from didvit.devices import choose_device
from didvit.evaluation.metrics import bootstrap_difference, mean_average_precision
from didvit.evaluation.report import report
from didvit.evaluation.scores import Scores
from didvit.evaluation.scoring import score_table
from didvit.experiments.plans import Experiment, Row, row_title
from didvit.experiments.runs import (
    Run,
    check_data,
    check_settings,
    difference_key,
    has_scores,
    is_same_run,
    read_run,
    read_scores,
    row_fusion,
    row_key,
    run_path,
    write_run,
    write_scores,
)
from didvit.experiments.trainer import DONE, Trainer
from didvit.modeling.checkpoint import load_checkpoint
from didvit.training.checkpointing import data_digests
from didvit.training.trainer import TrainingError


@dataclass(frozen=True, kw_only=True)
class Runner(Trainer):
    """Trains and scores the rows of experiments.

    Attributes:
        runs: The folder of the scale's runs.
        resamples: Resamples of the bootstrap, for intervals of mAP.
    """

    runs: Path
    resamples: int = 1000

    def path(self, row: Row, seed: int) -> Path:
        """The file of a run, made or not."""
        return run_path(self.runs, row, seed)

    def run(self, row: Row, seed: int) -> Run:
        """Train and score a row with a seed, unless its run exists.

        Raises:
            ConfigError: A setting is impossible.
            DataError: Data cannot be used, or the run exists with other settings or data.
            WeightsError: The backbone's weights cannot be had.
            TrainingError: Training failed: the loss is not finite, say.
        """
        path, config = self.path(row, seed), self.config_of(row, seed)
        train, validation = self._tables(config.data)
        test = self._test_table(row)
        digests = data_digests(train, validation) | {"test": data_digests(test, test)["val"]}
        with self._alone(self.cache / path.name):
            if not path.exists():
                run, scores = self._make(row, seed, validation, test)
                write_scores(path, scores)  # first: a run without its scores would stay so
                write_run(path, replace(run, data=digests))
            run = read_run(path)
        check_settings(path, run, config)
        check_data(path, run, digests)
        return run

    def run_all(self, plan: Experiment, rows: Sequence[Row], seeds: Sequence[int]) -> list[str]:
        """Run rows of an experiment, references first, and compare those that it compares.

        A row that cannot be trained does not keep the others from it.

        Returns:
            Why rows could not be trained.
        """
        failures = []
        for seed in seeds:
            for row in sorted(rows, key=lambda row: plan.reference(row) is not row):
                try:
                    self.run(row, seed)
                except TrainingError as error:
                    failures.append(f"{row_title(row)}, seed {seed}: {error}")
                    self.tell(failures[-1])
                    continue
                for one, other in plan.comparisons(row):
                    if self.path(one, seed).exists() and self.path(other, seed).exists():
                        self.compare(one, other, seed)
        return failures

    def compare(self, row: Row, other: Row, seed: int) -> None:
        """Add the paired difference between two rows to the run of the first, unless it has it.

        Both runs exist. Nothing is added where an array of scores is missing, or both are one run.

        Raises:
            DataError: The two runs are of other data.
        """
        path, other_path = self.path(row, seed), self.path(other, seed)
        key = difference_key(row, other)
        with self._alone(self.cache / path.name):
            run = read_run(path)
            if key in run.differences or is_same_run(row, other):
                return
            for scored in (path, other_path):
                if not has_scores(scored):
                    self.tell(f"no difference: {scored.with_suffix('.npz')} is missing")
                    return
            check_data(other_path, read_run(other_path), run.data)
            scores, others = read_scores(path), read_scores(other_path)
            one, two = scores.fused(row_fusion(row)), others.fused(row_fusion(other))
            maps = [mean_average_precision(logits, scores.targets) for logits in (one, two)]
            ends = bootstrap_difference(one, two, scores.targets, self.resamples)
            found = {"mAP": 100 * (maps[0] - maps[1]), "interval": [100 * end for end in ends]}
            write_run(path, replace(run, differences={**run.differences, key: found}))

    def _make(self, row: Row, seed: int, validation: Table, test: Table) -> tuple[Run, Scores]:
        config, folder = self.config_of(row, seed), self.trained(row, seed)
        done = json.loads((folder / DONE).read_text(encoding="utf-8"))
        method = with_settings(config.model.method, row.scored_with)
        scores = self._score(row, folder, test)
        result = report(scores, test.labels, self.resamples).to_dict()
        if row.scored_with:  # the run folder has the validation scores of the model as trained
            again = report(self._score(row, folder, validation), test.labels)
            done["validation"] = {name: value.mAP for name, value in again.fusions.items()}
        run = Run(
            row=row_key(row),
            seed=seed,
            settings=to_json(config),
            scored_with=dict(row.scored_with),
            forward_passes=(config.model.method.forward_passes(), method.forward_passes()),
            data={},
            seconds=round(done["seconds"], 1),
            versions=done["versions"],
            validation=done["validation"],
            num_images=result["num_images"],
            fusions=result["fusions"],
        )
        return run, scores

    def _score(self, row: Row, folder: Path, table: Table) -> Scores:
        """Logits of a trained row on a data set, rounded to 16 bits, as they are kept."""
        trained = load_checkpoint(folder)
        model = load_checkpoint(folder, with_settings(trained.config.method, row.scored_with)).model
        self.tell(f"scoring {row.name}: {len(table)} images")
        device = choose_device(self.device)
        workers = self.benchmarks[row.data].config.data.workers
        size = trained.config.image_size
        scores = score_table(model.to(device), table, size, device, workers=workers)
        if scores.failures:
            raise DataError(f"an experiment needs all images, but {scores.failures[0]}")
        return replace(
            scores,
            global_logits=scores.global_logits.astype(np.float16).astype(float),
            local_logits=scores.local_logits.astype(np.float16).astype(float),
        )
