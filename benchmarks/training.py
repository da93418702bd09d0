"""Training steps against a bare loop of the same passes, and how fast images are read.

    python benchmarks/training.py --data coco18 --output benchmarks/results/training.json

The bare loop has the same batches in memory, and does nothing but the forward and backward pass and
the optimizer's step. Blocks of both alternate in one process, on one model each.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from didvit.config import DataConfig, ModelConfig, TrainConfig
from didvit.data.stream import TrainingStream
from didvit.files import write_json
from didvit.learner import Learner, build_start
from didvit.optimization import build_optimizer
from didvit.processes import keep_freed_memory
from didvit.run_folder import versions
from didvit.training import TrainingObserver, least_source_size, read_data, train


class Times(TrainingObserver):
    """When each step ended."""

    def __init__(self):
        self.ends = []

    def start(self, *arguments) -> None:
        self.ends.append(time.perf_counter())

    def step(self, *arguments) -> None:
        self.ends.append(time.perf_counter())


def seconds_of_engine(config: TrainConfig, skipped: int) -> list[float]:
    """Seconds of every step of a run, but the first, in which everything warms up."""
    times = Times()
    train(config, times)
    return [b - a for a, b in zip(times.ends, times.ends[1:], strict=False)][skipped:]


def seconds_of_bare_loop(config: TrainConfig, skipped: int) -> list[float]:
    """The same steps on batches that are in memory."""
    table, _ = read_data(config)
    stream = TrainingStream(table, config.seed, config.train_transform, least_source_size(config))
    batches = list(stream.batches(0, config.steps, config.batch_size, workers=2))
    torch.manual_seed(config.seed)
    model = build_start(config, table.labels).train()
    learner, optimizer = Learner(model, config), build_optimizer(model, config)
    seconds = []
    for step, batch in enumerate(batches):
        start = time.perf_counter()
        learner(batch.sources, batch.targets, step).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - start)
    return seconds[skipped:]


def images_per_second(config: TrainConfig, workers: int, images: int = 1024) -> float:
    """Of the stream alone: reading, decoding, cropping."""
    table, _ = read_data(config)
    stream = TrainingStream(table, config.seed, config.train_transform, least_source_size(config))
    steps = images // config.batch_size
    batches = stream.batches(0, steps + 1, config.batch_size, workers)
    next(batches)  # the processes start here
    start = time.perf_counter()
    for _ in batches:
        pass
    return steps * config.batch_size / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of coco18")
    parser.add_argument("--size", type=int, default=112, help="side of the input, in pixels")
    parser.add_argument("--top-n", type=int, default=0, help="regions looked at again")
    parser.add_argument("--steps", type=int, default=9, help="steps of a block")
    parser.add_argument("--repeats", type=int, default=3, help="blocks of each kind")
    parser.add_argument("--output", type=Path, help="file for the figures")
    arguments = parser.parse_args()
    keep_freed_memory()  # for both
    skipped, engine, bare = 2, [], []
    with tempfile.TemporaryDirectory() as folder:
        # Validation on one image, after the last step, costs next to nothing.
        row = next(line for line in (arguments.data / "val.csv").read_text().splitlines()[1:])
        image, labels = row.split(",")
        val = Path(folder) / "val.csv"
        val.write_text(f"image,labels\n{(arguments.data / image).resolve()},{labels}\n")
        for repeat in range(arguments.repeats):
            config = TrainConfig(
                DataConfig((str(arguments.data / "train.csv"),), str(val), workers=2),
                Path(folder) / f"run{repeat}",
                ModelConfig(image_size=(arguments.size,) * 2, top_n=arguments.top_n),
                steps=arguments.steps,
                freeze_backbone=False,
                evaluate_every=arguments.steps,
                save_every=arguments.steps,
                clip_norm=1.0,
                ema=0.99,
                device="cpu",
            )
            engine += seconds_of_engine(config, skipped)
            bare += seconds_of_bare_loop(config, skipped)
        per_step = statistics.median(engine)
        result = {
            "settings": {name: str(value) for name, value in vars(arguments).items()},
            "versions": versions(),
            "engine_seconds": engine,
            "bare_seconds": bare,
            "ratio": per_step / statistics.median(bare),
            "engine_images_per_second": config.batch_size / per_step,
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
