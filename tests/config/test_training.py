import re
from dataclasses import replace
from pathlib import Path

import pytest

from didvit.config import (
    PAPER,
    ConfigError,
    DataConfig,
    DiDConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    RuntimeConfig,
    ScheduleConfig,
    TrainConfig,
    with_settings,
)

DATA = DataConfig(train=("a.csv",), val="b.csv")
BASELINE = ModelConfig(method=replace(PAPER, top_n=0))
FREE = {"freeze_backbone": False}


def train_config(**settings):
    return TrainConfig(data=DATA, output=Path("run"), **settings)


# Each group


@pytest.mark.parametrize(
    ("kind", "name", "settings"),
    [
        (DataConfig, "train", {"train": ()}),
        (DataConfig, "workers", {"workers": -1}),
        (DataConfig, "difficult", {"difficult": "maybe"}),
        (DataConfig, "without_labels", {"without_labels": "ignore"}),
        (DataConfig, "augmentation", {"augmentation": "crop"}),
        (LossConfig, "name", {"name": "hinge"}),
        (LossConfig, "positive_weights", {"positive_weights": "some"}),
        (LossConfig, "global_weight", {"global_weight": -1.0}),
        (LossConfig, "local_weight", {"local_weight": float("nan")}),
        (LossConfig, "global_weight", {"global_weight": 0.0, "local_weight": 0.0}),
        (LossConfig, "teacher", {"teacher": 3}),
        (LossConfig, "teacher_weight", {"teacher": "default", "teacher_weight": 0.0}),
        (LossConfig, "teacher_weight", {"teacher": "default", "teacher_weight": 1.01}),
        (LossConfig, "teacher_weight", {"teacher_weight": 0.9}),  # of no teacher
        (LossConfig, "global_weight", {"teacher": "default", "global_weight": 0.0}),
        (ScheduleConfig, "steps", {"steps": 0}),
        (ScheduleConfig, "batch_size", {"batch_size": 0}),
        (ScheduleConfig, "evaluate_every", {"evaluate_every": -1}),
        (ScheduleConfig, "save_every", {"save_every": 0}),
        (ScheduleConfig, "single_view_fraction", {"single_view_fraction": -0.01}),
        (ScheduleConfig, "single_view_fraction", {"single_view_fraction": 1.01}),
        (ScheduleConfig, "single_view_fraction", {"single_view_fraction": 400}),
        (ScheduleConfig, "single_view_fraction", {"single_view_fraction": float("nan")}),
        (ScheduleConfig, "single_view_fraction", {"single_view_fraction": None}),
        (ScheduleConfig, "small_fraction", {"small_fraction": -0.01}),
        (ScheduleConfig, "small_fraction", {"small_fraction": 1.01}),
        (ScheduleConfig, "small_fraction", {"small_fraction": None}),
        (ScheduleConfig, "small_size", {"small_fraction": 0.5, "small_size": (0, 16)}),
        (ScheduleConfig, "small_size", {"small_fraction": 0.5, "small_size": (16,)}),
        (ScheduleConfig, "small_size", {"small_fraction": 0.5, "small_size": (3, 16, 16)}),
        (ScheduleConfig, "small_size", {"small_fraction": 0.5, "small_size": 56}),
        (ScheduleConfig, "small_size", {"small_size": (56, 56)}),  # no step is small
        (ScheduleConfig, "warmup", {"warmup": 1.0}),
        (ScheduleConfig, "warmup", {"warmup": -0.1}),
        (OptimizerConfig, "name", {"name": "lion"}),
        (OptimizerConfig, "learning_rate", {"learning_rate": 0.0}),
        (OptimizerConfig, "learning_rate", {"learning_rate": -0.1}),
        (OptimizerConfig, "learning_rate", {"learning_rate": float("nan")}),
        (OptimizerConfig, "learning_rate", {"learning_rate": float("inf")}),
        (OptimizerConfig, "weight_decay", {"weight_decay": -1e-5}),
        (OptimizerConfig, "weight_decay", {"weight_decay": float("inf")}),
        (OptimizerConfig, "clip_norm", {"clip_norm": 0.0}),
        (OptimizerConfig, "clip_norm", {"clip_norm": float("nan")}),
        (OptimizerConfig, "clip_norm", {"clip_norm": float("inf")}),
        (OptimizerConfig, "layer_decay", FREE | {"layer_decay": 0.0}),
        (OptimizerConfig, "layer_decay", FREE | {"layer_decay": 1.1}),
        (OptimizerConfig, "layer_decay", {"layer_decay": 0.9}),
        (OptimizerConfig, "head_lr_scale", FREE | {"head_lr_scale": 0.0}),
        (OptimizerConfig, "head_lr_scale", {"head_lr_scale": 10.0}),
        (OptimizerConfig, "ema", {"ema": 1.0}),
        (OptimizerConfig, "ema", {"ema": -0.1}),
        (OptimizerConfig, "freeze_blocks", FREE | {"freeze_blocks": -1}),
        (OptimizerConfig, "freeze_blocks", {"freeze_blocks": 1}),
        (OptimizerConfig, "momentum", {"momentum": 0.9}),  # of adamw
        (OptimizerConfig, "momentum", {"momentum": 0.9, "name": "adamw"}),
        (OptimizerConfig, "momentum", {"momentum": 1.0, "name": "sgd"}),
        (OptimizerConfig, "momentum", {"momentum": -0.1, "name": "sgd"}),
        (RuntimeConfig, "devices", {"devices": 0}),
        (RuntimeConfig, "num_nodes", {"num_nodes": 0}),
        (RuntimeConfig, "accumulate", {"accumulate": 0}),
        (RuntimeConfig, "precision", {"precision": "fp16"}),
    ],
)
def test_impossible_values_of_a_group_are_refused(kind, name, settings):
    needed = {"train": ("a.csv",), "val": "b.csv"} if kind is DataConfig else {}
    with pytest.raises(ConfigError, match=f"^{name} is .*; expected "):
        kind(**{**needed, **settings})


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (LossConfig, {"global_weight": 0.0}),
        (LossConfig, {"local_weight": 0.0}),
        (LossConfig, {"teacher": "runs/large", "teacher_weight": 1.0}),
        (ScheduleConfig, {"steps": 1, "batch_size": 1, "evaluate_every": 1, "save_every": 1}),
        (ScheduleConfig, {"warmup": 0.0, "single_view_fraction": 0.0, "small_fraction": 1.0}),
        (ScheduleConfig, {"warmup": 0.99, "small_fraction": 1.0, "small_size": (1, 1)}),
        (OptimizerConfig, {"name": "sgd", "momentum": 0.0, "weight_decay": 0.0}),
        (OptimizerConfig, FREE | {"layer_decay": 0.01, "freeze_blocks": 99}),
        (OptimizerConfig, FREE | {"layer_decay": 1.0, "head_lr_scale": 100.0}),
        (OptimizerConfig, {"ema": 0.9999, "clip_norm": 1e-9}),
        (RuntimeConfig, {"devices": 64, "num_nodes": 8, "accumulate": 4}),
    ],
)
def test_extreme_values_of_a_group_are_accepted(kind, settings):
    config = kind(**settings)
    assert all(getattr(config, name) == value for name, value in settings.items())


# The groups together


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("choose", {"choose": "first"}),
        ("seed", {"seed": -1}),
        ("seed", {"seed": 2**31}),
        ("init_seed", {"init_seed": -1}),
        ("init_seed", {"init_seed": 2**31}),
        ("schedule", {"schedule": 100}),
        (
            "batch_size",
            {"schedule": ScheduleConfig(batch_size=6), "runtime": RuntimeConfig(accumulate=4)},
        ),
        (
            "batch_size",
            {"schedule": ScheduleConfig(batch_size=6), "runtime": RuntimeConfig(devices=4)},
        ),
        (
            "batch_size",
            {
                "schedule": ScheduleConfig(batch_size=8),
                "runtime": RuntimeConfig(devices=2, num_nodes=2, accumulate=4),
            },
        ),
        (
            "single_view_fraction",
            {"schedule": ScheduleConfig(single_view_fraction=0.5), "model": BASELINE},
        ),
    ],
)
def test_impossible_values_are_refused(name, settings):
    with pytest.raises(ConfigError, match=f"^{name} is .*; expected "):
        train_config(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"seed": 0, "init_seed": 2**31 - 1},
        {"seed": 2**31 - 1, "init_seed": 0},
        {"model": BASELINE},
        {"model": BASELINE, "schedule": ScheduleConfig(single_view_fraction=0.0)},
        {
            "schedule": ScheduleConfig(batch_size=16),
            "runtime": RuntimeConfig(devices=2, num_nodes=2, accumulate=4),
        },
    ],
)
def test_extreme_values_are_accepted(settings):
    config = train_config(**settings)
    assert all(getattr(config, name) == value for name, value in settings.items())


# Fractions of the steps


@pytest.mark.parametrize(
    ("fraction", "steps", "expected"),
    [
        (0.0, 500, 0),
        (1.0, 500, 500),
        (0, 1, 0),
        (1, 1, 1),
        (0.4, 1, 0),
        (0.6, 1, 1),
        (0.001, 100, 0),
        (0.999, 100, 100),
        (1 / 3, 10, 3),
        (2 / 3, 10, 7),
        (13 / 15, 1_500, 1_300),
        (13 / 15, 300, 260),
    ],
)
def test_fractions_become_whole_numbers_of_steps(fraction, steps, expected):
    schedule = ScheduleConfig(
        steps=steps, single_view_fraction=fraction, small_fraction=1 - fraction
    )
    assert (schedule.single_view_steps, schedule.small_steps) == (expected, steps - expected)
    swapped = ScheduleConfig(
        steps=steps, single_view_fraction=1 - fraction, small_fraction=fraction
    )
    assert (swapped.single_view_steps, swapped.small_steps) == (steps - expected, expected)


def test_other_numbers_of_steps_keep_the_fractions():
    schedule = ScheduleConfig(steps=1_500, single_view_fraction=0.8, small_fraction=0.2)
    shorter = replace(schedule, steps=10)
    assert (shorter.single_view_steps, shorter.small_steps) == (8, 2)


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [
        (0.0, [True] * 4),
        (0.25, [False, True, True, True]),
        (0.5, [False, False, True, True]),
        (1.0, [False, False, False, True]),
    ],
)
def test_views_are_scored_after_the_single_view_steps_and_in_the_end(fraction, expected):
    schedule = ScheduleConfig(steps=4, single_view_fraction=fraction)
    config = train_config(schedule=schedule)
    assert [config.scores_views(step) for step in range(1, 5)] == expected


# Weights of the branches


def test_single_view_steps_need_the_global_branch():
    loss = LossConfig(global_weight=0.0)
    some, none = (ScheduleConfig(single_view_fraction=fraction) for fraction in (0.5, 0.0))
    with pytest.raises(ConfigError, match=r"^global_weight is 0.0; expected > 0 in single-view"):
        train_config(loss=loss, schedule=some)
    assert train_config(loss=loss, schedule=none).loss.global_weight == 0


@pytest.mark.parametrize("name", ["global_weight", "local_weight"])
@pytest.mark.parametrize("value", [0.0, 0.5, 2.0])
@pytest.mark.parametrize(
    "settings", [{}, {"schedule": ScheduleConfig(steps=7)}, {"model": BASELINE}], ids=str
)
def test_one_branch_alone_has_no_weights(name, value, settings):
    loss = LossConfig(**{name: value})
    with pytest.raises(ConfigError, match=rf"^{name} is {value}; expected 1, as no step learns"):
        train_config(loss=loss, **settings)


@pytest.mark.parametrize("name", ["global_weight", "local_weight"])
def test_both_branches_have_weights_where_some_step_has_both(name):
    almost_all = ScheduleConfig(steps=500, single_view_fraction=0.998)
    assert almost_all.single_view_steps == 499
    loss = LossConfig(**{name: 0.5})
    assert train_config(loss=loss, schedule=almost_all).loss == loss


# The weights are not chosen on what is called a test set


@pytest.mark.parametrize(
    "val",
    [
        *("test.csv", "a/test.csv", "VOC2007:test", "coco:test2014", "a/test", "my_test.csv"),
        *("TEST.csv", "test-1.jsonl", "shards/test-{000..003}.tar", "hub/data:test"),
    ],
)
def test_a_test_set_is_refused(val):
    data = DataConfig(("a.csv",), val)
    with pytest.raises(ConfigError, match=f"^val is {re.escape(val)}, .* choose = last"):
        TrainConfig(data, Path("run"))
    assert TrainConfig(data, Path("run"), choose="last").data.val == val


@pytest.mark.parametrize(
    "val",
    [
        *("val.csv", "x/test/val.csv", "VOC2007:val"),
        *("contest.csv", "latest.csv", "test/coco:val2017"),
    ],
)
def test_others_are_accepted(val):
    assert TrainConfig(DataConfig(("a.csv",), val), Path("run")).data.val == val


# Settings by their own names


def test_settings_are_replaced_in_their_groups():
    config = train_config()
    changed = with_settings(
        config, {"seed": 3, "steps": 7, "top_n": 2, "device": "cpu", "workers": 0, "head": "csra"}
    )
    assert changed == TrainConfig(
        replace(DATA, workers=0),
        Path("run"),
        replace(config.model, head="csra", method=replace(config.model.method, top_n=2)),
        schedule=replace(config.schedule, steps=7),
        seed=3,
        runtime=RuntimeConfig("cpu"),
    )
    assert config == train_config()


def test_settings_may_depend_on_one_another():
    changed = with_settings(train_config(), {"small_fraction": 0.5, "small_size": (14, 14)})
    assert changed.schedule.small_size == (14, 14)
    changed = with_settings(changed, {"batch_size": 30, "accumulate": 3})
    assert (changed.schedule.batch_size, changed.runtime.accumulate) == (30, 3)


def test_a_setting_may_be_set_to_none():
    changed = with_settings(with_settings(train_config(), {"clip_norm": 1.0}), {"clip_norm": None})
    assert changed == train_config()


def test_no_change_is_the_same_configuration():
    assert with_settings(train_config(), {}) == train_config()


@pytest.mark.parametrize("config", [DiDConfig(), ModelConfig(), ScheduleConfig()])
def test_every_configuration_can_be_changed(config):
    name = {DiDConfig: "tiles", ModelConfig: "tiles", ScheduleConfig: "steps"}[type(config)]
    changed = with_settings(config, {name: 3})
    assert getattr(changed.method if name == "tiles" and config == ModelConfig() else changed, name)
    assert type(changed) is type(config)
    assert changed != config


@pytest.mark.parametrize("name", ["top_m", "", "schedule", "method", "model.top_n", "global_steps"])
def test_an_unknown_name_is_refused(name):
    with pytest.raises(ConfigError, match=rf"^{re.escape(name)} is no .*: no group has it"):
        with_settings(train_config(), {"steps": 3, name: 1})


@pytest.mark.parametrize(("name", "group"), [("schedule", True), ("model", True), ("top_m", False)])
def test_the_name_of_a_group_is_told_from_an_unknown_one(name, group):
    with pytest.raises(ConfigError) as error:
        with_settings(train_config(), {name: 1})
    assert ("it is a group" in str(error.value)) == group


def test_an_ambiguous_name_is_refused():
    """Loss and optimizer both have a name."""
    with pytest.raises(ConfigError, match=r"^name is no .*: 2 groups have it"):
        with_settings(train_config(), {"name": "sgd"})
    assert with_settings(OptimizerConfig(), {"name": "sgd"}).name == "sgd"


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"top_n": -1}, "top_n is -1"),
        ({"steps": 0}, "steps is 0"),
        ({"batch_size": 7, "accumulate": 2}, "batch_size is 7; expected a multiple of 2"),
    ],
)
def test_an_impossible_value_is_refused(changes, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        with_settings(train_config(), changes)
