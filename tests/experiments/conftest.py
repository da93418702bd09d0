from contextlib import nullcontext

import pytest
import tyro

import tiny_experiments
from didvit.cli.experiment import experiment
from didvit.experiments.benchmarks import SCALES
from didvit.experiments.scoring import Runner


@pytest.fixture
def make_runner(squares, tmp_path, without_curves):
    """A function that makes a runner on colored squares."""

    def make(steps=None, runs="runs", cache="cache"):
        root = squares[0].parents[1]
        train, val = (str(path.relative_to(root)) for path in squares)
        return Runner(
            benchmarks={"coco": tiny_experiments.benchmark(train, val)},
            root=root,
            runs=tmp_path / runs,
            cache=tmp_path / cache,
            device="cpu",
            resamples=20,
            observe=lambda config: nullcontext(steps or tiny_experiments.Steps()),
        )

    return make


@pytest.fixture
def command(make_runner, monkeypatch, tmp_path):
    """The command on the tiny benchmark, with its folders in ``tmp_path``."""
    runner = make_runner()
    runner.benchmarks["coco-256"] = runner.benchmarks["coco"]
    monkeypatch.setitem(SCALES, "cpu", runner.benchmarks)

    def run(*arguments, root=runner.root):
        places = ("--root", root, "--runs", tmp_path / "runs", "--device", "cpu")
        return tyro.cli(experiment, args=[str(a) for a in (*arguments, *places)])

    return run
