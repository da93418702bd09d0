"""The harness on colored squares: a row is trained once, whoever asks for it, and told of whole."""

import json
import re
import shlex
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import get_args

import matplotlib.figure
import numpy as np
import pytest
import safetensors.torch
import torch
import tyro
from filelock import FileLock
from PIL import Image

from didvit.checkpoint import load_checkpoint
from didvit.config import ConfigError, DataConfig, ModelConfig, TrainConfig
from didvit.data.images import ImageError
from didvit.data.table import DataError
from didvit.experiments.benchmarks import SCALES, Benchmark
from didvit.experiments.boxes import DATA
from didvit.experiments.command import Name, experiment
from didvit.experiments.figures import _draw_curves
from didvit.experiments.measures import difference
from didvit.experiments.plans import EXPERIMENTS, Experiment, Row
from didvit.experiments.results import (
    difference_text,
    markdown,
    results_json,
    rows_at,
    with_earlier,
    write_results,
)
from didvit.experiments.running import Runner
from didvit.experiments.trainer import digest
from didvit.heads.labels import LabelEmbeddingError
from didvit.learner import build_start
from didvit.metrics import bootstrap_difference
from didvit.training import TrainingError, TrainingObserver, read_tables, train

TINY = ModelConfig(
    "test_vit", weights="random", image_size=(32, 48), top_n=2, view_scale=1.0, tiles=0
)
ROWS = (
    Row("Baseline", {"top_n": 0}, {"mAP": 85.1}),
    Row("Baseline", {"top_n": 0}, {"mAP": 85.1}, budget="looks"),
    Row("DiD", {"top_n": 2}, {"mAP": 86.4, "CP all": 84.8}),
    Row("MCAR", {"top_n": 2, "fusion": "max"}),
    Row("again", {"top_n": 0}, scored_with={"top_n": 2}),
    Row("of another scale", data="voc2012"),
    Row("Start", budget="start"),
)
PLAN = Experiment("Systems", ROWS, "Nothing.", pairs=((("DiD", "steps"), ("again", "steps")),))


class Steps(TrainingObserver):
    """Counts the steps of all runs; may be told to die at one."""

    def __init__(self, fatal: int | None = None):
        self.total, self.fatal = 0, fatal

    def step(self, step, *arguments):
        if self.total == self.fatal:
            raise KeyboardInterrupt
        self.total += 1


@pytest.fixture
def make_runner(squares, tmp_path, without_curves):
    def make(steps, start=True, cache="cache"):
        root = squares[0].parents[1]
        train, val = (str(path.relative_to(root)) for path in squares)
        config = TrainConfig(
            DataConfig((train,), val, workers=0),
            tmp_path,
            TINY,
            steps=2,
            global_steps=0,
            batch_size=4,
            save_every=1,
            freeze_backbone=False,
            choose="last",
        )
        begin = replace(config, model=replace(TINY, top_n=0), steps=3) if start else None
        return Runner(
            benchmarks={"coco": Benchmark("colored squares", config, val, begin)},
            root=root,
            cache=tmp_path / cache,
            device="cpu",
            resamples=20,
            observe=lambda config: nullcontext(steps),
        )

    return make


def test_a_row_is_trained_once_and_scored_once(make_runner):
    steps = Steps()
    runner = make_runner(steps)
    first = runner.run(ROWS[2], 0)
    assert steps.total == 3 + 2  # the start, and the row
    again = runner.run(ROWS[2], 0)
    assert steps.total == 5
    assert np.array_equal(first.scores.local_logits, again.scores.local_logits)
    assert (first.validation, first.config) == (again.validation, again.config)
    runner.run(ROWS[3], 0)  # differs in its fusion alone
    assert steps.total == 5
    runner.run(ROWS[0], 0)
    assert steps.total == 7
    runner.run(ROWS[4], 0)  # the same weights, looked at in another way
    assert steps.total == 7
    runner.run(ROWS[1], 0)  # 2 steps of 5 looks, for one look each
    assert steps.total == 7 + 10
    runner.run(ROWS[0], 1)
    assert steps.total == 17 + 2


@pytest.mark.parametrize("row", [ROWS[2], ROWS[4]], ids=lambda row: row.name)
def test_validation_scores_are_of_the_validation_images(make_runner, row):
    runner = make_runner(Steps())
    same = runner.run(row, 0)  # its test images are the validation images
    fusions = same.report["fusions"]
    assert same.validation == {name: fusions[name]["mAP"] for name in fusions}
    benchmark = runner.benchmarks["coco"]
    other = replace(
        runner, benchmarks={"coco": replace(benchmark, test=benchmark.config.data.train[0])}
    )
    outcome = other.run(row, 0)
    assert len(outcome.scores.targets) != len(same.scores.targets)
    assert outcome.validation == same.validation


def test_another_command_at_the_same_row_is_waited_for(make_runner):
    runner, said = make_runner(Steps(), start=False), []
    held = FileLock(runner.trained(ROWS[0], 0).with_suffix(".lock"))
    held.acquire()

    def tell(message):
        said.append(message)
        held.release()

    waiting = replace(runner, tell=tell)
    waiting.trained(ROWS[0], 0)
    assert len(said) == 1
    assert "waiting for another command" in said[0]


def test_all_rows_begin_with_the_backbone_of_the_start(make_runner):
    runner = make_runner(Steps())
    benchmark = runner.benchmarks["coco"]
    at_rest = replace(
        runner,
        benchmarks={
            "coco": replace(benchmark, config=replace(benchmark.config, learning_rate=1e-12))
        },
    )
    expected = safetensors.torch.load_file(runner.start(benchmark.start))
    for row in (ROWS[0], ROWS[2], Row("CSRA", {"head": "csra", "top_n": 0})):
        vit = load_checkpoint(at_rest.trained(row, 0)).model.backbone.vit
        state = vit.state_dict()
        assert state.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(state[name], value, rtol=0, atol=1e-6)


def test_the_start_itself_may_be_a_row(make_runner):
    steps = Steps()
    runner = make_runner(steps)
    start, looking_again = (
        runner.run(replace(ROWS[6], scored_with=scored_with), seed)
        for seed, scored_with in ((0, {}), (1, {"top_n": 2}))
    )
    assert steps.total == 3
    assert start.config == runner.benchmarks["coco"].start
    model = load_checkpoint(start.scored.parent).model
    backbone = safetensors.torch.load_file(runner.start(start.config))
    torch.testing.assert_close(dict(model.backbone.vit.state_dict()), backbone)
    assert np.allclose(start.scores.global_logits, looking_again.scores.global_logits, atol=1e-5)
    assert not np.allclose(start.scores.local_logits, looking_again.scores.local_logits)
    runner = make_runner(Steps(), start=False)
    assert ROWS[6] not in rows_at(PLAN, runner.benchmarks)


def first_head(runner, config):
    """The weights that a row's head begins with, one row of numbers to a label."""
    torch.manual_seed(config.seed if config.init_seed is None else config.init_seed)
    table, _ = read_tables(replace(config.data, root=runner.root))
    model = build_start(replace(config, model=replace(config.model, weights="random")), table)
    return model.head.projection.weight.flatten(1)


@pytest.mark.parametrize("seed", [0, 1, 5])
@pytest.mark.parametrize(("new_heads", "expected"), [(True, 0), (False, 1)])
def test_a_new_head_is_not_the_one_that_the_start_fits(make_runner, seed, new_heads, expected):
    runner = make_runner(Steps())
    benchmark = replace(runner.benchmarks["coco"], new_heads=new_heads)
    runner = replace(runner, benchmarks={"coco": benchmark})
    config = runner.config_of(ROWS[2], seed)
    heads = (first_head(runner, c) for c in (config, benchmark.start))
    cosines = torch.nn.functional.cosine_similarity(*heads)
    assert torch.allclose(cosines, torch.full_like(cosines, expected), atol=0.4)
    assert config.seed == runner.config_of(ROWS[0], seed).seed


def test_rows_of_different_seeds_have_different_seeds_in_training(make_runner):
    runner = make_runner(Steps())
    kept = replace(runner.benchmarks["coco"], new_heads=False)
    for benchmark in (runner.benchmarks["coco"], kept):
        configs = [
            replace(runner, benchmarks={"coco": benchmark}).config_of(ROWS[0], s) for s in (0, 1, 2)
        ]
        assert len({config.seed for config in configs}) == 3


@pytest.mark.parametrize("fatal", [0, 2, 3, 4])
def test_an_interrupted_row_goes_on_and_ends_the_same(make_runner, fatal):
    expected = make_runner(Steps(), cache="whole").run(ROWS[2], 0)
    with pytest.raises(KeyboardInterrupt):
        make_runner(Steps(fatal)).run(ROWS[2], 0)
    steps = Steps()
    outcome = make_runner(steps).run(ROWS[2], 0)
    assert np.array_equal(outcome.scores.global_logits, expected.scores.global_logits)
    assert np.array_equal(outcome.scores.local_logits, expected.scores.local_logits)
    assert steps.total <= 5 - max(fatal - 1, 0)


def test_an_interrupted_row_goes_on_in_a_cache_that_was_moved(make_runner, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        make_runner(Steps(fatal=4)).run(ROWS[2], 0)  # in the row, behind its first step
    (tmp_path / "cache").rename(tmp_path / "moved")
    steps = Steps()
    make_runner(steps, cache="moved").run(ROWS[2], 0)
    assert steps.total == 1


def test_looking_again_at_test_time_alone_leaves_the_global_branch(make_runner):
    runner = make_runner(Steps())
    plain, again = runner.run(ROWS[0], 0), runner.run(ROWS[4], 0)
    assert np.allclose(plain.scores.global_logits, again.scores.global_logits, atol=1e-5)
    assert np.array_equal(plain.scores.local_logits, plain.scores.global_logits)
    assert not np.allclose(again.scores.local_logits, again.scores.global_logits)


def tell(plan, outcomes, runner, failed=None):
    compare, benchmarks = runner.difference, runner.benchmarks
    return results_json("systems", "tiny", plan, outcomes, benchmarks, compare, failed)


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_results(make_runner, tmp_path, seeds):
    runner = make_runner(Steps())
    rows = rows_at(PLAN, runner.benchmarks)
    assert rows == [*ROWS[:5], ROWS[6]]
    references = {seed: runner.run(rows[0], seed) for seed in seeds}
    outcomes = [
        references[seed] if row is rows[0] else runner.run(row, seed, references[seed])
        for row in rows
        for seed in seeds
    ]
    results = tell(PLAN, outcomes, runner)
    write_results(tmp_path, results)
    assert json.loads((tmp_path / "systems-tiny.json").read_text()) == results
    assert (results["not_at_this_scale"], results["to_come"]) == (["of another scale"], [])
    assert results["rows"][3]["settings"]["model"]["fusion"] == "max"
    looks = [[1, 1], [1, 1], [3, 3], [3, 3], [1, 3], [1, 1]]
    assert [row["looks"] for row in results["rows"]] == looks
    assert [len(row["runs"]) for row in results["rows"]] == [len(seeds)] * 6
    assert {row["reference"] for row in results["rows"]} == {"Baseline"}
    assert [row["steps"] for row in results["rows"]] == [2, 10, 2, 2, 2, 0]
    assert results["starts"]["coco"]["steps"] == 3
    (pair,) = results["pairs"]
    assert pair["rows"] == ["DiD (steps)", "again (steps)"]
    maps = [
        [run["fusions"]["mean"]["mAP"] for run in row["runs"]]
        for row in (results["rows"][2], results["rows"][4])
    ]
    expected = [one - other for one, other in zip(*maps, strict=True)]
    assert [run["difference"]["mAP"] for run in pair["runs"]] == pytest.approx(expected)
    text = (tmp_path / "systems-tiny.md").read_text()
    assert text == markdown(results)
    assert "| DiD | top_n 2 | 2 | 3, 3 | 86.4 |" in text
    assert "| again | top_n 0; scored with top_n 2 | 2 | 1, 3 |" in text
    assert f" | {difference_text(results['rows'][2], len(seeds))} | " in text
    assert f"| DiD (steps) less again (steps) | {difference_text(pair, len(seeds))} |" in text
    assert (f"{len(seeds)} seeds" in text) == (len(seeds) > 1)
    assert "(84.8)" in text  # CP of table 1
    assert "Not at this scale: of another scale." in text
    own = {row["name"]: row["fusion"] for row in results["rows"]}
    assert own["MCAR"] == "max"
    with Image.open(tmp_path / "systems-tiny.png") as picture:
        assert picture.format == "PNG"


def test_a_difference_is_told_from_the_reference_over_the_same_images(make_runner):
    runner = make_runner(Steps(), start=False)
    reference, other = runner.run(ROWS[0], 0), runner.run(ROWS[3], 0)
    assert (reference.difference, other.difference) == (None, None)
    compared = runner.run(ROWS[3], 0, reference).difference
    maps = (o.report["fusions"][o.fusion]["mAP"] for o in (other, reference))
    assert compared.mAP == pytest.approx(next(maps) - next(maps))
    targets = reference.scores.targets
    ends = bootstrap_difference(other.logits, reference.logits, targets, runner.resamples)
    assert compared.interval == pytest.approx([100 * end for end in ends])
    assert compared.interval.low < compared.interval.high
    assert runner.run(ROWS[0], 0, reference).difference == (0, (0, 0))


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([None], None),
        ([(1.0, -1.0, 2.0)], (1.0, -1.0, 2.0)),
        ([(1.0, -1.0, 2.0), None], (1.0, -1.0, 2.0)),
        ([(1.0, -1.0, 2.0), (3.0, 0.0, 9.0)], (2.0, 1.0, 3.0)),
    ],
)
def test_a_difference_is_over_the_seeds_that_both_have(runs, expected):
    row = {"runs": [{"difference": r and {"mAP": r[0], "interval": list(r[1:])}} for r in runs]}
    assert difference(row) == expected


@pytest.mark.parametrize(
    ("compared", "seeds", "expected"),
    [
        ([0], 1, "+1.0 (-1.0 to +2.0)"),
        ([0], 3, "+1.0 (-1.0 to +2.0), seed 0"),
        ([4], 2, "+1.0 (-1.0 to +2.0), seed 4"),
        ([0, 1, 2], 3, "+1.0 (+1.0 to +1.0), 3 seeds"),
        ([], 3, ""),
    ],
)
def test_a_difference_in_words(compared, seeds, expected):
    """A row of three seeds, of which the reference has some."""
    known = {"mAP": 1.0, "interval": [-1.0, 2.0]}
    runs = [{"seed": s, "difference": known if s in compared else None} for s in (0, 1, 2, 4)]
    assert difference_text({"runs": runs}, seeds) == expected


def test_rows_are_compared_with_the_reference_of_their_data():
    table_2 = EXPERIMENTS["table2"]
    for row in table_2.rows:
        assert table_2.reference(row).name == f"DiD, {row.name[-8:]}"
    assert EXPERIMENTS["order"].reference(EXPERIMENTS["order"].rows[1]).name == "last block first"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_reference_is_a_row(name):
    """And one alone: names stand for rows here."""
    names = [row.name for row in EXPERIMENTS[name].rows]
    assert all(names.count(reference) == 1 for reference in EXPERIMENTS[name].references)


def test_a_sweep_is_drawn_as_curves(make_runner, tmp_path):
    rows = tuple(Row(f"{x}", {"box_threshold": x}, curve="λ", x=x) for x in (0.3, 0.6))
    plan, runner = Experiment("Sweep", rows), make_runner(Steps(), start=False)
    first = runner.run(rows[0], 0)
    outcomes = [first, runner.run(rows[1], 0, first)]
    write_results(tmp_path, tell(plan, outcomes, runner))
    assert (tmp_path / "systems-tiny.png").exists()


def drawn_below(results, monkeypatch):
    """The differences that a sweep's figure shows: places and values."""
    drawn = []
    monkeypatch.setattr(
        "matplotlib.axes.Axes.errorbar", lambda axes, x, y, *others, **kept: drawn.append((x, y))
    )
    figure = matplotlib.figure.Figure()
    _draw_curves(figure, results, ["λ"])
    return [(list(x), list(y)) for x, y in drawn[1:]]


def test_the_reference_of_a_sweep_is_drawn_at_zero(monkeypatch):
    def row(name, x, difference):
        fusions = {"mean": {"mAP": 50.0, "mAP_interval": [49.0, 51.0]}}
        runs = [{"seed": 0, "fusions": fusions, "difference": difference}]
        return {
            "name": name, "x": x, "curve": "λ", "reference": "one", "fusion": "mean", "runs": runs
        }  # fmt: skip

    one, two = row("one", 1, None), row("two", 2, {"mAP": -3.0, "interval": [-4.0, -2.0]})
    assert drawn_below({"rows": [one, two]}, monkeypatch) == [([1, 2], [0, -3.0])]
    # Where the reference could not be trained, there is nothing to show.
    two["runs"][0]["difference"] = None
    assert drawn_below({"rows": [two]}, monkeypatch) == []


def test_unset_settings_are_no_part_of_the_digest():
    settings = {"model": {"top_n": 4}, "steps": 3}
    assert digest(settings) == digest({"model": {"top_n": 4, "csra_heads": None}, "steps": 3})
    others = ({"top_n": 4, "csra_weight": 0.0}, {"top_n": 0}, {})
    assert len({digest({"model": model, "steps": 3}) for model in others} | {digest(settings)}) == 4


def test_other_data_is_another_result(make_runner, tmp_path):
    steps = Steps()
    runner = make_runner(steps, start=False)
    moved = tmp_path / "moved"
    shutil.copytree(runner.root, moved)
    elsewhere = replace(runner, root=moved, _known={})
    before = runner.run(ROWS[0], 0)
    assert np.array_equal(elsewhere.run(ROWS[0], 0).scores.targets, before.scores.targets)
    assert steps.total == 2  # the same data, wherever they lie
    table = moved / runner.benchmarks["coco"].test
    table.write_text("\n".join(table.read_text().splitlines()[:9]) + "\n")
    fewer = replace(elsewhere, _known={}).run(ROWS[0], 0)
    assert len(fewer.scores.targets) == 8
    assert steps.total == 4


def test_what_is_missing_is_said_before_anything_is_trained(make_runner, tmp_path):
    steps = Steps()
    with pytest.raises(DataError, match="nowhere"):
        replace(make_runner(steps), root=tmp_path / "nowhere").check(ROWS[:2])
    row = Row("ML-GCN", {"head": "ml_gcn", "label_embeddings": "absent.txt"})
    with pytest.raises(LabelEmbeddingError, match=r"absent\.txt"):
        make_runner(steps).check([row])
    assert steps.total == 0


@pytest.mark.parametrize("name", ["table1", "table2"])
def test_the_real_data_of_the_cpu_scale_fit(coco18, tmp_path, name):
    """Training, validation and test images of every row have the same labels."""
    benchmarks = SCALES["cpu"]
    runner = Runner(benchmarks=benchmarks, root=coco18.parent, cache=tmp_path)
    runner.check(rows_at(EXPERIMENTS[name], benchmarks))


@pytest.mark.parametrize("value", [3.0, 80.0])
def test_an_interval_beside_its_value_is_drawn(make_runner, tmp_path, value):
    runner = make_runner(Steps(), start=False)
    for row in (ROWS[0], Row("sweep", {"top_n": 0}, curve="λ", x=0.5)):
        plan = Experiment("One", (row,))
        results = tell(plan, [runner.run(row, 0)], runner)
        for fusion in results["rows"][0]["runs"][0]["fusions"].values():
            fusion["mAP_interval"] = [value, value + 1]
        write_results(tmp_path, results)


# The command


def run_command(*arguments):
    return tyro.cli(experiment, args=[str(argument) for argument in arguments])


@pytest.fixture
def tiny_scale(make_runner, monkeypatch):
    """The runner whose benchmark is that of the scale 'cpu', for tables and for ablations."""
    runner = make_runner(Steps())
    runner.benchmarks["coco-256"] = runner.benchmarks["coco"]
    monkeypatch.setitem(SCALES, "cpu", runner.benchmarks)
    return runner


def test_the_command_writes_what_it_prints(tiny_scale, tmp_path, capsys):
    out, cache = tmp_path / "out", tmp_path / "runs"
    places = ["--root", tiny_scale.root, "--output", out, "--cache", cache, "--device", "cpu"]
    arguments = ["order", *places, "--resamples", 20, "--seeds", 0, 3]
    assert run_command(*arguments) == 0
    assert capsys.readouterr().out.strip() == (out / "order-cpu.md").read_text().strip()
    results = json.loads((out / "order-cpu.json").read_text())
    assert [run["seed"] for run in results["rows"][0]["runs"]] == [0, 3]
    known = [[bool(run["difference"]) for run in row["runs"]] for row in results["rows"]]
    assert known == [[False, False], [True, True]]
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*.npz")}
    assert len(before) == 4
    run_command(*arguments)
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.npz")} == before


def test_rows_that_cost_much_are_not_repeated(tiny_scale, tmp_path, monkeypatch):
    monkeypatch.setitem(EXPERIMENTS, "order", Experiment("Costs", (ROWS[0], ROWS[2])))
    places = ["--root", tiny_scale.root, "--output", tmp_path, "--cache", tmp_path / "runs"]
    options = ["--device", "cpu", "--resamples", 20, "--seeds", 0, 3, "--repeat-limit", 5.9]
    run_command("order", *places, *options)
    results = json.loads((tmp_path / "order-cpu.json").read_text())
    seeds = [[run["seed"] for run in row["runs"]] for row in results["rows"]]
    assert seeds == [[0, 3], [0]]  # 2 steps of 1 look, and of 3
    assert (results["seeds"], results["repeat_limit"], results["resamples"]) == ([0, 3], 5.9, 20)
    plan = Experiment("Costs", (ROWS[0], ROWS[2]), references=("DiD",))
    monkeypatch.setitem(EXPERIMENTS, "order", plan)
    run_command("order", *places, *options)
    results = json.loads((tmp_path / "order-cpu.json").read_text())
    seeds = [[run["seed"] for run in row["runs"]] for row in results["rows"]]
    assert seeds == [[0, 3], [0, 3]]  # what others are compared with has all


def test_rows_that_cost_much_are_kept(tiny_scale, tmp_path, monkeypatch):
    """A seed on every machine: what is trained once is trained by the first."""
    monkeypatch.setitem(EXPERIMENTS, "order", Experiment("Costs", (ROWS[0], ROWS[2])))
    places = ["--root", tiny_scale.root, "--output", tmp_path, "--cache", tmp_path / "runs"]
    options = [*places, "--device", "cpu", "--resamples", 20, "--repeat-limit", 5.9, "--keep"]
    for seed in (0, 3):
        run_command("order", *options, "--seeds", seed)
    results = json.loads((tmp_path / "order-cpu.json").read_text())
    assert [[run["seed"] for run in row["runs"]] for row in results["rows"]] == [[0, 3], [0]]


def test_the_start_is_no_row_of_several_seeds(tiny_scale, tmp_path, monkeypatch):
    monkeypatch.setitem(EXPERIMENTS, "order", Experiment("Starts", (ROWS[0], ROWS[6])))
    places = ["--root", tiny_scale.root, "--output", tmp_path, "--cache", tmp_path / "runs"]
    run_command("order", *places, "--device", "cpu", "--resamples", 20, "--seeds", 0, 3)
    results = json.loads((tmp_path / "order-cpu.json").read_text())
    seeds = [[run["seed"] for run in row["runs"]] for row in results["rows"]]
    assert seeds == [[0, 3], [0]]


def test_rows_may_be_chosen(tiny_scale, tmp_path, monkeypatch):
    """Whatever others need that is not here, and with those that the cache has."""
    monkeypatch.setitem(EXPERIMENTS, "order", Experiment("Systems", ROWS))
    absent = replace(tiny_scale.benchmarks["coco"], test="absent.csv")
    monkeypatch.setitem(tiny_scale.benchmarks, "voc2012", absent)
    places = ["--root", tiny_scale.root, "--output", tmp_path, "--cache", tmp_path / "runs"]
    options = [*places, "--device", "cpu", "--resamples", 20]
    run_command("order", *options, "--rows", "DiD")
    results = json.loads((tmp_path / "order-cpu.json").read_text())
    names = [(row["name"], row["budget"]) for row in results["rows"]]
    assert names == [("Baseline", "steps"), ("DiD", "steps")]
    absent = ["of another scale (steps)", "Start (start)"]
    assert results["to_come"] == ["Baseline (looks)", "MCAR (steps)", "again (steps)", *absent]
    run_command("order", *options, "--rows", "again")
    results = json.loads((tmp_path / "order-cpu.json").read_text())
    assert len(results["rows"]) == 4  # with those that the cache has; MCAR's scores are DiD's
    assert results["to_come"] == ["Baseline (looks)", *absent]
    run_command("order", *options, "--rows", "Baseline (looks)")
    results = json.loads((tmp_path / "order-cpu.json").read_text())
    assert results["to_come"] == absent
    message = (
        r"'Did' is no row of order; expected of 'Baseline \(steps\)', 'Baseline \(looks\)', 'DiD'"
    )
    with pytest.raises(ConfigError, match=message):
        run_command("order", *options, "--rows", "DiD", "Did")


def without_times(results):
    """What must not depend on which command, or machine, made which run."""
    rows = [
        {**row, "runs": [{**run, "seconds": None} for run in row["runs"]]}
        for row in results["rows"]
    ]
    return {**results, "rows": rows, "seeds": None, "chosen": None, "kept": None}


def test_results_of_another_machine_are_kept(tiny_scale, tmp_path, monkeypatch):
    """Seed by seed, without a common cache, as all seeds at once."""
    plan = Experiment("Systems", (ROWS[0], ROWS[2], ROWS[4], ROWS[6]), pairs=PLAN.pairs)
    monkeypatch.setitem(EXPERIMENTS, "order", plan)
    options = ["--root", tiny_scale.root, "--device", "cpu", "--resamples", 20]

    def run(output, cache, *arguments):
        places = ["--output", tmp_path / output, "--cache", tmp_path / cache]
        run_command("order", *options, *places, *arguments)
        results = json.loads((tmp_path / output / "order-cpu.json").read_text())
        assert (tmp_path / output / "order-cpu.md").read_text() == markdown(results)
        return results

    base = {"repeat_limit": None, "resamples": 20}
    one = run("parts", "one", "--keep", "--rows", "DiD", "Start")  # nothing to keep yet
    assert (one["to_come"], "kept" in one) == (["again (steps)"], False)
    both = run("parts", "two", "--seeds", 3, "--keep")
    assert both["kept"] == [{"seeds": [0], "chosen": ["DiD", "Start"], **base}]
    assert [[r["seed"] for r in row["runs"]] for row in both["rows"]] == [[0, 3], [0, 3], [3], [0]]
    assert both["to_come"] == []
    run("parts", "three", "--rows", "DiD", "again", "--keep")  # again with what it is paired with
    again = run("parts", "three", "--rows", "DiD", "again", "--keep")
    assert len(again["kept"]) == 2  # a command that goes on is one
    rows = [row for row in again["rows"] if row["budget"] != "start"]
    whole = run("whole", "four", "--seeds", 0, 3)
    assert without_times({**again, "rows": rows}) == without_times(
        {**whole, "rows": whole["rows"][:3], "kept": None}
    )


@pytest.mark.parametrize(
    ("edit", "arguments", "message"),
    [
        ({"name": "Did"}, [], "has 'Did' with seed 0 of other settings or data"),
        ({"runs": [{"seed": 0, "folder": "of old"}]}, [], "has 'Baseline' with seed 0 of other"),
        ({}, ["--accumulate", 2], "has 'Baseline' with seed 0 of other settings"),
        ({}, ["--resamples", 21], "expected --resamples 20 with it, not 21"),
    ],
)
def test_results_of_other_settings_are_not_kept(
    tiny_scale, tmp_path, monkeypatch, edit, arguments, message
):
    monkeypatch.setitem(EXPERIMENTS, "order", Experiment("Systems", ROWS[:1]))
    places = ["--root", tiny_scale.root, "--output", tmp_path, "--cache", tmp_path / "runs"]
    command = ["order", *places, "--device", "cpu", "--resamples", 20]
    run_command(*command)
    path = tmp_path / "order-cpu.json"
    results = json.loads(path.read_text())
    results["rows"][0] |= edit
    path.write_text(json.dumps(results))
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=message):
        run_command(*command, "--keep", "--seeds", 1, *arguments)
    assert path.read_bytes() == before
    path.write_bytes(before[:-9])
    with pytest.raises(ConfigError, match=r"order-cpu\.json is no JSON"):
        run_command(*command, "--keep", "--seeds", 1)


@pytest.mark.parametrize("part", ["test", "train"])
def test_results_of_other_data_are_not_kept(tiny_scale, tmp_path, monkeypatch, part):
    monkeypatch.setitem(EXPERIMENTS, "order", Experiment("Systems", ROWS[:1]))
    root, benchmark = tmp_path / "root", tiny_scale.benchmarks["coco"]
    shutil.copytree(tiny_scale.root, root)
    train, test = root / benchmark.config.data.train[0], (root / benchmark.test).parent / "test.csv"
    shutil.copy(root / benchmark.test, test)
    other = replace(benchmark, test=str(test.relative_to(root)))
    monkeypatch.setitem(tiny_scale.benchmarks, "coco", other)
    places = ["--root", root, "--output", tmp_path, "--cache", tmp_path / "runs"]
    command = ["order", *places, "--device", "cpu", "--resamples", 20]
    run_command(*command)
    run_command(*command, "--keep")  # the same data
    table = {"test": test, "train": train}[part]
    table.write_text("\n".join(table.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(ConfigError, match="has 'Baseline' with seed 0 of other settings or data"):
        run_command(*command, "--keep", "--seeds", 1)


def test_what_is_kept_where_a_reference_or_row_fails():
    def results(seed, sum_difference, failed):
        runs = {
            "none": [{"seed": seed, "difference": None}],
            "sum": [{"seed": seed, "difference": sum_difference}],
        }
        rows = [
            {"name": name, "budget": "steps", "runs": runs[name]}
            for name in runs
            if f"{name} (steps)" not in failed
        ]
        keys = {"pairs": [], "starts": {}, "to_come": [], "seeds": [seed]}
        return {"rows": rows, "failed": failed, "repeat_limit": None, "resamples": 20, **keys}

    plan = Experiment("Systems", (Row("none"), Row("sum")))
    known = {"mAP": 1.0, "interval": [0.0, 2.0]}
    without_reference = results(0, None, {"none (steps)": "not finite"})
    merged = with_earlier(without_reference, results(0, known, {}), plan)
    assert merged["rows"][1]["runs"] == [{"seed": 0, "difference": known}]
    failed = results(1, None, {"sum (steps)": "not finite"})
    merged = with_earlier(failed, results(0, known, {}), plan)
    assert [len(row["runs"]) for row in merged["rows"]] == [2, 1]
    assert merged["failed"] == {"sum (steps)": "not finite"}
    alone = {**results(2, known, {}), "rows": results(2, known, {})["rows"][:1]}
    assert with_earlier(alone, merged, plan)["failed"] == {"sum (steps)": "not finite"}
    assert with_earlier(results(1, known, {}), merged, plan)["failed"] == {}


def test_a_row_that_cannot_be_trained_does_not_end_a_table(tiny_scale, tmp_path, monkeypatch):
    monkeypatch.setitem(EXPERIMENTS, "order", Experiment("Systems", (ROWS[0], ROWS[2])))

    def fail(config, observer):
        if config.model.top_n:
            raise TrainingError("the loss is not finite at step 1")
        return train(config, observer)

    monkeypatch.setattr("didvit.experiments.trainer.train", fail)
    places = ["--root", tiny_scale.root, "--output", tmp_path, "--cache", tmp_path / "runs"]
    assert run_command("order", *places, "--device", "cpu", "--resamples", 20) == 0
    results = json.loads((tmp_path / "order-cpu.json").read_text())
    assert [row["name"] for row in results["rows"]] == ["Baseline"]
    assert results["failed"] == {"DiD (steps)": "the loss is not finite at step 1"}
    assert results["to_come"] == []
    said = "DiD (steps) could not be trained: the loss is not finite at step 1"
    assert said in (tmp_path / "order-cpu.md").read_text()
    monkeypatch.setitem(EXPERIMENTS, "order", Experiment("Systems", (ROWS[2],)))
    with pytest.raises(TrainingError, match="no row of order could be trained: the loss"):
        run_command("order", *places, "--device", "cpu", "--resamples", 20)


def test_options_of_training_reach_the_rows(tiny_scale, tmp_path, monkeypatch):
    monkeypatch.setitem(EXPERIMENTS, "order", Experiment("Systems", ROWS[:1]))
    seen = []

    def spy(config, observer):
        seen.append(config)
        return train(config, observer)

    monkeypatch.setattr("didvit.experiments.trainer.train", spy)
    places = ["--root", tiny_scale.root, "--output", tmp_path, "--cache", tmp_path / "runs"]
    options = ["--device", "cpu", "--resamples", 20]
    options += ["--precision", "bf16-mixed", "--accumulate", 2, "--activation-checkpointing"]
    run_command("order", *places, *options, "--workers", 1)
    row = seen[-1]
    assert (row.precision, row.accumulate, row.activation_checkpointing) == ("bf16-mixed", 2, True)
    assert row.data.workers == 1
    results = json.loads((tmp_path / "order-cpu.json").read_text())
    assert results["rows"][0]["settings"]["precision"] == "bf16-mixed"


def test_intervals_are_computed_once(make_runner, monkeypatch):
    runner = make_runner(Steps(), start=False)
    first = runner.run(ROWS[2], 0, runner.run(ROWS[0], 0))

    def fail(*arguments):
        raise AssertionError

    monkeypatch.setattr("didvit.experiments.running.report", fail)
    monkeypatch.setattr("didvit.experiments.running.bootstrap_difference", fail)
    again = runner.run(ROWS[2], 0, runner.run(ROWS[0], 0))
    assert (first.report, first.difference) == (again.report, again.difference)
    with pytest.raises(AssertionError):
        replace(runner, resamples=21).run(ROWS[2], 0)


def test_a_table_says_which_rows_have_several_seeds(make_runner):
    runner = make_runner(Steps(), start=False)
    outcomes = [runner.run(ROWS[0], 0), runner.run(ROWS[0], 1), runner.run(ROWS[2], 0)]
    results = tell(PLAN, outcomes, runner)
    maps = sorted(run["fusions"]["mean"]["mAP"] for run in results["rows"][0]["runs"])
    repeated, once = (
        next(line for line in markdown(results).splitlines() if line.startswith(f"| {name} "))
        for name in ("Baseline", "DiD")
    )
    assert f"| {sum(maps) / 2:.1f} | {maps[0]:.1f}-{maps[1]:.1f} (2 seeds) |" in repeated
    assert "seeds" not in once


@pytest.mark.parametrize("given", [False, True])
def test_the_command_draws_figure_3(tiny_scale, tmp_path, photographs, given):
    out = tmp_path / "out"
    arguments = ["--root", tiny_scale.root, "--output", out, "--cache", tmp_path / "runs"]
    arguments += ["--images", photographs] if given else []
    assert run_command("figure3", *arguments) == 0
    with Image.open(out / "figure3-cpu.jpg") as picture:
        assert picture.width > 1900


def test_figure_3_reads_its_images_before_anything_is_trained(tiny_scale, tmp_path):
    places = ["--root", tiny_scale.root, "--output", tmp_path, "--cache", tmp_path / "runs"]
    with pytest.raises(ImageError, match=r"absent\.png"):
        run_command("figure3", *places, "--images", tmp_path / "absent.png")
    assert not (tmp_path / "runs").exists()


def test_the_command_measures_boxes(coco18, tmp_path, save_tiny_model, capsys, monkeypatch):
    """On the real boxes, of a model that knows some of their labels."""
    monkeypatch.setitem(DATA, "cpu", ("VOCdevkit/VOC2007:test",))
    monkeypatch.setattr("didvit.experiments.boxes.SETTINGS", {"none": {"reconstraint": "none"}})
    model = save_tiny_model(tmp_path / "model", ("airplane", "cat", "person"))
    places = ["--root", coco18.parent, "--output", tmp_path, "--cache", tmp_path / "runs"]
    options = ["--model", model, "--resamples", 20]
    assert run_command("boxes", *places, *options) == 0
    results = json.loads((tmp_path / "boxes-model-cpu.json").read_text())
    names = [row["name"] for row in results["rows"]]
    assert names == ["none", "whole image", "center box of half the area"]
    assert results["rows"][1]["area"] == 100
    assert results["rows"][1]["coverage"]["overall"] == 100
    assert results["rows"][2]["area"] == pytest.approx(50, abs=1)
    text = (tmp_path / "boxes-model-cpu.md").read_text()
    assert capsys.readouterr().out.strip() == text.strip()
    assert "| whole image | " in text
    with Image.open(tmp_path / "boxes-model-cpu.png") as picture:
        assert picture.format == "PNG"
    (measured,) = (tmp_path / "runs").glob("boxes-*.json")
    before = measured.stat().st_mtime_ns
    run_command("boxes", *places, *options)  # goes on where it stopped: at the end
    assert measured.stat().st_mtime_ns == before
    assert json.loads((tmp_path / "boxes-model-cpu.json").read_text()) == results
    save_tiny_model(model, ("airplane", "cat", "person"), head="csra", csra_heads=1)
    run_command("boxes", *places, *options)
    assert len(list((tmp_path / "runs").glob("boxes-*.json"))) == 2
    config = json.loads((model / "config.json").read_text())
    config["model"]["csra_weight"] = 0.7  # of the same weights
    (model / "config.json").write_text(json.dumps(config))
    run_command("boxes", *places, *options)
    assert len(list((tmp_path / "runs").glob("boxes-*.json"))) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["order", "--seeds", "1", "1"], "--seeds"),
        (["boxes", "--seeds", "1"], "--seeds"),
        (["boxes", "--repeat-limit", "50"], "trains nothing"),
        (["boxes", "--rows", "none"], "expected no --rows"),
        (["boxes", "--accumulate", "2"], "expected no --accumulate"),
        (["boxes", "--activation-checkpointing"], "expected no --activation-checkpointing"),
        (["figure3", "--rows", "DiD"], "expected no --rows"),
        (["figure3", "--seeds", "0", "1", "--repeat-limit", "50"], "one row"),
        (["figure3", "--keep"], "expected no --keep"),
        (["boxes", "--keep"], "expected no --keep"),
        (["figure3", "--resamples", "20"], "measures nothing"),
        (["order", "--repeat-limit", "8"], "--repeat-limit"),
        (["figure3", "--seeds", "1", "2"], "one of --seeds"),
        (["order", "--images", "a.jpg"], "figure3"),
        (["order", "--model", "runs/mine"], "trains its own models"),
        (["order", "--resamples", "0"], "--resamples"),
        (["order"], "missing is no folder"),
    ],
)
def test_the_command_refuses(arguments, message):
    with pytest.raises(ConfigError, match=message):
        run_command(*arguments, "--root", "missing")


def test_the_command_has_every_experiment():
    assert set(get_args(Name)) == {*EXPERIMENTS, "figure3", "boxes"}


# The plans


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_rows_are_possible_and_different(scale, name, tmp_path):
    """Every row of every experiment makes a configuration that is not refused."""
    runner = Runner(benchmarks=SCALES[scale], root=tmp_path, cache=tmp_path)
    rows = rows_at(EXPERIMENTS[name], SCALES[scale])
    assert rows
    keys = set()
    for row in rows:
        config = runner.config_of(row, 0)
        keys.add((str(config), str(row.scored_with), row.model.get("fusion"), row.curve))
    assert len(keys) == len(rows)


def test_a_row_by_looks_has_the_looks_of_did():
    runner = Runner(benchmarks=SCALES["cpu"], root=None, cache=None)
    row = Row("Baseline", {"top_n": 0}, budget="looks")
    config, did = runner.config_of(row, 0), runner.config_of(Row("DiD"), 0)
    assert config.steps * 1 == did.steps * 5


def test_a_head_has_the_settings_of_its_benchmark():
    heads = {"csra": {"csra_heads": 2, "head_rate": 5.0}}
    benchmark = replace(SCALES["cpu"]["coco"], heads=heads)
    runner = Runner(benchmarks={"coco": benchmark}, root=None, cache=None)
    csra, other = (runner.config_of(Row("", {"head": head}), 0) for head in ("csra", "add_gcn"))
    assert (csra.model.csra_heads, csra.head_rate) == (2, 5)
    assert (other.model.csra_heads, other.head_rate) == (None, 1)


def test_the_papers_numbers():
    """As METHOD's list of them has it."""
    numbers = {
        name: {row.name: row.paper["mAP"] for row in EXPERIMENTS[name].rows if "mAP" in row.paper}
        for name in ("table1", "table2", "table3", "table4", "table5")
    }
    assert numbers == {
        "table1": {
            **{"Baseline": 85.1, "CSRA": 85.2, "ML-GCN": 83.0, "MS-CMA": 83.8, "SSGRL": 83.8},
            **{"ADD-GCN": 85.2, "MCAR": 83.8, "DiD": 86.4},
        },
        "table2": {
            **{"HCP, VOC 2007": 90.9, "SSGRL, VOC 2007": 95.0, "ADD-GCN, VOC 2007": 96.0},
            **{"DiD, VOC 2007": 96.2, "HCP, VOC 2012": 90.5, "SSGRL, VOC 2012": 94.8},
            **{"ADD-GCN, VOC 2012": 95.5, "DiD, VOC 2012": 96.8},
        },
        "table3": {"Baseline": 81.3, "hadamard": 83.2, "sum": 82.0, "none": 82.5},
        "table4": {"DiD's": 83.2, "MCAR's": 81.6, "random": 81.6},
        "table5": {"descending": 83.2, "ascending": 81.6, "random": 81.6},
    }


def test_the_papers_metrics_of_table_1():
    """All 13; F1 is the harmonic mean of precision and recall, but in SSGRL's row as printed."""
    rows = {row.name: row.paper for row in EXPERIMENTS["table1"].rows if len(row.paper) > 1}
    assert len(rows) == 8
    assert (rows["DiD"]["CP all"], rows["DiD"]["OF1 top-3"]) == (84.8, 79.0)
    assert all(len(paper) == 13 for paper in rows.values())
    for name, paper in rows.items():
        for kind in ("all", "top-3"):
            for c in "CO" if name != "SSGRL" else "O":
                precision, recall = paper[f"{c}P {kind}"], paper[f"{c}R {kind}"]
                f1 = 2 * precision * recall / (precision + recall)
                assert paper[f"{c}F1 {kind}"] == pytest.approx(f1, abs=0.11)


SYSTEMS = re.findall(
    r"^\| ([^|]+) \| `(--model[^`]+)`",
    (Path(__file__).parents[2] / "docs" / "systems.md").read_text(encoding="utf-8"),
    flags=re.MULTILINE,
)


@pytest.mark.parametrize(("name", "flags"), SYSTEMS)
def test_documented_settings_of_systems_are_those_of_table_1(name, flags):
    data = ["--data.train", "a.csv", "--data.val", "b.csv", "--output", "runs/a"]
    documented = tyro.cli(TrainConfig, args=[*shlex.split(flags), *data])
    runner = Runner(benchmarks=SCALES["paper"], root=None, cache=None)
    planned = EXPERIMENTS["table1"].row(name, "steps")
    row = runner.config_of(planned, 0)
    names = ["head", "top_n", "reconstraint", "localization"]
    if documented.model.top_n:  # the others look at no views
        names += ["box_threshold", "view_scale", "tiles", "selection", "crop_from"]
        assert documented.model.fusion == planned.model["fusion"]
        assert documented.global_steps == row.global_steps == 0
    for setting in names:
        assert getattr(documented.model, setting) == getattr(row.model, setting), setting


def test_every_system_of_table_1_is_documented():
    rows = EXPERIMENTS["table1"].rows
    names = {row.name for row in rows if not row.name.startswith("DiD") and not row.scored_with}
    assert names == {name for name, _ in SYSTEMS}
