import dataclasses
import json
import math
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace

import pytest
import torch

from didvit.config import ConfigError, LossConfig, with_settings
from didvit.data.datasets import read_dataset
from didvit.data.table import DataError
from didvit.evaluation.report import report
from didvit.evaluation.scoring import score_table
from didvit.method.views import resize_whole
from didvit.modeling.backbones import WeightsError
from didvit.modeling.build import build_model
from didvit.modeling.checkpoint import load_checkpoint, save_checkpoint
from didvit.training import trainer as training
from didvit.training.losses import balancing_weights
from didvit.training.module import Learner
from didvit.training.optim import learning_rate
from didvit.training.run_folder import RunFolder
from didvit.training.trainer import (
    TrainedRun,
    TrainingError,
    least_source_size,
    read_tables,
    train,
)
from runs import (
    MODEL,
    Record,
    assert_near,
    distance_from_head,
    equal,
    first_batch,
    read_csv,
    start_weights,
    weights_of,
    write_table,
)

pytestmark = pytest.mark.usefixtures("without_curves")

FUSIONS = ("global", "local", "max", "mean")


# The run folder


def test_metrics_and_history_are_those_that_the_observer_saw(make_config):
    config, record = make_config(steps=5, evaluate_every=2), Record()
    assert train(config, record).folder == config.output
    checkpoint = load_checkpoint(config.output)
    assert checkpoint.labels == ("blue", "green", "red")
    assert checkpoint.config == MODEL

    rows = read_csv(config.output / "history.csv")
    assert list(rows[0]) == ["step", "loss", *(f"val_{name}" for name in FUSIONS)]
    assert [int(row["step"]) for row in rows] == [2, 4, 5]
    for row, (step, result, _) in zip(rows, record.of("evaluation"), strict=True):
        assert int(row["step"]) == step
        for name in FUSIONS:
            assert float(row[f"val_{name}"]) == result.fusions[name].mAP

    evaluations = record.of("evaluation")
    best = max(evaluations, key=lambda call: call[1].fusions["mean"].mAP)
    for folder, (step, result, _) in (("", best), ("last", evaluations[-1])):
        metrics = json.loads((config.output / folder / "metrics.json").read_text())
        assert metrics == {"step": step, **result.to_dict()}


def test_the_result_says_where_the_model_is_and_how_good(make_config):
    config = make_config(steps=3, evaluate_every=1)
    run = train(config)
    metrics = json.loads((config.output / "metrics.json").read_text())
    assert (run.folder, run.step, run.passed_over) == (config.output, metrics["step"], ())
    assert run.validation == {name: metrics["fusions"][name]["mAP"] for name in FUSIONS}


@pytest.mark.parametrize("ema", [0.0, 0.5])
@pytest.mark.parametrize("folder", ["", "last"])
def test_saved_model_scores_as_the_metrics_say(make_config, squares, folder, ema):
    config = make_config(steps=5, ema=ema, freeze_backbone=False)
    train(config)
    checkpoint = load_checkpoint(config.output / folder)
    table = read_dataset(squares[1], checkpoint.labels)
    scores = score_table(checkpoint.model, table, MODEL.image_size, torch.device("cpu"))
    metrics = json.loads((config.output / folder / "metrics.json").read_text())
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
    assert record.of("start") == [(24, 3, 16, 0)]
    assert all(images == 6 for *_, images in record.of("step"))
    rates = [rate for _, _, rate, _ in record.of("step")]
    assert rates == [learning_rate(step, config) for step in range(5)]
    assert record.of("evaluation")[0][1].num_images == 16


def test_steps_hold_each_loss_and_the_history_their_mean(make_config):
    config, record = make_config(steps=4, evaluate_every=3), Record()
    train(config, record)
    rows = read_csv(config.output / "steps.csv")
    assert [list(map(float, row.values())) for row in rows] == [
        [step, loss, rate] for step, loss, rate, _ in record.of("step")
    ]
    means = [float(row["loss"]) for row in read_csv(config.output / "history.csv")]
    assert means == pytest.approx([fmean(record.losses[:3]), record.losses[3]])


def test_the_result_is_the_same_in_all_processes(monkeypatch, tmp_path):
    """Not all of them may see the folder of the first."""
    parts = [((3, {"mean": 1.0}), ("a", "b")), (None, ("b", "c"))]
    monkeypatch.setattr(training, "gathered", lambda fabric, value: [parts[0], value])
    second = object.__new__(training.Trainer)
    second.fabric = SimpleNamespace(is_global_zero=False)
    second.folder, second.passed_over = RunFolder(tmp_path / "nowhere"), dict.fromkeys(("b", "c"))
    expected = TrainedRun(tmp_path / "nowhere", 3, {"mean": 1.0}, ("a", "b", "c"))
    assert second.result() == expected


# Repeatability


def test_seed_decides_the_weights(make_config):
    runs = [train(make_config(name, seed=seed)) for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    a, b, c = (weights_of(run.folder) for run in runs)
    assert equal(a, b)
    assert not equal(a, c)


def test_the_first_weights_may_have_a_seed_of_their_own(make_config):
    """A step of nearly nothing leaves them as they began; its loss is the batch's."""

    def run(name, **seeds):
        config = make_config(name, steps=1, learning_rate=1e-12, **seeds)
        record = Record()
        return weights_of(train(config, record).folder), record.losses

    first, losses = run("a", seed=1)
    same, others = run("b", seed=2, init_seed=1)
    assert all(torch.allclose(first[name], same[name]) for name in first)
    assert losses != others
    again, of_again = run("c", seed=1, init_seed=1)
    assert equal(first, again)
    assert losses == of_again
    assert not torch.allclose(
        run("d", seed=2)[0]["head.projection.weight"], first["head.projection.weight"]
    )


def test_global_random_state_has_no_part_in_it(make_config):
    a = train(make_config("a", localization="random", steps=2)).folder
    torch.rand(5)
    b = train(make_config("b", localization="random", steps=2)).folder
    assert equal(weights_of(a), weights_of(b))


@pytest.mark.parametrize("workers", [0, 1])
def test_what_layers_draw_depends_on_seed_and_step_alone(make_config, monkeypatch, workers):
    """Not on when the process that reads images was started, say."""
    drawn: list[float] = []
    build_start = training.build_start

    def with_dice(*arguments):
        model = build_start(*arguments)
        model.head.register_forward_pre_hook(
            lambda head, _: drawn.append(torch.rand(()).item()) if head.training else None
        )
        return model

    monkeypatch.setattr(training, "build_start", with_dice)
    config = make_config(steps=4, save_every=2, workers=workers)
    train(config)
    whole = list(drawn)
    assert len(set(whole)) == 8  # two forward passes in each of four steps
    drawn.clear()
    (config.output / "checkpoints" / "00000004.pt").unlink()
    train(dataclasses.replace(config, resume=True))
    assert drawn == whole[4:]


# What is trained


def test_frozen_backbone_stays_and_is_saved(make_config):
    config = make_config()
    before, after = start_weights(config), weights_of(train(config).folder)
    assert before.keys() == after.keys()
    for name, tensor in after.items():
        assert torch.equal(tensor, before[name]) == name.startswith("backbone."), name


def test_unfrozen_backbone_changes(make_config):
    config = make_config(freeze_backbone=False)
    before, after = start_weights(config), weights_of(train(config).folder)
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert {name for name in after if name.endswith(("qkv.weight", "proj.weight"))} <= changed
    assert any(name.startswith("head.") for name in changed)
    assert not any(name.endswith((".mean", ".std")) for name in changed)


def test_frozen_blocks_stay_and_later_ones_change(make_config):
    config = make_config(freeze_backbone=False, freeze_blocks=2)
    before, after = start_weights(config), weights_of(train(config).folder)
    below = ("patch_embed", "pos_embed", "cls_token", "blocks.0.", "blocks.1.", "mean", "std")
    for name, tensor in after.items():
        part = name.removeprefix("backbone.").removeprefix("vit.")
        if name.endswith(("qkv.weight", "norm.weight")) or part.startswith(below):
            assert torch.equal(tensor, before[name]) == part.startswith(below), name


@pytest.fixture
def forwards(monkeypatch):
    """The learners that went forward, with the arguments and modes of each time."""
    calls, forward = [], Learner.forward

    def watch(self, *arguments):
        modes = self.model.head.training, self.model.backbone.training
        calls.append((self, modes, arguments))
        return forward(self, *arguments)

    monkeypatch.setattr(Learner, "forward", watch)
    return calls


@pytest.mark.parametrize("frozen", [True, False])
def test_modes_while_training(make_config, forwards, frozen):
    train(make_config(freeze_backbone=frozen, evaluate_every=1, steps=3))
    assert [modes for _, modes, _ in forwards] == [(True, not frozen)] * 3


def test_steps_are_counted_from_0_and_parts_share_one(make_config, forwards):
    train(make_config(steps=2, accumulate=3))
    assert [arguments[2:] for *_, arguments in forwards] == [
        (0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2),
    ]  # fmt: skip
    assert [len(arguments[0]) for *_, arguments in forwards] == [2] * 6


def test_positives_are_weighed_by_the_training_table(make_config, forwards, squares, tmp_path):
    rows = [f"{squares[0].parent}/{row}" for row in squares[0].read_text().splitlines()[2:15]]
    table = write_table(tmp_path / "table.csv", *rows)
    train(make_config(train=table, steps=1, loss=LossConfig(positive_weights="balanced")))
    weights = balancing_weights(torch.from_numpy(read_dataset(table).targets))
    assert len(set(weights.tolist())) > 1
    assert torch.equal(forwards[0][0].positive_weights, weights)
    train(make_config("plain", steps=1))
    assert forwards[1][0].positive_weights is None


@pytest.mark.parametrize(
    "settings", [{"optimizer": "sgd", "momentum": 0.5}, {"optimizer": "adamw"}]
)
@pytest.mark.parametrize("clip", [None, 0.5])
def test_first_update_is_that_of_the_optimizer(make_config, settings, clip):
    config = make_config(
        steps=1,
        warmup=0.0,
        learning_rate=0.01,
        weight_decay=0.1,
        freeze_backbone=False,
        clip_norm=clip,
        layer_decay=0.5,
        **settings,
    )
    torch.manual_seed(config.seed)
    model = build_model(MODEL, 3).train()
    Learner(model, config)(*first_batch(config), 0).backward()
    norm = sum(float(p.grad.square().sum()) for p in model.parameters()) ** 0.5
    assert norm > 1
    scale = 1 if clip is None else clip / norm
    after = weights_of(train(config).folder)
    depth = len(model.backbone.vit.blocks)
    for name, parameter in model.named_parameters():
        gradient, value = scale * parameter.grad, parameter.detach()
        rate = 0.01 * 0.5 ** distance_from_head(name, depth)
        if config.optimizer.name == "sgd":
            expected = value - rate * (gradient + 0.1 * value)
        else:
            decay = 0.1 if name.endswith("weight") and "norm" not in name else 0.0
            expected = value * (1 - rate * decay) - rate * gradient / (gradient.abs() + 1e-8)
        torch.testing.assert_close(after[name], expected, atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("accumulate", [2, 3])
def test_accumulated_parts_equal_the_whole(make_config, squares, tmp_path, accumulate):
    rows = squares[0].read_text().splitlines()[1:]
    rows = [f"{squares[0].parent}/{row}," for row in rows]
    rows[0::5] = [row + ("red" if "red" not in row.split(",")[1] else "") for row in rows[0::5]]
    table = write_table(tmp_path / "table.csv", *rows, header="image,labels,unknown")
    assert (read_dataset(table).targets == -1).any()
    sgd = {"optimizer": "sgd", "learning_rate": 0.02, "freeze_backbone": False}
    both = {"train": table, "loss": LossConfig(positive_weights="balanced"), **sgd}
    one, parts = Record(), Record()
    a = train(make_config("one", **both), one).folder
    b = train(make_config("parts", accumulate=accumulate, **both), parts).folder
    assert parts.losses == pytest.approx(one.losses, rel=1e-5)
    assert_near(weights_of(a), weights_of(b), atol=1e-5)


def test_first_loss_of_a_run(make_config):
    config, record = make_config(steps=1), Record()
    train(config, record)
    model = build_model(MODEL, 3)
    model.load_state_dict(start_weights(config))
    expected = Learner(model, config)(*first_batch(config), 0).item()
    assert record.losses == pytest.approx([expected], rel=1e-5)


def test_single_view_steps_equal_those_of_the_baseline(make_config):
    both = {"steps": 3, "evaluate_every": 3, "learning_rate": 0.01}
    mixed, baseline, full = Record(), Record(), Record()
    train(make_config("mixed", single_view_fraction=2 / 3, **both), mixed)
    train(make_config("base", top_n=0, **both), baseline)
    train(make_config("full", **both), full)
    assert mixed.losses[:2] == pytest.approx(baseline.losses[:2], rel=1e-6)
    assert mixed.losses[2] > 1.5 * baseline.losses[2]
    assert full.losses[0] > 1.5 * mixed.losses[0]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, (128, 192)),
        ({"crop_from": "input"}, (64, 96)),
        ({"top_n": 0}, (64, 96)),
        ({"view_scale": 0.75}, (96, 144)),
        ({"view_scale": 0.5}, (64, 96)),
        ({"view_scale": 0.25}, (64, 96)),
    ],
)
def test_least_source_size(make_config, settings, expected):
    config = make_config(**settings)
    assert least_source_size(config) == expected
    whole_images = with_settings(config, {"single_view_fraction": 1.0})
    assert least_source_size(whole_images) == (64, 96)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, (128, 192)),  # its views are cut from the crops, though the run learns from none
        ({"view_scale": 0.5}, (64, 96)),
        ({"top_n": 0}, (64, 96)),
        ({"top_n": 0, "image_size": (16, 64)}, (64, 128)),
        ({"image_size": (64, 64)}, (256, 256)),
    ],
)
def test_source_sizes_are_large_enough_for_a_teacher_too(make_config, settings, expected):
    config = make_config(single_view_fraction=1.0)
    assert least_source_size(config, with_settings(MODEL, settings)) == expected


def test_a_run_of_single_view_steps_learns_from_whole_images_alone(make_config):
    baseline, record = Record(), Record()
    train(make_config("baseline", single_view_fraction=1.0, top_n=0), baseline)
    train(make_config("all", single_view_fraction=1.0), record)
    assert record.losses == pytest.approx(baseline.losses, rel=1e-6)


@pytest.mark.parametrize(
    ("fraction", "expected"), [(0.0, 0), (0.24, 1), (0.5, 2), (0.9, 4), (1.0, 4)]
)
def test_small_steps_see_small_images(make_config, monkeypatch, fraction, expected):
    sizes = []

    def watch(sources, size):
        sizes.append(size)
        return resize_whole(sources, size)

    monkeypatch.setattr("didvit.training.module.resize_whole", watch)
    train(make_config(steps=4, small_fraction=fraction))
    assert sizes == [(16, 32)] * expected + [(32, 48)] * (4 - expected)


def test_what_is_wrong_with_the_data_is_told(make_config, squares):
    folder = squares[0].parent
    (folder / "few.csv").write_text("image,labels\n0.png,red\n1.png,red|blue\n2.png,red|green\n")
    record = Record()
    train(make_config(train=folder / "few.csv", steps=1, batch_size=2, top_n=0), record)
    warnings = [message for (message,) in record.of("warn")]
    assert any(text.startswith("training: 1 label that no image is known") for text in warnings)
    assert "training: 3 labels of fewer than 10 images: 'blue', 'green', 'red'" in warnings


@pytest.mark.parametrize(("view_scale", "warned"), [(0.5, True), (1.0, False)])
def test_small_views_are_warned_of(make_config, view_scale, warned):
    record = Record()
    train(make_config(view_scale=view_scale, steps=1), record)
    messages = [message for (message,) in record.of("warn")]
    assert (
        messages
        == [
            "views are 16x32 pixels, 1x2 patches, which is little: set "
            "model.view_scale to 1, or take a larger model.image_size"
        ]
        * warned
    )


# The moving average


def test_moving_average_equals_a_slow_loop(make_config, monkeypatch):
    """With the decay of timm's warm-up: 1 - n^(-2/3) in the n-th step, at most the setting's."""
    weights = []

    class Watch(Record):
        def step(self, *arguments):
            state = trainers[0].model.state_dict()
            weights.append({name: tensor.clone() for name, tensor in state.items()})

    trainers, init = [], training.Trainer.__init__

    def watch(self, *arguments):
        init(self, *arguments)
        trainers.append(self)

    monkeypatch.setattr(training.Trainer, "__init__", watch)
    config = make_config(steps=6, evaluate_every=6, ema=0.6, freeze_backbone=False)
    train(config, Watch())
    average = {name: tensor.double() for name, tensor in weights[0].items()}
    decays = [min(0.6, 1 - n ** (-2 / 3)) for n in range(1, 7)]
    assert 0.6 in decays
    assert 0 < decays[1] < 0.6
    for decay, state in zip(decays, weights, strict=True):
        average = {
            name: decay * tensor + (1 - decay) * state[name].double()
            for name, tensor in average.items()
        }
    average = {name: tensor.float() for name, tensor in average.items()}
    for folder in (config.output, config.output / "last"):
        assert_near(weights_of(folder), average, atol=1e-6)
    assert any((average[name] - weights[-1][name]).abs().max() > 1e-4 for name in average)


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
    ("settings", "maps", "best"),
    [
        ({}, (10, 30, 20), 2),
        ({}, (30, 30, 30), 1),
        ({}, (10, 20, 30), 3),
        ({}, (0, 0, 0), 1),
        ({"choose": "last"}, (30, 20, 10), 3),
        ({"fusion": "global"}, (30, 20, 25), 2),
        # Single-view steps compete among themselves, and lose to steps that learn from views.
        ({"single_view_fraction": 1 / 3}, (90, 20, 30), 3),
        ({"single_view_fraction": 1 / 3}, (90, 30, 20), 2),
        ({"single_view_fraction": 2 / 3}, (10, 90, 20), 3),
        # Where all are single-view steps, whole images choose, whose scores are the reverse here;
        # what comes last is the score with views of the weights that they chose.
        ({"single_view_fraction": 1.0}, (30, 10, 20, 50), 2),
        ({"single_view_fraction": 1.0}, (30, 20, 10), 3),
    ],
)
def test_best_step_is_kept_and_the_last(make_config, monkeypatch, settings, maps, best):
    saved = []

    def save(folder, model, *rest):
        if folder.name == "last":
            saved.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        save_checkpoint(folder, model, *rest)

    monkeypatch.setattr(training, "save_checkpoint", save)
    fake_scores(monkeypatch, maps)
    config, record = make_config(steps=3, evaluate_every=1, **settings), Record()
    train(config, record)
    marked = [step for step, _, is_best in record.of("evaluation") if is_best]
    assert marked[-1] == best
    for folder, step in ((config.output, best), (config.output / "last", 3)):
        assert json.loads((folder / "metrics.json").read_text())["step"] == step
        assert equal(weights_of(folder), saved[step - 1])


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [(0.0, [False] * 3), (2 / 3, [True, True, False]), (1.0, [True, True, False])],
)
def test_single_view_steps_score_whole_images_alone(make_config, fraction, expected):
    """But for the last evaluation, of the model as it will be used."""
    record = Record()
    train(make_config(steps=3, single_view_fraction=fraction, evaluate_every=1), record)
    alike = [
        len({fusion.mAP for fusion in result.fusions.values()}) == 1
        for _, result, _ in record.of("evaluation")
    ]
    assert alike == expected


# Refusals, before any work


def assert_refused(config, error, match):
    record = Record()
    with pytest.raises(error, match=match):
        train(config, record)
    assert record.calls == []
    assert not config.output.exists()


def test_an_existing_run_is_not_overwritten(make_config):
    config = make_config(steps=1)
    before = (train(config).folder / "model.safetensors").read_bytes()
    with pytest.raises(ConfigError, match="holds a run already"):
        train(config)
    assert (config.output / "model.safetensors").read_bytes() == before


def test_validation_images_must_be_others(make_config, squares, tmp_path):
    assert_refused(make_config(val=squares[0]), ConfigError, "shares 24 images with data.train")
    link = tmp_path / "link"
    link.symlink_to(squares[0].parent)
    val = write_table(tmp_path / "val.csv", "link/7.png,red")
    assert_refused(make_config(val=val), ConfigError, r"shares 1 images .*7\.png")
    linked = write_table(tmp_path / "train.csv", "link/7.png,red|green|blue")
    config = make_config(train=linked, val=squares[0])
    assert_refused(config, ConfigError, r"shares 1 images .*7\.png")


def test_unknown_label_in_validation(make_config, squares, tmp_path):
    val = write_table(tmp_path / "val.csv", f"{squares[1].parent}/1.png,red|mauve")
    assert_refused(make_config(val=val), DataError, "'mauve' is not among the 3 known labels")


def test_validation_without_labels(make_config, squares, tmp_path):
    val = write_table(tmp_path / "val.csv", f"{squares[1].parent}/1.png,")
    assert_refused(make_config(val=val), DataError, "no image has a label")


def test_missing_tables(make_config, tmp_path):
    missing = tmp_path / "missing.csv"
    assert_refused(make_config(val=missing), DataError, "no such file")
    assert_refused(make_config(train=missing), DataError, "no such file")


def test_settings_that_do_not_fit_the_model(make_config):
    def refused(error, match, **settings):
        assert_refused(make_config(freeze_backbone=False, **settings), error, match)

    refused(WeightsError, "image_size", image_size=(32, 50))
    refused(ConfigError, "small_size does not fit.*16x16", small_fraction=0.25, small_size=(32, 50))
    refused(ConfigError, "freeze_blocks is 99; expected at most", freeze_blocks=99)
    refused(ConfigError, "nonsense", device="nonsense")


def test_paths_are_relative_to_the_root(make_config, squares):
    config = make_config(train="train/table.csv", val="val/table.csv")
    assert_refused(config, DataError, "no such file")
    data = dataclasses.replace(config.data, root=squares[0].parents[1])
    table, validation = read_tables(data)
    assert (len(table), len(validation)) == (24, 16)
    assert table.labels == validation.labels == ("blue", "green", "red")


# When things go wrong


@pytest.mark.parametrize("top_n", [0, 1])
def test_diverging_run_stops_with_the_step(make_config, top_n):
    config = make_config(
        top_n=top_n,
        optimizer="sgd",
        learning_rate=1e30,
        warmup=0.0,
        evaluate_every=4,
    )
    with pytest.raises(TrainingError, match=r"step [234]\b.*learning_rate"):
        train(config)
    assert not (config.output / "config.json").exists()


@pytest.mark.parametrize("part", [0, 1])
def test_loss_that_is_not_finite_names_step_rate_and_images(make_config, monkeypatch, part):
    calls, forward = [], Learner.forward

    def bad(self, *arguments):
        calls.append(None)
        return forward(self, *arguments) * (math.nan if len(calls) == 3 + part else 1)

    monkeypatch.setattr(Learner, "forward", bad)
    config = make_config(evaluate_every=1, accumulate=2)
    with pytest.raises(TrainingError, match="the loss is nan at step 2") as caught:
        train(config)
    assert "learning_rate (its peak is 0.01)" in str(caught.value)
    stream = training.TrainingStream(read_dataset(Path(config.data.train[0])), config.seed)
    names = [stream[6 + 3 * part + i][2] for i in range(3)]
    assert str(caught.value).endswith(", ".join(names))
    # What was best before is a whole model.
    for folder in (config.output, config.output / "last"):
        assert json.loads((folder / "metrics.json").read_text())["step"] == 1
        assert all(tensor.isfinite().all() for tensor in weights_of(folder).values())


@pytest.mark.parametrize("clip", [None, 1.0])
def test_gradient_that_is_not_finite_changes_nothing(make_config, monkeypatch, clip):
    forward = Learner.forward

    def bad(self, sources, targets, step, part):
        loss = forward(self, sources, targets, step, part)
        bias = self.model.head.projection.bias
        # Its value is 0, and its slope infinite.
        return loss + ((bias[0] - bias[0].detach()).abs() + 0).sqrt() if step == 1 else loss

    monkeypatch.setattr(Learner, "forward", bad)
    config = make_config(evaluate_every=1, save_every=1, clip_norm=clip)
    with pytest.raises(TrainingError, match="the gradient's norm is nan at step 2"):
        train(config)
    assert [path.name for path in (config.output / "checkpoints").iterdir()] == ["00000001.pt"]
    assert all(tensor.isfinite().all() for tensor in weights_of(config.output).values())


def broken_copy(table: Path, folder: Path, places) -> Path:
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
    return write_table(folder / "table.csv", *copied)


def test_unreadable_training_images_are_passed_over(make_config, squares, tmp_path):
    table = broken_copy(squares[0], tmp_path / "broken", {3, 11})
    record = Record()
    train(make_config(train=table, steps=4, batch_size=6), record)
    warnings = [message for (message,) in record.of("warn")]
    for name in ("broken3.jpg", "broken11.jpg"):
        assert any(name in message and "took its place" in message for message in warnings)
    assert [images for *_, images in record.of("step")] == [6] * 4


def test_unreadable_validation_images_are_left_out(make_config, squares, tmp_path):
    table = broken_copy(squares[1], tmp_path / "broken", {0})
    record = Record()
    train(make_config(val=table, steps=1), record)
    ((_, result, _),) = record.of("evaluation")
    assert result.num_images == 15
    assert "broken0.jpg" in result.failures[0]
    ((warning,),) = record.of("warn")
    assert warning == f"{result.failures[0]}; it is left out of the validation"


@pytest.mark.parametrize("workers", [0, 1])
def test_no_readable_training_image(make_config, squares, tmp_path, workers):
    table = broken_copy(squares[0], tmp_path / "broken", range(24))
    with pytest.raises(DataError, match="none of the 24 training images can be read") as caught:
        train(make_config(train=table, workers=workers))
    assert "Traceback" not in str(caught.value)


# It learns


@pytest.mark.parametrize(
    "settings",
    [
        {"learning_rate": 0.03},
        {"learning_rate": 0.001, "freeze_backbone": False},
        {"learning_rate": 0.001, "freeze_backbone": False, "precision": "bf16-mixed", "ema": 0.8},
    ],
    ids=["head", "everything", "bf16"],
)
def test_colors_are_learned(make_config, settings):
    config = make_config(
        steps=40, batch_size=12, evaluate_every=20, augmentation="resize", **settings
    )
    record = Record()
    train(config, record)
    results = [result for _, result, _ in record.of("evaluation")]
    assert results[-1].fusions["global"].mAP > 95
    assert max(result.fusions["mean"].mAP for result in results) > 90
    assert fmean(record.losses[-5:]) < 0.7 * record.losses[0]
