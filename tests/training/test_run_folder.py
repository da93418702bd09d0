import dataclasses
import json

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from didvit.config import ConfigError
from didvit.config.serialization import to_json
from didvit.decisions.store import data_digest, read_decisions, weights_digest
from didvit.environment import versions
from didvit.modeling.checkpoint import load_checkpoint
from didvit.training.checkpointing import data_digests
from didvit.training.decide import AIMS
from didvit.training.optim import learning_rate
from didvit.training.run_folder import RunFolder
from didvit.training.tables import read_tables
from didvit.training.trainer import train
from runs import MODEL, Record, read_csv, results_of


class KilledError(Exception):
    pass


class KilledAt5(Record):
    def step(self, step, *rest):
        super().step(step, *rest)
        if step == 5:
            raise KilledError


def test_the_files(make_config):
    config = make_config(steps=2, save_every=1)
    train(config)
    files = {
        str(path.relative_to(config.output)) for path in config.output.rglob("*") if path.is_file()
    }
    (events,) = (name for name in files if name.startswith("tensorboard/"))
    assert files - {events} == {
        *("config.json", "model.safetensors", "metrics.json", "README.md", "decisions.json"),
        *("last/config.json", "last/model.safetensors", "last/metrics.json"),
        *("train.json", "history.csv", "steps.csv", "curves.png"),
        *("checkpoints/00000001.pt", "checkpoints/00000002.pt"),
    }
    with Image.open(config.output / "curves.png") as image:
        assert image.width > 600
        assert len(set(image.convert("RGB").resize((40, 20)).get_flattened_data())) > 5
    for folder in (config.output, config.output / "last"):
        assert load_checkpoint(folder).config == MODEL


@pytest.mark.usefixtures("without_curves")
@pytest.mark.parametrize("single_view_fraction", [0.0, 1.0])
def test_thresholds_are_those_of_the_best_weights(make_config, single_view_fraction):
    config = make_config(steps=4, single_view_fraction=single_view_fraction, choose="best")
    train(config)
    labels = load_checkpoint(config.output).labels
    weights = weights_digest(config.output / "model.safetensors")
    decisions = read_decisions(config.output, labels, weights)
    _, validation = read_tables(config.data)
    assert decisions.data_digest == data_digest(validation.images, validation.targets)
    assert (decisions.num_images, decisions.fusion) == (16, "mean")
    assert list(decisions.aims) == list(AIMS)


def test_curves_of_views_begin_where_they_were_scored(make_config, monkeypatch):
    drawn = {}

    def plot(axes, x, y, *form, label=None, **kept):
        drawn[label] = x

    monkeypatch.setattr("matplotlib.axes.Axes.plot", plot)
    monkeypatch.setattr("matplotlib.axes.Axes.legend", lambda axes: None)
    train(make_config(steps=4, single_view_fraction=0.75, evaluate_every=2))
    assert (drawn["global"], drawn["local"], drawn["mean"]) == ([2, 4], [4], [4])


@pytest.mark.usefixtures("without_curves")
def test_settings_and_versions(make_config):
    config = make_config(steps=1, seed=3)
    train(config)
    content = json.loads((config.output / "train.json").read_text())
    table, _ = read_tables(config.data)
    assert content == {
        "settings": json.loads(json.dumps(to_json(config))),
        "data": data_digests(*read_tables(config.data)),
        "learned_from": data_digest(table.images, table.targets),
        "versions": versions(),
    }
    assert content["settings"]["seed"] == 3
    assert {"didvit", "torch", "timm", "python", "machine"} <= content["versions"].keys()


def scalars(folder) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of a run."""
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


@pytest.mark.usefixtures("without_curves")
def test_tensorboard_shows_every_step_once_after_a_kill_too(make_config):
    config, record = make_config(steps=8, save_every=2, evaluate_every=3), Record()
    with pytest.raises(KilledError):
        train(config, KilledAt5())
    (events,) = (config.output / "tensorboard").iterdir()
    events.rename(events.with_name("events.out.tfevents.1.a"))  # names are the seconds of starts
    train(dataclasses.replace(config, resume=True), record)
    shown = scalars(config.output)
    fusions = {f"val/mAP_{name}" for name in ("global", "local", "max", "mean")}
    train_names = {"train/loss", "train/learning_rate", "train/gradient_norm"}
    assert shown.keys() == fusions | train_names
    for name in train_names:
        assert [step for step, _ in shown[name]] == list(range(1, 9))
    assert [step for step, _ in shown["val/mAP_mean"]] == [3, 6, 8]
    losses = [float(row["loss"]) for row in read_csv(config.output / "steps.csv")]
    assert [loss for _, loss in shown["train/loss"]] == pytest.approx(losses, rel=1e-6)
    rates = [rate for _, rate in shown["train/learning_rate"]]
    assert rates == pytest.approx([learning_rate(step, config) for step in range(8)], rel=1e-6)
    assert all(norm > 0 for _, norm in shown["train/gradient_norm"])


def test_records_are_on_disk_when_a_run_fails(make_config):
    config = make_config(steps=2)
    folder = RunFolder(config.output)

    def fail():
        with folder.records(config, 0, {}, "digest"):
            folder.log_step(1, 0.5, 0.25, 2.0)
            raise KilledError

    with pytest.raises(KilledError):
        fail()
    shown = {"loss": 0.5, "learning_rate": 0.25, "gradient_norm": 2.0}
    assert scalars(config.output) == {f"train/{k}": [(1, value)] for k, value in shown.items()}


# What is refused


@pytest.mark.parametrize("resume", [False, True])
def test_a_file_is_no_folder(tmp_path, resume):
    (tmp_path / "run").write_text("precious")
    with pytest.raises(ConfigError, match="is a file; expected a folder"):
        RunFolder(tmp_path / "run").check(resume)


@pytest.mark.parametrize("name", ["config.json", "checkpoints/00000100.pt"])
def test_a_run_is_not_written_over(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("{}")
    with pytest.raises(ConfigError, match="holds a run already; choose another folder, or --res"):
        RunFolder(tmp_path).check(resume=False)


def test_a_model_is_no_run(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="holds a model, but no run to resume"):
        RunFolder(tmp_path).check(resume=True)


@pytest.mark.parametrize("resume", [False, True])
def test_other_folders_are_accepted(tmp_path, resume):
    RunFolder(tmp_path / "missing").check(resume)
    (tmp_path / "notes.txt").touch()
    RunFolder(tmp_path).check(resume)


def test_a_run_is_resumed(tmp_path):
    (tmp_path / "train.json").touch()
    RunFolder(tmp_path).check(resume=True)


@pytest.mark.usefixtures("without_curves")
def test_a_refused_run_changes_nothing(make_config):
    config = make_config(steps=1)
    before = results_of(train(config).folder)
    with pytest.raises(ConfigError):
        train(dataclasses.replace(config, seed=1))
    assert results_of(config.output) == before


@pytest.mark.usefixtures("without_curves")
def test_what_a_killed_run_left_half_written_goes(make_config):
    config = make_config(steps=2, save_every=1)
    train(config)
    files = {path for path in config.output.rglob("*") if path.is_file()}
    halves = [
        config.output / ".model-0123456789ab.safetensors",
        config.output / "last" / ".config-0123456789ab.json",
        config.output / "checkpoints" / ".00000002-0123456789ab.pt",
    ]
    for path in halves:
        path.write_text("half of it")
    train(dataclasses.replace(config, resume=True))
    now = {path for path in config.output.rglob("*") if path.is_file()}
    assert {path for path in now ^ files if path.parent.name != "tensorboard"} == set()
