import csv
import dataclasses
import json
import math
from pathlib import Path

import pytest
import safetensors.torch
import torch

from didvit import training
from didvit.checkpoint import load_checkpoint, save_checkpoint
from didvit.config import ConfigError, DataConfig, ModelConfig, TrainConfig, build_model
from didvit.data.images import read_image
from didvit.data.stream import TrainingStream
from didvit.data.table import DataError, read_table
from didvit.evaluation import report, score_table
from didvit.method import resize_whole
from didvit.training import TrainingError, TrainingObserver, schedule, train, training_step
from didvit.weights import WeightsError

MODEL = ModelConfig(backbone="test_vit", weights="random", image_size=(32, 48), top_n=1)


class Record(TrainingObserver):
    """Everything that an observer is told."""

    def __init__(self):
        self.calls = []

    def start(self, num_images, num_labels, num_validation):
        self.calls.append(("start", num_images, num_labels, num_validation))

    def step(self, step, loss, learning_rate, images):
        self.calls.append(("step", step, loss, learning_rate, images))

    def evaluation(self, step, result, best):
        self.calls.append(("evaluation", step, result, best))

    def warn(self, message):
        self.calls.append(("warn", message))

    def of(self, kind):
        return [call[1:] for call in self.calls if call[0] == kind]


@pytest.fixture
def make_config(squares, tmp_path):
    """A function that makes a configuration of a few tiny steps; runs go to ``tmp_path``."""

    def make(name="run", workers=0, train=None, val=None, **settings) -> TrainConfig:
        data = DataConfig((train or squares[0],), val or squares[1], workers)
        defaults = {
            "model": MODEL,
            "steps": 4,
            "batch_size": 6,
            "evaluate_every": 2,
            "device": "cpu",
        }
        return TrainConfig(data, tmp_path / name, **{**defaults, **settings})

    return make


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "model.safetensors")


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    assert a.keys() == b.keys()
    return all(torch.equal(a[name], b[name]) for name in a)


def start_weights(config: TrainConfig) -> dict[str, torch.Tensor]:
    torch.manual_seed(config.seed)
    return build_model(config.model, 3).state_dict()


# The run folder


def test_run_folder(make_config):
    config = make_config(steps=5, evaluate_every=2)
    record = Record()
    assert train(config, record) == config.output
    assert sorted(path.name for path in config.output.iterdir()) == [
        "config.json", "history.csv", "metrics.json", "model.safetensors", "train.json",
    ]  # fmt: skip

    checkpoint = load_checkpoint(config.output)
    assert checkpoint.labels == ("blue", "green", "red")
    assert checkpoint.config == MODEL

    with (config.output / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    fusions = ("global", "local", "max", "mean")
    assert list(rows[0]) == ["step", "loss", "learning_rate", *(f"val_{name}" for name in fusions)]
    assert [int(row["step"]) for row in rows] == [2, 4, 5]
    for row, (step, result, _) in zip(rows, record.of("evaluation"), strict=True):
        assert int(row["step"]) == step
        for name in fusions:
            assert float(row[f"val_{name}"]) == result.fusions[name].mAP

    metrics = json.loads((config.output / "metrics.json").read_text())
    best = max(record.of("evaluation"), key=lambda call: call[1].fusions["mean"].mAP)
    assert metrics == {"step": best[0], **best[1].to_dict()}

    settings = json.loads((config.output / "train.json").read_text())
    assert settings["steps"] == 5
    assert settings["data"]["workers"] == 0
    assert settings["model"]["backbone"] == "test_vit"
    assert settings["output"] == str(config.output)
    assert {"didvit", "torch", "timm", "python"} <= settings["versions"].keys()


def test_saved_model_scores_as_the_metrics_say(make_config, squares):
    config = make_config()
    train(config)
    checkpoint = load_checkpoint(config.output)
    table = read_table(squares[1], checkpoint.labels)
    scores = score_table(checkpoint.model, table, MODEL.image_size, torch.device("cpu"))
    metrics = json.loads((config.output / "metrics.json").read_text())
    del metrics["step"]
    assert report(scores, checkpoint.labels).to_dict() == metrics


def test_observer_is_told_in_order(make_config):
    record = Record()
    config = make_config(steps=5, evaluate_every=2)
    train(config, record)
    order = [call[:2] for call in record.calls]
    assert order == [
        ("start", 24),
        ("step", 1), ("step", 2), ("evaluation", 2),
        ("step", 3), ("step", 4), ("evaluation", 4),
        ("step", 5), ("evaluation", 5),
    ]  # fmt: skip
    assert record.of("start") == [(24, 3, 16)]
    assert all(images == 6 for *_, images in record.of("step"))
    rates = [rate for _, _, rate, _ in record.of("step")]
    assert rates == [schedule(step, config) for step in range(5)]
    assert record.of("evaluation")[0][1].num_images == 16


def test_observer_gets_each_loss_and_the_history_their_mean(make_config, monkeypatch):
    losses = []

    def step(*arguments):
        losses.append(training_step(*arguments))
        return losses[-1]

    monkeypatch.setattr(training, "training_step", step)
    record = Record()
    config = make_config(steps=4, evaluate_every=3)
    train(config, record)
    values = [loss.item() for loss in losses]
    assert [loss for _, loss, _, _ in record.of("step")] == values
    with (config.output / "history.csv").open(newline="") as file:
        means = [float(row["loss"]) for row in csv.DictReader(file)]
    assert means == pytest.approx([sum(values[:3]) / 3, values[3]])


# Repeatability


def test_seed_decides_the_weights(make_config):
    folders = [train(make_config(name, seed=seed)) for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    a, b, c = map(weights_of, folders)
    assert equal(a, b)
    assert not equal(a, c)


def test_workers_do_not_matter(make_config):
    assert equal(
        weights_of(train(make_config("none", steps=2))),
        weights_of(train(make_config("two", steps=2, workers=2))),
    )


def test_random_strategies_repeat_and_follow_the_step(make_config, squares):
    model = dataclasses.replace(MODEL, localization="random")
    a = train(make_config("a", model=model, steps=2))
    torch.rand(5)
    assert equal(weights_of(a), weights_of(train(make_config("b", model=model, steps=2))))

    config = make_config("c", model=model)
    sources, targets = first_batch(config)
    built = build_model(model, 3)
    with torch.no_grad():
        losses = [training_step(built, sources, targets, config, step).item() for step in (0, 1, 0)]
    assert losses[0] == losses[2] != losses[1]


# What is trained


def test_frozen_backbone_stays_and_is_saved(make_config):
    config = make_config()
    before, after = start_weights(config), weights_of(train(config))
    assert before.keys() == after.keys()
    for name, tensor in after.items():
        assert torch.equal(tensor, before[name]) == name.startswith("backbone."), name


def test_unfrozen_backbone_changes(make_config):
    config = make_config(freeze_backbone=False)
    before, after = start_weights(config), weights_of(train(config))
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert {name for name in after if name.endswith(("qkv.weight", "proj.weight"))} <= changed
    assert any(name.startswith("head.") for name in changed)
    assert not any(name.endswith((".mean", ".std")) for name in changed)


@pytest.mark.parametrize("frozen", [True, False])
def test_modes_while_training(make_config, monkeypatch, frozen):
    modes = []

    def step(model, *arguments):
        modes.append((model.head.training, model.backbone.training))
        return training_step(model, *arguments)

    monkeypatch.setattr(training, "training_step", step)
    train(make_config(freeze_backbone=frozen, evaluate_every=1, steps=3))
    assert modes == [(True, not frozen)] * 3


@pytest.mark.parametrize(
    "settings", [{"optimizer": "sgd", "momentum": 0.5}, {"optimizer": "adamw"}]
)
def test_first_update_is_that_of_the_optimizer(make_config, settings):
    config = make_config(
        steps=1, warmup=0.0, learning_rate=0.01, weight_decay=0.1, freeze_backbone=False, **settings
    )
    sources, targets = first_batch(config)
    torch.manual_seed(config.seed)
    model = build_model(MODEL, 3).train()
    training_step(model, sources, targets, config, 0).backward()
    after = weights_of(train(config))
    for name, parameter in model.named_parameters():
        gradient, value = parameter.grad, parameter.detach()
        if config.optimizer == "sgd":
            expected = value - 0.01 * (gradient + 0.1 * value)
        else:
            expected = value * (1 - 0.01 * 0.1) - 0.01 * gradient / (gradient.abs() + 1e-8)
        torch.testing.assert_close(after[name], expected, atol=1e-5, rtol=1e-4, msg=name)


# The loss of a step


def first_batch(config: TrainConfig):
    """Images and targets of the first batch, read without the stream's loader."""
    table = read_table(config.data.train)
    stream = TrainingStream(table, config.seed, config.train_transform == "multi_scale_crop")
    items = [stream[position] for position in range(config.batch_size)]
    return [source for source, _, _ in items], torch.stack([target for _, target, _ in items])


def soft_margin(logits, targets) -> float:
    """Binary cross-entropy with logits, the mean over categories and images."""
    total = 0.0
    for row, truth in zip(logits.tolist(), targets.tolist(), strict=True):
        for z, y in zip(row, truth, strict=True):
            p = 1 / (1 + math.exp(-z))
            total -= y * math.log(p) + (1 - y) * math.log(1 - p)
    return total / logits.numel()


@pytest.mark.parametrize("top_n", [0, 1, 3])
def test_loss_is_the_sum_of_both_branches(make_config, top_n):
    config = make_config(model=dataclasses.replace(MODEL, top_n=top_n))
    sources, targets = first_batch(config)
    model = build_model(config.model, 3).eval()
    loss = training_step(model, sources, targets, config, 0)
    with torch.no_grad():
        output = model(resize_whole(sources, (32, 48)), sources)
    expected = soft_margin(output.global_logits, targets)
    if top_n:
        expected += soft_margin(output.local_logits, targets)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert loss.requires_grad


def test_first_loss_of_a_run(make_config):
    config, record = make_config(steps=1), Record()
    train(config, record)
    sources, targets = first_batch(config)
    model = build_model(MODEL, 3)
    model.load_state_dict(start_weights(config))
    expected = training_step(model, sources, targets, config, 0).item()
    assert record.of("step")[0][1] == pytest.approx(expected, rel=1e-5)


def test_whole_images_without_augmentation(make_config, squares):
    config = make_config(train_transform="resize", batch_size=24)
    sources, _ = first_batch(config)
    table = read_table(squares[0])
    whole = {read_image(path).numpy().tobytes() for path in table.images}
    assert {source.numpy().tobytes() for source in sources} == whole

    cropped, _ = first_batch(make_config(batch_size=24))
    assert not all(source.numpy().tobytes() in whole for source in cropped)


def test_global_steps_equal_those_of_the_baseline(make_config):
    both = {"steps": 3, "evaluate_every": 3, "learning_rate": 0.01}
    mixed, baseline, full = Record(), Record(), Record()
    train(make_config("mixed", global_steps=2, **both), mixed)
    train(make_config("base", model=dataclasses.replace(MODEL, top_n=0), **both), baseline)
    train(make_config("full", **both), full)

    def losses(record):
        return [loss for _, loss, _, _ in record.of("step")]

    assert losses(mixed)[:2] == pytest.approx(losses(baseline)[:2], rel=1e-6)
    assert losses(mixed)[2] > 1.5 * losses(baseline)[2]
    assert losses(full)[0] > 1.5 * losses(mixed)[0]


# The schedule


def rates(make_config, **settings):
    config = make_config(**settings)
    return [schedule(step, config) for step in range(config.steps)]


def test_schedule_table(make_config):
    half = math.sqrt(0.5)
    expected = [0.2, 0.4, 0.4, 0.2 * (1 + half), 0.2, 0.2 * (1 - half)]
    actual = rates(make_config, steps=6, warmup=1 / 3, learning_rate=0.4)
    assert actual == pytest.approx(expected)


def test_schedule_without_warmup(make_config):
    expected = [1.0, 0.75, 0.25]
    assert rates(make_config, steps=3, warmup=0.0, learning_rate=1.0) == pytest.approx(expected)


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 19, 20, 200])
@pytest.mark.parametrize("warmup", [0.0, 0.05, 0.5, 0.99])
def test_schedule_rises_then_falls_and_stays_in_range(make_config, steps, warmup):
    actual = rates(make_config, steps=steps, warmup=warmup, learning_rate=0.3)
    top = actual.index(max(actual))
    assert max(actual) == pytest.approx(0.3)
    assert max(actual) <= 0.3
    assert min(actual) > 0
    assert actual[: top + 1] == sorted(actual[: top + 1])
    assert actual[top:] == sorted(actual[top:], reverse=True)


@pytest.mark.parametrize(
    ("optimizer", "frozen", "peak"),
    [("sgd", True, 0.05), ("sgd", False, 0.05), ("adamw", True, 0.01), ("adamw", False, 0.0001)],
)
def test_usual_learning_rates(make_config, optimizer, frozen, peak):
    config = make_config(optimizer=optimizer, freeze_backbone=frozen, warmup=0.0)
    assert schedule(0, config) == peak


# The best is kept


def fake_scores(monkeypatch, maps):
    """Let evaluations give these mAPs of the mean, and the reverse order of the global branch."""
    values = iter(maps)

    def fake(scores, labels):
        result, value = report(scores, labels), next(values)
        fusions = {
            name: dataclasses.replace(fusion, mAP=value if name == "mean" else 100 - value)
            for name, fusion in result.fusions.items()
        }
        return dataclasses.replace(result, fusions=fusions)

    monkeypatch.setattr(training, "report", fake)


@pytest.mark.parametrize(
    ("fusion", "maps", "best"),
    [
        ("mean", (10, 30, 20), 2),
        ("mean", (30, 30, 30), 1),
        ("mean", (10, 20, 30), 3),
        ("global", (30, 20, 25), 2),
        ("mean", (0, 0, 0), 1),
    ],
)
def test_best_step_is_kept(make_config, monkeypatch, fusion, maps, best):
    saved = []

    def save(folder, model, *rest):
        saved.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        save_checkpoint(folder, model, *rest)

    monkeypatch.setattr(training, "save_checkpoint", save)
    fake_scores(monkeypatch, maps)
    config, record = (
        make_config(model=dataclasses.replace(MODEL, fusion=fusion), steps=3, evaluate_every=1),
        Record(),
    )
    train(config, record)
    metrics = json.loads((config.output / "metrics.json").read_text())
    assert metrics["step"] == best
    marked = [step for step, _, is_best in record.of("evaluation") if is_best]
    assert marked[-1] == best
    assert len(saved) == len(marked)
    assert equal(weights_of(config.output), saved[-1])


# Refusals, before any work


def assert_refused(config, error, match):
    record = Record()
    with pytest.raises(error, match=match):
        train(config, record)
    assert record.calls == []
    assert not (config.output / "model.safetensors").exists()
    assert not (config.output / "train.json").exists()


def write_csv(path, *rows) -> Path:
    path.write_text("\n".join(("image,labels", *rows)) + "\n")
    return path


def test_existing_model_is_not_overwritten(make_config):
    config = make_config(steps=1)
    before = (train(config) / "model.safetensors").read_bytes()
    with pytest.raises(ConfigError, match="holds a model already"):
        train(config)
    assert (config.output / "model.safetensors").read_bytes() == before


def test_validation_images_must_be_others(make_config, squares, tmp_path):
    assert_refused(make_config(val=squares[0]), ConfigError, "shares 24 images with data.train")
    link = tmp_path / "link"
    link.symlink_to(squares[0].parent)
    val = write_csv(tmp_path / "val.csv", "link/7.png,red")
    assert_refused(make_config(val=val), ConfigError, r"shares 1 images .*7\.png")
    linked = write_csv(tmp_path / "train.csv", "link/7.png,red|green|blue")
    config = make_config(train=linked, val=squares[0])
    assert_refused(config, ConfigError, r"shares 1 images .*7\.png")


def test_unknown_label_in_validation(make_config, squares, tmp_path):
    val = write_csv(tmp_path / "val.csv", f"{squares[1].parent}/1.png,red|mauve")
    assert_refused(make_config(val=val), DataError, "'mauve' is not among the 3 known labels")


def test_missing_tables(make_config, tmp_path):
    missing = tmp_path / "missing.csv"
    assert_refused(make_config(val=missing), DataError, "no such file")
    assert_refused(make_config(train=missing), DataError, "no such file")


def test_top_n_beyond_the_labels(make_config):
    model = dataclasses.replace(MODEL, top_n=4)
    assert_refused(make_config(model=model), ConfigError, "top_n is 4, but there are only 3 labels")


def test_image_size_that_does_not_fit_the_patches(make_config):
    model = dataclasses.replace(MODEL, image_size=(32, 50))
    assert_refused(make_config(model=model), WeightsError, "image_size")


def test_unknown_device(make_config):
    assert_refused(make_config(device="nonsense"), ConfigError, "nonsense")


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 0},
        {"batch_size": 0},
        {"evaluate_every": 0},
        {"global_steps": 5},
        {"global_steps": 1, "model": dataclasses.replace(MODEL, top_n=0)},
        {"learning_rate": 0.0},
        {"momentum": 0.9},
        {"optimizer": "sgd", "momentum": 1.0},
        {"optimizer": "adam"},
        {"warmup": 1.0},
        {"weight_decay": -1.0},
        {"seed": -1},
        {"workers": -1},
    ],
    ids=str,
)
def test_impossible_settings_are_refused(make_config, settings):
    with pytest.raises(ConfigError, match=next(iter(settings)) if len(settings) == 1 else None):
        make_config(**settings)


def test_large_seeds_work_or_are_refused(make_config):
    try:
        config = make_config(seed=2**40, steps=1)
    except ConfigError:
        return
    assert load_checkpoint(train(config)).labels == ("blue", "green", "red")


# When things go wrong


@pytest.mark.parametrize("top_n", [0, 1])
def test_diverging_run_stops_with_the_step(make_config, top_n):
    config = make_config(
        model=dataclasses.replace(MODEL, top_n=top_n),
        optimizer="sgd",
        learning_rate=1e30,
        warmup=0.0,
        evaluate_every=4,
    )
    with pytest.raises(TrainingError, match=r"step [234]\b.*learning_rate"):
        train(config)
    assert not (config.output / "config.json").exists()


def test_loss_that_is_not_finite_names_the_step(make_config, monkeypatch):
    def step(model, sources, targets, config, step):
        loss = training_step(model, sources, targets, config, step)
        return loss * (float("nan") if step == 1 else 1)

    monkeypatch.setattr(training, "training_step", step)
    config = make_config(evaluate_every=1)
    with pytest.raises(TrainingError, match="the loss is nan at step 2"):
        train(config)
    # What was best before is a whole model.
    assert json.loads((config.output / "metrics.json").read_text())["step"] == 1
    assert all(tensor.isfinite().all() for tensor in weights_of(config.output).values())


def broken_copy(table: Path, folder: Path, places, suffix="") -> Path:
    """The table with images that cannot be read at these rows."""
    rows = table.read_text().splitlines()[1:]
    folder.mkdir()
    copied = []
    for i, row in enumerate(rows):
        if i in places:
            (folder / f"broken{i}.jpg").write_text("not an image")
            copied.append(f"broken{i}.jpg,{row.split(',')[1]}")
        else:
            copied.append(f"{table.parent}/{row}")
    return write_csv(folder / "table.csv", *copied)


def test_unreadable_training_images_are_passed_over(make_config, squares, tmp_path):
    table = broken_copy(squares[0], tmp_path / "broken", {3, 11})
    record = Record()
    train(make_config(train=table, steps=4, batch_size=6), record)
    warnings = record.of("warn")
    assert any("broken3.jpg" in message for (message,) in warnings)
    assert any("broken11.jpg" in message for (message,) in warnings)
    assert [images for *_, images in record.of("step")] == [6] * 4


def test_unreadable_validation_images_are_left_out(make_config, squares, tmp_path):
    table = broken_copy(squares[1], tmp_path / "broken", {0})
    record = Record()
    train(make_config(val=table, steps=1), record)
    ((_, result, _),) = record.of("evaluation")
    assert result.num_images == 15
    assert "broken0.jpg" in result.failures[0]


@pytest.mark.parametrize("workers", [0, 1])
def test_no_readable_training_image(make_config, squares, tmp_path, workers):
    table = broken_copy(squares[0], tmp_path / "broken", range(24))
    with pytest.raises(DataError, match="none of the 24 training images can be read") as caught:
        train(make_config(train=table, workers=workers))
    assert "Traceback" not in str(caught.value)


# It learns


@pytest.mark.parametrize(("frozen", "rate"), [(True, 0.03), (False, 0.001)])
def test_colors_are_learned(make_config, squares, frozen, rate):
    config = make_config(
        steps=40,
        batch_size=12,
        freeze_backbone=frozen,
        learning_rate=rate,
        evaluate_every=20,
        train_transform="resize",
    )
    record = Record()
    train(config, record)
    results = [result for _, result, _ in record.of("evaluation")]
    assert results[-1].fusions["global"].mAP > 95
    assert max(result.fusions["mean"].mAP for result in results) > 90
    losses = [loss for _, loss, _, _ in record.of("step")]
    assert sum(losses[-5:]) / 5 < 0.7 * losses[0]
