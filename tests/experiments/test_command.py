import json
from typing import get_args

import pytest
from PIL import Image

from didvit.cli.experiment import Name
from didvit.config import ConfigError
from didvit.data.images import ImageError
from didvit.experiments.benchmarks import SCALES
from didvit.experiments.plans import EXPERIMENTS, Experiment
from didvit.experiments.tables import markdown, read_results
from didvit.training.trainer import TrainingError, train
from tiny_experiments import BASELINE, DID, PLAN


def test_the_command_prints_the_table_of_its_runs(command, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(EXPERIMENTS, "order", Experiment("Systems", (BASELINE, DID)))
    cache = ("--cache", tmp_path / "cache")
    assert command("order", *cache, "--resamples", 20, "--seeds", 0, 3) == 0
    results = read_results(EXPERIMENTS["order"], SCALES["cpu"], tmp_path / "runs" / "cpu")
    assert [result.seeds for result in results.rows] == [(0, 3), (0, 3)]
    assert results.row("DiD").difference(BASELINE).seeds == (0, 3)
    assert capsys.readouterr().out == f"# Systems\n\n{markdown(results)}"


def test_rows_may_be_chosen(command, tmp_path, monkeypatch):
    monkeypatch.setitem(EXPERIMENTS, "order", PLAN)
    cache = ("--cache", tmp_path / "cache", "--resamples", 20)
    command("order", *cache, "--rows", "DiD")
    names = {path.name for path in tmp_path.glob("runs/cpu/coco/*.json")}
    assert names == {"top_n-0.s0.json", "did.s0.json"}  # with its reference
    message = (
        r"'Did' is no row of order; expected of 'Baseline', 'Baseline \(equal passes\)', 'DiD'"
    )
    with pytest.raises(ConfigError, match=message):
        command("order", *cache, "--rows", "DiD", "Did")


def test_a_scale_without_the_data_of_an_experiment_is_refused(command):
    with pytest.raises(ConfigError, match="table2 has no data at this --scale"):
        command("table2")


def test_options_of_training_reach_the_rows(command, tmp_path, monkeypatch):
    monkeypatch.setitem(EXPERIMENTS, "order", Experiment("Systems", (BASELINE,)))
    options = ("--precision", "bf16-mixed", "--accumulate", 2, "--activation-checkpointing")
    command("order", "--cache", tmp_path / "cache", "--resamples", 20, *options)
    run = json.loads((tmp_path / "runs/cpu/coco/top_n-0.s0.json").read_text())
    runtime = run["settings"]["runtime"]
    assert (runtime["precision"], runtime["accumulate"]) == ("bf16-mixed", 2)
    assert runtime["activation_checkpointing"]


def test_the_command_fails_where_no_row_can_be_trained(command, tmp_path, monkeypatch):
    def fail(config, observer):
        if config.schedule.steps == 2:
            raise TrainingError("the loss is not finite")
        return train(config, observer)

    monkeypatch.setattr("didvit.experiments.trainer.train", fail)
    monkeypatch.setitem(EXPERIMENTS, "order", Experiment("Systems", (BASELINE,)))
    with pytest.raises(TrainingError, match="no row of order could be trained: Baseline, seed 0"):
        command("order", "--cache", tmp_path / "cache")


def test_the_command_draws_figure_3(command, tmp_path, photographs, save_tiny_model):
    model = save_tiny_model(tmp_path / "model", ("airplane", "cat", "person"))
    assert command("figure3", "--model", model, "--images", photographs) == 0
    with Image.open(tmp_path / "runs" / "cpu" / "figure3.jpg") as picture:
        assert picture.width > 1900


def test_figure_3_shows_the_first_test_images(command, tmp_path, save_tiny_model, monkeypatch):
    shown = []
    monkeypatch.setattr(
        "didvit.experiments.pictures.draw_figure_3", lambda found, path: shown.extend(found)
    )
    assert command("figure3", "--model", save_tiny_model(tmp_path / "model", ("cat", "dog"))) == 0
    assert len(shown) == 6


def test_figure_3_refuses_an_absent_image(command, tmp_path):
    with pytest.raises(ImageError, match=r"absent\.png"):
        command("figure3", "--images", tmp_path / "absent.png")


def test_the_command_measures_boxes(
    command, coco18, tmp_path, save_tiny_model, capsys, monkeypatch
):
    """On real boxes, of a model that knows some of their labels."""
    monkeypatch.setattr("didvit.experiments.boxes.SMALL_DATA", ("VOCdevkit/VOC2007:test",))
    monkeypatch.setattr("didvit.experiments.boxes.SETTINGS", {"none": {"reconstraint": "none"}})
    model = save_tiny_model(tmp_path / "model", ("airplane", "cat", "person"))
    assert command("boxes", "--model", model, "--resamples", 20, root=coco18.parent) == 0
    results = json.loads((tmp_path / "runs" / "cpu" / "boxes" / "model.json").read_text())
    names = [row["name"] for row in results["rows"]]
    assert names == ["none", "whole image", "center box of half the area"]
    assert results["rows"][1]["area"] == 100
    assert results["rows"][1]["coverage"]["overall"] == 100
    assert results["rows"][2]["area"] == pytest.approx(50, abs=1)
    assert "| whole image | " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["order", "--seeds", "1", "1"], "--seeds is .* different numbers"),
        (["order", "--seeds", "-1"], "from 0 on"),
        (["boxes", "--seeds", "1"], "--seeds does nothing with boxes"),
        (["boxes", "--activation-checkpointing"], "--activation-checkpointing does nothing"),
        (["figure3", "--rows", "DiD"], "--rows does nothing with figure3"),
        (["figure3", "--seeds", "1", "2"], "--seeds does nothing with figure3"),
        (["order", "--images", "a.jpg"], "--images does nothing with order"),
        (["order", "--model", "runs/mine"], "--model does nothing with order"),
        (["order", "--resamples", "0"], "--resamples is 0"),
        (["order"], "missing is no folder"),
    ],
)
def test_the_command_refuses(command, arguments, message):
    with pytest.raises(ConfigError, match=message):
        command(*arguments, root="missing")


def test_the_command_has_every_experiment():
    assert set(get_args(Name)) == {*EXPERIMENTS, "figure3", "boxes"}
