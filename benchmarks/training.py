"""Training steps against a bare loop of the same passes, and how fast images are read.

    python benchmarks/training.py --data coco18 --output benchmarks/results/training-112.json

The bare loop has the same batches in memory, and does nothing but the forward and backward pass and
the optimizer's step. Steps of both alternate in one process, on one model each; the ratio is the
median of those of neighbors, as the machine's speed changes from minute to minute.
"""

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from didvit.config import (
    PAPER,
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    RuntimeConfig,
    ScheduleConfig,
    TrainConfig,
)
from didvit.data.stream import TrainingStream
from didvit.environment import versions
from didvit.files import write_json
from didvit.modeling.start import build_start
from didvit.training.distributed import keep_freed_memory
from didvit.training.module import Learner
from didvit.training.optim import build_optimizer
from didvit.training.trainer import TrainingObserver, least_source_size, read_tables, train


class BareLoop(TrainingObserver):
    """After every step of the engine, the same step of a bare loop, on a model of its own."""

    def __init__(self, config: TrainConfig):
        table, _ = read_tables(config.data)
        stream = TrainingStream(
            table, config.seed, config.data.augmentation, least_source_size(config)
        )
        steps, batch_size = config.schedule.steps, config.schedule.batch_size
        self.batches = list(stream.batches(0, steps, batch_size, workers=2))
        torch.manual_seed(config.seed)
        model = build_start(config, table).train()
        self.learner, self.optimizer = Learner(model, config), build_optimizer(model, config)
        self.engine_seconds, self.bare_seconds = [], []

    def start(self, *arguments) -> None:
        self.since = time.perf_counter()

    def step(self, step: int, *arguments) -> None:
        start = time.perf_counter()
        self.engine_seconds.append(start - self.since)
        batch = self.batches[step - 1]
        self.learner(batch.sources, batch.targets, step - 1).backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.since = time.perf_counter()
        self.bare_seconds.append(self.since - start)


def images_per_second(config: TrainConfig, workers: int, images: int = 1024) -> float:
    """Of the stream alone: reading, decoding, cropping."""
    table, _ = read_tables(config.data)
    stream = TrainingStream(table, config.seed, config.data.augmentation, least_source_size(config))
    batch_size = config.schedule.batch_size
    steps = images // batch_size
    batches = stream.batches(0, steps + 1, batch_size, workers)
    next(batches)  # the processes start here
    start = time.perf_counter()
    for _ in batches:
        pass
    return steps * batch_size / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of coco18")
    parser.add_argument("--size", type=int, default=112, help="side of the input, in pixels")
    parser.add_argument("--top-n", type=int, default=0, help="number of views by boxes")
    parser.add_argument("--ema", type=float, default=0.0, help="decay of the engine's average")
    parser.add_argument("--clip-norm", type=float, help="of the engine's gradients")
    parser.add_argument("--steps", type=int, default=30, help="steps of each")
    parser.add_argument("--output", type=Path, help="file for the figures")
    arguments = parser.parse_args()
    keep_freed_memory()  # for both
    skipped = 2  # in which everything warms up
    with tempfile.TemporaryDirectory() as folder:
        # Validation on one image, after the last step, costs next to nothing.
        row = next(line for line in (arguments.data / "val.csv").read_text().splitlines()[1:])
        image, labels = row.split(",")
        val = Path(folder) / "val.csv"
        val.write_text(f"image,labels\n{(arguments.data / image).resolve()},{labels}\n")
        config = TrainConfig(
            DataConfig((str(arguments.data / "train.csv"),), str(val), workers=1),
            Path(folder) / "run",
            ModelConfig(
                image_size=(arguments.size,) * 2, method=replace(PAPER, top_n=arguments.top_n)
            ),
            schedule=ScheduleConfig(
                steps=arguments.steps,
                single_view_fraction=0.0,
                evaluate_every=arguments.steps,
                save_every=arguments.steps,
            ),
            optimizer=OptimizerConfig(
                freeze_backbone=False, clip_norm=arguments.clip_norm, ema=arguments.ema
            ),
            runtime=RuntimeConfig(device="cpu"),
        )
        bare_loop = BareLoop(config)
        train(config, bare_loop)
        engine, bare = bare_loop.engine_seconds[skipped:], bare_loop.bare_seconds[skipped:]
        ratios = sorted(e / b for e, b in zip(engine, bare, strict=True))
        result = {
            "settings": {**vars(arguments), "data": arguments.data.name, "output": None},
            "versions": versions(),
            "engine_seconds": engine,
            "bare_seconds": bare,
            "ratio": statistics.median(ratios),
            "ratio_quartiles": statistics.quantiles(ratios, n=4)[::2],
            "engine_images_per_second": config.schedule.batch_size / statistics.median(engine),
            "loader_images_per_second": {
                workers: images_per_second(config, workers) for workers in (0, 1, 2)
            },
        }
    print(f"a step takes {result['ratio']:.3f} of the bare loop's")
    print(f"the engine learns from {result['engine_images_per_second']:.1f} images a second")
    for workers, speed in result["loader_images_per_second"].items():
        print(f"{workers} workers alone read {speed:.0f} images a second")
    if arguments.output:
        write_json(arguments.output, result)


if __name__ == "__main__":
    main()
