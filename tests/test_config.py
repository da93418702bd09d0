import dataclasses
import json
import math
import re
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from didvit.config import ConfigError, DataConfig, LossConfig, ModelConfig, TrainConfig
from didvit.config_json import model_config_from_json, to_json
from didvit.data.transforms import TRAIN_TRANSFORMS
from didvit.heads import HEADS, KNOWING_HEADS
from didvit.hypotheses import LOCALIZERS
from didvit.losses import LOSSES
from didvit.method import FUSIONS, NORMALIZATIONS, RECONSTRAINTS, SELECTORS
from didvit.method.rollout import ORDERS
from didvit.presets import PRESETS
from didvit.processes import FABRIC_PRECISIONS

CHOICES = {
    "selection": SELECTORS,
    "normalization": NORMALIZATIONS,
    "reconstraint": RECONSTRAINTS,
    "localization": LOCALIZERS,
    "fusion": FUSIONS,
    "crop_from": ("raw", "input"),
    "rollout_order": ORDERS,
    "head": HEADS | KNOWING_HEADS,
}
TINY = ModelConfig(backbone="test_vit", weights="random", image_size=(32, 48), top_n=2)
DATA = DataConfig(train=("a.csv",), val="b.csv")


def train_config(**settings):
    return TrainConfig(data=DATA, output=Path("run"), **settings)


class TestModelConfig:
    def test_the_defaults_are_the_didvit_preset(self):
        assert dataclasses.replace(ModelConfig(), **PRESETS["didvit"]) == ModelConfig()

    @pytest.mark.parametrize("name", CHOICES)
    def test_choices_are_those_of_the_method(self, name):
        types = {field.name: field.type for field in dataclasses.fields(ModelConfig)}
        assert sorted(get_args(types[name])) == sorted(CHOICES[name])
        for choice in CHOICES[name]:
            assert getattr(ModelConfig(**{name: choice}), name) == choice

    @pytest.mark.parametrize("name", CHOICES)
    def test_other_choices_are_refused(self, name):
        with pytest.raises(ConfigError, match=f"{name} is 'nonsense'; expected ") as caught:
            ModelConfig(**{name: "nonsense"})
        assert all(choice in str(caught.value) for choice in CHOICES[name])

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("top_n", -1),
            ("box_threshold", 0.0),
            ("box_threshold", 1.0),
            ("box_threshold", -0.5),
            ("box_threshold", 1.5),
            ("box_threshold", float("nan")),
            ("image_size", (0, 224)),
            ("image_size", (224, -14)),
            ("image_size", ()),
            ("image_size", (224,)),
            ("image_size", (3, 224, 224)),
            ("view_scale", 0),
            ("view_scale", -0.5),
            ("box_padding", -0.1),
            ("tiles", -1),
            ("csra_heads", 2),  # of another head
            ("csra_weight", 0.1),
            ("label_embeddings", "random"),
        ],
    )
    def test_impossible_values_are_refused(self, name, value):
        with pytest.raises(ConfigError, match=name) as caught:
            ModelConfig(**{name: value})
        assert str(value) in str(caught.value)
        assert "expected" in str(caught.value)

    @pytest.mark.parametrize(("name", "value"), [("csra_heads", 3), ("csra_weight", -0.1)])
    def test_impossible_values_of_csra_are_refused(self, name, value):
        with pytest.raises(ConfigError, match=f"{name} is {value}"):
            ModelConfig(head="csra", **{name: value})

    @pytest.mark.parametrize(("name", "value"), [("top_n", 0), ("box_threshold", 0.01)])
    def test_extreme_values_are_accepted(self, name, value):
        assert getattr(ModelConfig(**{name: value}), name) == value

    def test_it_is_frozen(self):
        with pytest.raises(dataclasses.FrozenInstanceError):
            ModelConfig().top_n = 3


class TestTrainConfig:
    @pytest.mark.parametrize(
        ("name", "settings"),
        [
            ("steps", {"steps": 0}),
            ("batch_size", {"batch_size": 0}),
            ("evaluate_every", {"evaluate_every": -1}),
            ("global_steps", {"global_steps": -1}),
            ("global_steps", {"global_steps": 501}),
            ("global_steps", {"global_steps": 1, "model": ModelConfig(top_n=0)}),
            ("learning_rate", {"learning_rate": 0.0}),
            ("learning_rate", {"learning_rate": -0.1}),
            ("learning_rate", {"learning_rate": float("nan")}),
            ("weight_decay", {"weight_decay": -1e-5}),
            ("warmup", {"warmup": 1.0}),
            ("warmup", {"warmup": -0.1}),
            ("seed", {"seed": -1}),
            ("seed", {"seed": 2**31}),
            ("init_seed", {"init_seed": -1}),
            ("init_seed", {"init_seed": 2**31}),
            ("save_every", {"save_every": 0}),
            ("accumulate", {"accumulate": 0}),
            ("devices", {"devices": 0}),
            ("num_nodes", {"num_nodes": 0}),
            ("batch_size", {"batch_size": 6, "accumulate": 4}),
            ("batch_size", {"batch_size": 6, "devices": 4}),
            ("batch_size", {"batch_size": 8, "devices": 2, "num_nodes": 2, "accumulate": 4}),
            ("small_steps", {"small_steps": 501}),
            ("small_steps", {"small_steps": -1}),
            ("small_size", {"small_size": (0, 16)}),
            ("small_size", {"small_size": (56, 56)}),  # there are no small steps
            ("small_size", {"small_size": 56}),
            ("learning_rate", {"learning_rate": float("inf")}),
            ("weight_decay", {"weight_decay": float("inf")}),
            ("clip_norm", {"clip_norm": float("inf")}),
            ("steps", {"steps": 10.0}),
            ("steps", {"steps": True}),
            ("learning_rate", {"learning_rate": "0.1"}),
            ("freeze_backbone", {"freeze_backbone": 0}),
            ("layer_decay", {"layer_decay": 0.0, "freeze_backbone": False}),
            ("layer_decay", {"layer_decay": 1.1, "freeze_backbone": False}),
            ("layer_decay", {"layer_decay": 0.9}),
            ("head_rate", {"head_rate": 0.0, "freeze_backbone": False}),
            ("head_rate", {"head_rate": 10.0}),
            ("clip_norm", {"clip_norm": 0.0}),
            ("clip_norm", {"clip_norm": float("nan")}),
            ("ema", {"ema": 1.0}),
            ("ema", {"ema": -0.1}),
            ("freeze_blocks", {"freeze_blocks": -1, "freeze_backbone": False}),
            ("freeze_blocks", {"freeze_blocks": 1}),
            ("choose", {"choose": "first"}),
            ("precision", {"precision": "fp16"}),
            ("momentum", {"momentum": 0.9}),
            ("momentum", {"momentum": 0.9, "optimizer": "adamw"}),
            ("momentum", {"momentum": 1.0, "optimizer": "sgd"}),
            ("momentum", {"momentum": -0.1, "optimizer": "sgd"}),
            ("optimizer", {"optimizer": "lion"}),
            ("train_transform", {"train_transform": "crop"}),
        ],
    )
    def test_impossible_values_are_refused(self, name, settings):
        with pytest.raises(ConfigError, match=f"^{name} is .*expected"):
            train_config(**settings)

    @pytest.mark.parametrize(
        "settings",
        [
            {},
            {"steps": 1, "batch_size": 1, "evaluate_every": 1},
            {"steps": 5, "global_steps": 5},
            {"optimizer": "sgd", "momentum": 0.0},
            {"warmup": 0.0, "weight_decay": 0.0, "seed": 0},
            {"model": ModelConfig(top_n=0)},
            {"batch_size": 16, "devices": 2, "num_nodes": 2, "accumulate": 4},
            {"steps": 5, "small_steps": 5, "small_size": (1, 1)},
            {"layer_decay": 0.01, "freeze_backbone": False, "freeze_blocks": 99},
            {"ema": 0.9999, "clip_norm": 1e-9, "seed": 2**31 - 1},
        ],
    )
    def test_extreme_values_are_accepted(self, settings):
        config = train_config(**settings)
        assert all(getattr(config, name) == value for name, value in settings.items())

    @pytest.mark.parametrize(
        ("name", "settings"),
        [
            ("train", {"train": ()}),
            ("workers", {"workers": -1}),
            ("difficult", {"difficult": "maybe"}),
            ("without_labels", {"without_labels": "ignore"}),
        ],
    )
    def test_impossible_data_are_refused(self, name, settings):
        with pytest.raises(ConfigError, match=f"^{name} is .*expected"):
            DataConfig(**{**{"train": ("a.csv",), "val": "b.csv"}, **settings})


class TestValidationData:
    """The weights are not chosen on what is called a test set."""

    @pytest.mark.parametrize(
        "val",
        [
            *("test.csv", "a/test.csv", "VOC2007:test", "coco:test2014", "a/test", "my_test.csv"),
            *("TEST.csv", "test-1.jsonl", "shards/test-{000..003}.tar", "hub/data:test"),
        ],
    )
    def test_a_test_set_is_refused(self, val):
        data = DataConfig(("a.csv",), val)
        with pytest.raises(ConfigError, match=f"^val is {re.escape(val)}, .* choose = last"):
            TrainConfig(data, Path("run"))
        assert TrainConfig(data, Path("run"), choose="last").data.val == val

    @pytest.mark.parametrize(
        "val",
        [
            "val.csv",
            "x/test/val.csv",
            "VOC2007:val",
            "contest.csv",
            "latest.csv",
            "test/coco:val2017",
        ],
    )
    def test_others_are_accepted(self, val):
        assert TrainConfig(DataConfig(("a.csv",), val), Path("run")).data.val == val


class TestLossConfig:
    def test_choices_are_those_of_the_losses(self):
        types = {field.name: field.type for field in dataclasses.fields(LossConfig)}
        assert set(get_args(types["name"])) == LOSSES.keys()

    @pytest.mark.parametrize(
        ("name", "settings"),
        [
            ("name", {"name": "hinge"}),
            ("positive_weights", {"positive_weights": "some"}),
            ("global_weight", {"global_weight": -1.0}),
            ("local_weight", {"local_weight": float("nan")}),
            ("global_weight", {"global_weight": 0.0, "local_weight": 0.0}),
        ],
    )
    def test_impossible_values_are_refused(self, name, settings):
        with pytest.raises(ConfigError, match=f"^{name} is .*expected"):
            LossConfig(**settings)

    def test_global_steps_need_the_global_branch(self):
        loss = LossConfig(global_weight=0.0)
        with pytest.raises(ConfigError, match=r"^global_weight is 0.0; expected > 0 in the global"):
            train_config(loss=loss, global_steps=1)
        assert train_config(loss=loss, global_steps=0).loss.global_weight == 0

    @pytest.mark.parametrize("name", ["global_weight", "local_weight"])
    @pytest.mark.parametrize("value", [0.0, 0.5, 2.0])
    @pytest.mark.parametrize(
        "settings",
        [{}, {"global_steps": 500}, {"model": ModelConfig(top_n=0)}],
    )
    def test_one_branch_alone_has_no_weights(self, name, value, settings):
        loss = LossConfig(**{name: value})
        with pytest.raises(ConfigError, match=rf"^{name} is {value}; expected 1, as no step"):
            train_config(loss=loss, **settings)
        if value:
            assert getattr(train_config(loss=loss, global_steps=499).loss, name) == value

    def test_unset_global_steps_are_all(self):
        assert train_config().num_global_steps == train_config().steps
        assert [train_config(global_steps=n).num_global_steps for n in (0, 3)] == [0, 3]

    @pytest.mark.parametrize("name", ["global_weight", "local_weight"])
    def test_one_branch_may_count_alone(self, name):
        assert getattr(LossConfig(**{name: 0.0}), name) == 0


def test_transforms_are_those_of_the_data():
    types = {field.name: field.type for field in dataclasses.fields(TrainConfig)}
    assert set(get_args(types["train_transform"])) == TRAIN_TRANSFORMS.keys()


def test_precisions_are_those_of_the_processes():
    types = {field.name: field.type for field in dataclasses.fields(TrainConfig)}
    assert set(get_args(types["precision"])) == FABRIC_PRECISIONS.keys()


class TestJson:
    @given(
        st.builds(
            ModelConfig,
            backbone=st.text(),
            weights=st.text(),
            image_size=st.tuples(st.integers(1, 999), st.integers(1, 999)),
            top_n=st.integers(0, 99),
            box_threshold=st.floats(0.01, 0.99),
            **{name: st.sampled_from(sorted(choices)) for name, choices in CHOICES.items()},
        )
    )
    def test_round_trip(self, config):
        assert model_config_from_json(json.loads(json.dumps(to_json(config)))) == config

    def test_of_a_training(self):
        values = json.loads(json.dumps(to_json(train_config(model=TINY))))
        assert values["data"] == {
            **{"train": ["a.csv"], "val": "b.csv", "root": None, "workers": 2},
            **{"difficult": "ignore", "without_labels": "keep"},
        }
        assert values["output"] == "run"
        assert values["model"]["image_size"] == [32, 48]
        assert values["learning_rate"] is None
        assert values.keys() == {field.name for field in dataclasses.fields(TrainConfig)}
        assert model_config_from_json(values["model"]) == TINY

    def test_unknown_and_missing_settings_are_refused(self):
        values = to_json(TINY)
        values["top_m"] = values.pop("top_n")
        with pytest.raises(ConfigError, match=r"top_m.*top_n"):
            model_config_from_json(values)

    def test_impossible_settings_are_refused(self):
        with pytest.raises(ConfigError, match="fusion is 'sum'"):
            model_config_from_json({**to_json(TINY), "fusion": "sum"})

    def test_a_file_of_an_early_version_means_what_it_meant(self):
        early = {
            **{"backbone": "test_vit", "weights": "random", "image_size": [32, 48], "top_n": 4},
            **{"box_threshold": 0.6, "selection": "descending", "normalization": "column"},
            **{"reconstraint": "hadamard", "localization": "largest_component"},
            **{"crop_from": "raw", "fusion": "mean"},
        }
        config = model_config_from_json(early)
        assert config == dataclasses.replace(TINY, **PRESETS["paper"])
        assert (config.head, config.csra_heads, config.label_embeddings) == ("baseline", None, None)

    def test_the_size_of_views_was_another_setting_for_a_while(self):
        values = to_json(TINY)
        del values["view_scale"]
        assert model_config_from_json({**values, "view_size": None}).view_scale == 1
        with pytest.raises(ConfigError, match="unknown view_size"):
            model_config_from_json({**values, "view_size": [16, 32]})


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (ModelConfig, {"backbone": 5}, "backbone is 5; expected a text"),
        (ModelConfig, {"top_n": 1.5}, "top_n is 1.5; expected a whole number"),
        (ModelConfig, {"csra_heads": "4"}, "csra_heads is '4'; expected a whole number or none"),
        (ModelConfig, {"box_padding": math.inf}, "box_padding is inf; expected a finite number"),
        (ModelConfig, {"image_size": [224, 224]}, "expected a tuple, of a whole number each"),
        (TrainConfig, {"data": DATA, "output": "runs/a"}, "output is 'runs/a'; expected a Path"),
        (DataConfig, {"train": "train.csv", "val": "v"}, "train is 'train.csv'; expected a tuple"),
        (LossConfig, {"global_weight": None}, "global_weight is None; expected a finite number"),
    ],
)
def test_values_of_another_type(kind, settings, message):
    with pytest.raises(ConfigError, match=message):
        kind(**settings)


def test_whole_numbers_are_numbers():
    assert ModelConfig(box_padding=1).box_padding == 1
    assert train_config(learning_rate=None, clip_norm=1).clip_norm == 1
