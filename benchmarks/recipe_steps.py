"""Time and memory of real steps of a paper-scale recipe, with random weights.

    python benchmarks/recipe_steps.py --root VOCdevkit --output benchmarks/results/recipe-steps.json

A step of the recipe's 32 images takes 8 times as long as one of 4. Every case runs in a process of
its own, so that its peak memory is its own.
"""

import argparse
import contextlib
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CASES = ({}, {"activation_checkpointing": True}, {"top_n": 0})


class Enough(Exception):  # noqa: N818
    """The steps that were wanted are done."""


def measure(root: Path, case: dict, batch_size: int, steps: int) -> dict:
    """Seconds of each step, and peak memory in MB, of this process."""
    from didvit.config import with_settings
    from didvit.config.recipes import RECIPES
    from didvit.training.trainer import TrainingObserver, train

    class Times(TrainingObserver):
        def start(self, *arguments) -> None:
            self.ends = [time.perf_counter()]
            self.loaded = peak_mb()

        def step(self, *arguments) -> None:
            self.ends.append(time.perf_counter())
            if len(self.ends) > steps:
                raise Enough

    recipe = RECIPES["voc2007"].config
    times = Times()
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            **{"root": root, "workers": 1, "output": Path(folder) / "run", "device": "cpu"},
            **{"weights": "random", "batch_size": batch_size, **case},
        }
        config = with_settings(recipe, settings)
        with contextlib.suppress(Enough):
            train(config, times)
    seconds = [b - a for a, b in zip(times.ends, times.ends[1:], strict=False)]
    return {"seconds": seconds, "loaded_mb": times.loaded, "peak_mb": peak_mb()}


def peak_mb() -> float:
    """Peak resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="VOCdevkit, with VOC2007")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--output", type=Path, help="file for the figures")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        case = json.loads(arguments.case)
        print(json.dumps(measure(arguments.root, case, arguments.batch_size, arguments.steps)))
        return
    from didvit.environment import versions
    from didvit.files import write_json

    rows = []
    for case in CASES:
        command = [sys.executable, __file__, *sys.argv[1:], "--case", json.dumps(case)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        rows.append({"settings": case} | json.loads(done.stdout.splitlines()[-1]))
        print(rows[-1])
    if arguments.output:
        content = {
            "recipe": "voc2007",
            "batch_size": arguments.batch_size,
            "rows": rows,
            "processor": platform.processor(),
            "versions": versions(),
        }
        write_json(arguments.output, content)


if __name__ == "__main__":
    main()
