"""For the tests of experiments: a benchmark of colored squares, rows, and runs as literals."""

from dataclasses import replace
from pathlib import Path

from didvit.config import (
    PAPER,
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
)
from didvit.config.serialization import to_json
from didvit.experiments.benchmarks import Benchmark
from didvit.experiments.plans import Experiment, Row
from didvit.experiments.runs import Run, difference_key, row_key
from didvit.experiments.trainer import training_config
from didvit.training.trainer import TrainingObserver

BASELINE = Row("Baseline", {"top_n": 0}, {"mAP": 85.1})
EQUAL_PASSES = Row("Baseline", {"top_n": 0}, {"mAP": 85.1}, budget="equal_passes")
DID = Row("DiD", {}, {"mAP": 86.4, "CP all": 84.8})
MCAR = Row("MCAR", {"fusion": "max"})
WITH_VIEWS = Row("Baseline + views", {"top_n": 0}, scored_with={"top_n": 2})
ELSEWHERE = Row("elsewhere", data="voc2012")

PLAN = Experiment(
    "Systems",
    (BASELINE, EQUAL_PASSES, DID, MCAR, WITH_VIEWS, ELSEWHERE),
    pairs=((("DiD", "equal_steps"), ("Baseline + views", "equal_steps")),),
)


def benchmark(train: str, val: str) -> Benchmark:
    """Two steps of a tiny model."""
    method = replace(PAPER, top_n=2)
    config = TrainConfig(
        DataConfig((train,), val, workers=0),
        Path("run"),
        ModelConfig("test_vit", weights="random", image_size=(32, 48), method=method),
        schedule=ScheduleConfig(steps=2, batch_size=4, single_view_fraction=0.0, save_every=1),
        optimizer=OptimizerConfig(freeze_backbone=False),
        choose="last",
    )
    return Benchmark("colored squares", config, val)


LITERAL = benchmark("train.csv", "val.csv")
"""The benchmark of runs that are literals."""


def literal_run(row: Row, mAP: float, seed: int = 0, **differences: tuple[Row, float]) -> Run:
    """A run with an mAP in percent; each fusion has a point more than the one before.

    ``differences`` are the other row, and the difference to it.
    """
    counts = dict.fromkeys(("CP", "CR", "CF1", "OP", "OR", "OF1"), mAP / 2)
    return Run(
        row=row_key(row),
        seed=seed,
        settings=to_json(training_config(LITERAL, row, seed)),
        scored_with=dict(row.scored_with),
        forward_passes=(3.0, 3.0),
        data={"train": "a", "val": "b", "test": "c"},
        seconds=1.0,
        versions={},
        validation=dict.fromkeys(("global", "local", "max", "mean"), mAP + 10),
        num_images=16,
        fusions={
            name: {
                **{"mAP": mAP - 3 + i, "mAP_interval": [mAP - 4 + i, mAP - 1 + i]},
                **{"all": counts, "top3": counts},
            }
            for i, name in enumerate(("global", "local", "max", "mean"))
        },
        differences={
            difference_key(row, other): {"mAP": value, "interval": [value - 1, value + 1]}
            for other, value in differences.values()
        },
    )


class Steps(TrainingObserver):
    """Counts the steps of all runs; may be told to die at one."""

    def __init__(self, fatal: int | None = None):
        self.total, self.fatal = 0, fatal

    def step(self, step, *arguments):
        if self.total == self.fatal:
            raise KeyboardInterrupt
        self.total += 1
