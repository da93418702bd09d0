import dataclasses
import json
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from didvit.config.recipes import RECIPES
from didvit.config.serialization import changed_settings, from_json, to_json

TINY = ModelConfig("test_vit", "random", (32, 48), method=with_settings(PAPER, {"top_n": 2}))
TRAIN = TrainConfig(DataConfig(("a.csv",), "b.csv"), Path("run"), TINY)


# From any configuration to JSON and back


def choices(kind):
    """Strategies for the settings of a configuration that are choices."""
    return {
        field.name: st.sampled_from(get_args(field.type))
        for field in dataclasses.fields(kind)
        if get_args(field.type) and all(isinstance(arg, str) for arg in get_args(field.type))
    }


paths = st.text("abc/. é", min_size=1).map(Path)
sizes = st.tuples(st.integers(1, 999), st.integers(1, 999))
positive = st.floats(1e-9, 1e9)
unit = st.floats(0, 1)

methods = st.builds(
    DiDConfig,
    top_n=st.integers(0, 99),
    box_threshold=st.floats(0.01, 0.99),
    view_scale=st.floats(0.01, 4),
    tiles=st.integers(0, 9),
    **choices(DiDConfig),
)
models = st.builds(
    ModelConfig,
    backbone=st.text(),
    weights=st.text(),
    image_size=sizes,
    method=methods,
    **choices(ModelConfig),
)
data = st.builds(
    DataConfig,
    train=st.lists(st.text(), min_size=1).map(tuple),
    val=st.text(),
    root=st.none() | paths,
    workers=st.integers(0, 9),
    **choices(DataConfig),
)
losses = st.builds(LossConfig, global_weight=positive, local_weight=positive, **choices(LossConfig))
schedules = st.builds(
    ScheduleConfig,
    steps=st.integers(1, 10**6),
    batch_size=st.integers(1, 99),
    single_view_fraction=unit,
    small_fraction=st.floats(0.1, 1),
    small_size=st.none() | sizes,
    warmup=st.floats(0, 0.9),
)
optimizers = st.builds(
    OptimizerConfig,
    name=st.sampled_from(("sgd", "adamw")),
    learning_rate=st.none() | positive,
    layer_decay=st.floats(0.1, 1),
    clip_norm=st.none() | positive,
    freeze_backbone=st.just(False),
    freeze_blocks=st.integers(0, 99),
)
runtimes = st.builds(RuntimeConfig, compile=st.booleans(), **choices(RuntimeConfig))
trainings = st.builds(
    TrainConfig,
    data=data,
    output=paths,
    model=models,
    start_from=st.none() | st.text(),
    schedule=schedules.map(lambda schedule: with_settings(schedule, {"single_view_fraction": 1.0})),
    optimizer=optimizers,
    choose=st.just("last"),
    resume=st.booleans(),
    seed=st.integers(0, 2**31 - 1),
    init_seed=st.none() | st.integers(0, 2**31 - 1),
    runtime=runtimes,
)


@pytest.mark.parametrize(
    "configs",
    [methods, models, data, losses, schedules, optimizers, runtimes, trainings],
    ids=["method", "model", "data", "loss", "schedule", "optimizer", "runtime", "training"],
)
@given(drawn=st.data())
def test_round_trip(configs, drawn):
    config = drawn.draw(configs)
    assert from_json(type(config), json.loads(json.dumps(to_json(config)))) == config


@pytest.mark.parametrize("name", RECIPES)
def test_round_trip_of_recipes(name):
    config = RECIPES[name].config
    assert from_json(TrainConfig, to_json(config)) == config


def test_the_form():
    values = to_json(TRAIN)
    assert values.keys() == {field.name for field in dataclasses.fields(TrainConfig)}
    assert values["data"] == {
        **{"train": ["a.csv"], "val": "b.csv", "root": None, "workers": 2},
        **{"difficult": "ignore", "without_labels": "keep", "augmentation": "multi_scale_crop"},
    }
    assert values["output"] == "run"
    assert values["model"]["image_size"] == [32, 48]
    assert values["model"]["method"]["top_n"] == 2
    assert values["optimizer"]["learning_rate"] is None
    assert values == json.loads(json.dumps(values))


# What is refused


def changed(values, path, value):
    """Values with one setting, named with its groups, replaced."""
    name, _, rest = path.partition(".")
    return {**values, name: changed(values[name], rest, value) if rest else value}


def without(values, path):
    name, _, rest = path.partition(".")
    if rest:
        return {**values, name: without(values[name], rest)}
    return {key: value for key, value in values.items() if key != name}


SETTINGS = ("seed", "data.root", "model.head", "model.method.top_n", "schedule.small_size")


@pytest.mark.parametrize("path", SETTINGS)
def test_a_missing_setting_is_refused(path):
    """One with a default too: another version may have had another."""
    name = path.rpartition(".")[2]
    with pytest.raises(ConfigError, match=f"unknown none; missing {name}$"):
        from_json(TrainConfig, without(to_json(TRAIN), path))


@pytest.mark.parametrize("path", SETTINGS)
def test_an_unknown_setting_is_refused(path):
    group = path.rpartition(".")[0]
    with pytest.raises(ConfigError, match=r"unknown colour; missing none$"):
        from_json(TrainConfig, changed(to_json(TRAIN), f"{group}.colour".strip("."), 1))


def test_all_unknown_and_missing_settings_are_named():
    values = to_json(PAPER)
    values |= {"top_m": values.pop("top_n"), "tilings": values.pop("tiles")}
    with pytest.raises(ConfigError, match="unknown tilings, top_m; missing tiles, top_n"):
        from_json(DiDConfig, values)


@pytest.mark.parametrize("value", [None, 3, "text", [], [["top_n", 2]]])
@pytest.mark.parametrize("group", ["data", "model", "model.method", "runtime"])
def test_a_group_that_is_none_is_refused(group, value):
    name = group.rpartition(".")[2]
    with pytest.raises(ConfigError, match=rf"^{name} is .*; expected names and values of settings"):
        from_json(TrainConfig, changed(to_json(TRAIN), group, value))


@pytest.mark.parametrize("value", [None, 3, "text", []])
def test_what_is_no_configuration_is_refused(value):
    with pytest.raises(ConfigError, match=r"^the configuration is .*; expected names and values"):
        from_json(TrainConfig, value)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("model.method.fusion", "sum", "fusion is 'sum'"),
        ("model.image_size", 32, "image_size is 32; expected a tuple"),
        ("model.image_size", "32", "image_size is '32'; expected a tuple"),
        ("model.image_size", [32], r"image_size is \(32,\); expected a height and a width"),
        ("model.image_size", ["a", "b"], "image_size is .*; expected a tuple, of a whole number"),
        ("data.train", "a.csv", "train is 'a.csv'; expected a tuple, of a text each"),
        ("data.train", [], "train is .*; expected at least one data set"),
        ("data.root", 3, "root is 3; expected a Path or none"),
        ("output", None, "output is None; expected a Path"),
        ("schedule.steps", "many", "steps is 'many'; expected a whole number"),
        ("schedule.batch_size", 0, "batch_size is 0; expected 1 or more"),
        ("optimizer.name", "lion", "name is 'lion'; expected sgd or adamw"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_an_impossible_value_is_refused_by_name(path, value, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        from_json(TrainConfig, changed(to_json(TRAIN), path, value))


# Differences


def test_no_difference():
    assert changed_settings(to_json(TRAIN), to_json(TRAIN)) == []


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("seed", 1, "seed was 0 and is 1"),
        ("output", "other", "output was run and is other"),
        ("model.method.tiles", 2, "model.method.tiles was 0 and is 2"),
        ("model.image_size", [48, 32], "model.image_size was [32, 48] and is [48, 32]"),
        ("optimizer.learning_rate", 0.1, "optimizer.learning_rate was None and is 0.1"),
    ],
)
def test_a_difference_is_named_with_its_groups(path, value, expected):
    new = changed(to_json(TRAIN), path, value)
    assert changed_settings(to_json(TRAIN), new) == [expected]
    assert changed_settings(to_json(TRAIN), new, {path}) == []
    assert changed_settings(to_json(TRAIN), new, {"model", "data.root"}) == [expected]


def test_differences_come_by_name():
    old = to_json(TRAIN)
    new = changed(changed(old, "seed", 1), "data.workers", 0)
    assert changed_settings(old, new) == ["data.workers was 2 and is 0", "seed was 0 and is 1"]


def test_a_setting_that_only_one_has_is_a_difference():
    old = to_json(TRAIN)
    assert changed_settings(without(old, "model.method.tiles"), old) == [
        "model.method.tiles was None and is 0"
    ]
    assert changed_settings({**old, "colour": "red"}, old) == ["colour was red and is None"]
