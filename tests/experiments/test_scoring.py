"""Rows are trained and scored once, whoever asks for them, and interrupted rows end the same."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from didvit.config import with_settings
from didvit.data.table import DataError
from didvit.evaluation.metrics import bootstrap_difference
from didvit.experiments.plans import Experiment
from didvit.experiments.runs import difference_key, read_run, read_scores
from didvit.experiments.tables import possible_rows
from didvit.training.trainer import TrainingError, train
from tiny_experiments import BASELINE, DID, EQUAL_PASSES, MCAR, PLAN, WITH_VIEWS, Steps


def files(folder):
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in folder.rglob("*.*")}


def test_a_row_is_trained_once_and_scored_once(make_runner):
    steps = Steps()
    runner = make_runner(steps)
    first = runner.run(DID, 0)
    assert steps.total == 2
    before = files(runner.runs)
    assert runner.run(DID, 0) == first
    runner.run(MCAR, 0)  # differs in its fusion alone
    assert (steps.total, files(runner.runs)) == (2, before)
    runner.run(BASELINE, 0)
    assert steps.total == 4
    runner.run(WITH_VIEWS, 0)  # the same weights, scored with views
    assert steps.total == 4
    runner.run(EQUAL_PASSES, 0)  # 2 steps of 5 passes are 10 of one
    assert steps.total == 14
    runner.run(BASELINE, 1)
    assert steps.total == 16


def test_views_in_prediction_leave_the_global_branch(make_runner):
    runner = make_runner()
    runs = [runner.run(row, 0) for row in (BASELINE, WITH_VIEWS)]
    plain, views = (read_scores(runner.path(row, 0)) for row in (BASELINE, WITH_VIEWS))
    assert np.allclose(plain.global_logits, views.global_logits, atol=1e-2)
    assert np.array_equal(plain.local_logits, plain.global_logits)
    assert not np.allclose(views.local_logits, views.global_logits)
    assert [run.forward_passes for run in runs] == [(1, 1), (1, 3)]


@pytest.mark.parametrize("row", [DID, WITH_VIEWS], ids=lambda row: row.name)
def test_validation_scores_are_of_the_validation_images(make_runner, row):
    """The test images are the validation images here."""
    run = make_runner().run(row, 0)
    expected = {name: fusion["mAP"] for name, fusion in run.fusions.items()}
    assert run.validation == pytest.approx(expected, abs=0.5)


def test_an_interrupted_row_continues_and_ends_the_same(make_runner, tmp_path):
    expected = make_runner(runs="whole", cache="whole-cache").run(DID, 0)
    with pytest.raises(KeyboardInterrupt):
        make_runner(Steps(fatal=1)).run(DID, 0)
    assert files(tmp_path / "runs") == {}
    (tmp_path / "cache").rename(tmp_path / "moved")
    steps = Steps()
    run = make_runner(steps, cache="moved").run(DID, 0)
    assert run.fusions == expected.fusions
    assert steps.total == 1


def test_a_run_of_other_settings_or_data_is_refused(make_runner, tmp_path):
    runner = make_runner()
    runner.run(BASELINE, 0)
    benchmark = runner.benchmarks["coco"]
    other = replace(benchmark, config=with_settings(benchmark.config, {"ema": 0.5}))
    with pytest.raises(DataError, match=r"optimizer\.ema was 0\.0 and is 0\.5"):
        replace(runner, benchmarks={"coco": other}).run(BASELINE, 0)
    moved = tmp_path / "moved"
    shutil.copytree(runner.root, moved)
    elsewhere = replace(runner, root=moved, _known={}, _known_tests={})
    elsewhere.run(BASELINE, 0)  # the same data in another place
    table = moved / benchmark.config.data.train[0]
    table.write_text("\n".join(table.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(DataError, match=r"other data \(train\)"):
        replace(elsewhere, _known={}, _known_tests={}).run(BASELINE, 0)


def test_a_difference_is_over_the_same_images(make_runner):
    runner = make_runner()
    for row in (BASELINE, MCAR):
        runner.run(row, 0)
    runner.compare(MCAR, BASELINE, 0)
    found = read_run(runner.path(MCAR, 0)).differences[difference_key(MCAR, BASELINE)]
    maps = [
        read_run(runner.path(row, 0)).fusions[fusion]["mAP"]
        for row, fusion in ((MCAR, "max"), (BASELINE, "mean"))
    ]
    assert found["mAP"] == pytest.approx(maps[0] - maps[1])
    one, other = (read_scores(runner.path(row, 0)) for row in (MCAR, BASELINE))
    ends = bootstrap_difference(
        one.fused("max"), other.fused("mean"), one.targets, runner.resamples
    )
    assert found["interval"] == pytest.approx([100 * end for end in ends])


def test_no_difference_without_scores_or_to_the_same_run(make_runner):
    told = []
    runner = replace(make_runner(), tell=told.append)
    for row in (BASELINE, DID):
        runner.run(row, 0)
    runner.compare(DID, DID, 0)
    runner.path(BASELINE, 0).with_suffix(".npz").unlink()
    told.clear()
    runner.compare(DID, BASELINE, 0)
    assert read_run(runner.path(DID, 0)).differences == {}
    assert len(told) == 1
    assert "top_n-0.s0.npz is missing" in told[0]


def test_seeds_and_machines_are_merged_by_copying(make_runner, tmp_path):
    plan = Experiment("Systems", (BASELINE, DID, MCAR))
    make_runner(runs="whole").run_all(plan, plan.rows, (0, 3))
    make_runner(runs="one").run_all(plan, (BASELINE,), (0,))
    make_runner(runs="two").run_all(plan, (MCAR, DID), (0,))
    make_runner(runs="three").run_all(plan, (BASELINE, DID), (3,))
    for part in ("one", "two", "three"):
        shutil.copytree(tmp_path / part, tmp_path / "merged", dirs_exist_ok=True)
    assert files(tmp_path / "merged").keys() == files(tmp_path / "whole").keys()
    steps = Steps()
    make_runner(steps, runs="merged").run_all(plan, plan.rows, (0, 3))  # the missing differences
    assert steps.total == 0
    for row, seed in ((BASELINE, 0), (BASELINE, 3), (DID, 0), (DID, 3)):
        whole, merged = (
            read_run(make_runner(runs=name).path(row, seed)) for name in ("whole", "merged")
        )
        assert merged == whole
        assert len(whole.differences) == 2 * (row is not BASELINE)  # of two fusions


def test_a_row_that_cannot_be_trained_does_not_end_an_experiment(make_runner, monkeypatch):
    def fail(config, observer):
        if config.model.method.top_n:
            raise TrainingError("the loss is not finite at step 1")
        return train(config, observer)

    monkeypatch.setattr("didvit.experiments.trainer.train", fail)
    runner = make_runner()
    rows = possible_rows(PLAN, runner.benchmarks)
    failures = runner.run_all(PLAN, rows, (0,))
    assert failures == [
        f"{name}, seed 0: the loss is not finite at step 1" for name in ("DiD", "MCAR")
    ]
    names = {path.name for path in (runner.runs / "coco").glob("*.json")}
    assert names == {
        *("top_n-0.s0.json", "top_n-0.equal_passes.s0.json"),
        "top_n-0.scored.top_n-2.s0.json",
    }


def test_a_run_says_what_it_was_made_with(make_runner):
    runner = make_runner()
    runner.run(DID, 0)
    content = json.loads(runner.path(DID, 0).read_text())
    assert content["settings"]["schedule"]["steps"] == 2
    assert content["versions"]["torch"]
    assert set(content["data"]) == {"train", "val", "test"}
    assert content["num_images"] == 16
