import dataclasses
import json
from pathlib import Path
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from didvit.config import (
    ConfigError,
    DataConfig,
    ModelConfig,
    TrainConfig,
    build_model,
    model_config_from_json,
    to_json,
)
from didvit.method import FUSIONS, LOCALIZERS, NORMALIZATIONS, RECONSTRAINTS, SELECTORS
from didvit.weights import WeightsError

CHOICES = {
    "selection": SELECTORS,
    "normalization": NORMALIZATIONS,
    "reconstraint": RECONSTRAINTS,
    "localization": LOCALIZERS,
    "fusion": FUSIONS,
    "crop_from": ("raw", "input"),
}
TINY = ModelConfig(backbone="test_vit", weights="random", image_size=(32, 48), top_n=2)
DATA = DataConfig(train=(Path("a.csv"),), val=Path("b.csv"))


def train_config(**settings):
    return TrainConfig(data=DATA, output=Path("run"), **settings)


class TestModelConfig:
    def test_the_defaults_are_the_papers(self):
        config = ModelConfig()
        assert (config.top_n, config.box_threshold, config.selection) == (4, 0.6, "descending")
        assert (config.normalization, config.reconstraint) == ("column", "hadamard")
        assert (config.localization, config.crop_from) == ("largest_component", "raw")
        assert config.fusion == "mean"

    @pytest.mark.parametrize("name", CHOICES)
    def test_choices_are_those_of_the_method(self, name):
        types = {field.name: field.type for field in dataclasses.fields(ModelConfig)}
        assert sorted(get_args(types[name])) == sorted(CHOICES[name])
        for choice in CHOICES[name]:
            assert getattr(ModelConfig(**{name: choice}), name) == choice

    @pytest.mark.parametrize("name", CHOICES)
    def test_other_choices_are_refused(self, name):
        with pytest.raises(ConfigError, match=f"{name} is nonsense; expected ") as caught:
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
        ],
    )
    def test_impossible_values_are_refused(self, name, value):
        with pytest.raises(ConfigError, match=name) as caught:
            ModelConfig(**{name: value})
        assert str(value) in str(caught.value)
        assert "expected" in str(caught.value)

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
        ],
    )
    def test_extreme_values_are_accepted(self, settings):
        config = train_config(**settings)
        assert all(getattr(config, name) == value for name, value in settings.items())

    @pytest.mark.parametrize(
        ("name", "settings"), [("train", {"train": ()}), ("workers", {"workers": -1})]
    )
    def test_impossible_data_are_refused(self, name, settings):
        with pytest.raises(ConfigError, match=f"^{name} is .*expected"):
            DataConfig(**{**{"train": (Path("a.csv"),), "val": Path("b.csv")}, **settings})


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
        assert values["data"] == {"train": ["a.csv"], "val": "b.csv", "workers": 2}
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
        with pytest.raises(ConfigError, match="fusion is sum"):
            model_config_from_json({**to_json(TINY), "fusion": "sum"})


class TestBuildModel:
    def test_settings_reach_the_model(self):
        config = dataclasses.replace(
            TINY,
            top_n=3,
            box_threshold=0.7,
            selection="ascending",
            normalization="row",
            reconstraint="sum",
            localization="mcar",
            crop_from="input",
            fusion="max",
        )
        model = build_model(config, 5)
        assert (model.top_n, model.box_threshold, model.crop_from) == (3, 0.7, "input")
        assert model.select is SELECTORS["ascending"]
        assert model.normalization is NORMALIZATIONS["row"]
        assert model.reconstrain is RECONSTRAINTS["sum"]
        assert model.localize is LOCALIZERS["mcar"]
        assert model.fuse is FUSIONS["max"]
        output = model(torch.rand(2, 3, 32, 48))
        assert output.view_logits.shape == (2, 3, 5)
        assert output.semantic_maps.shape == (2, 5, 2, 3)

    def test_as_many_regions_as_labels(self):
        assert build_model(TINY, 2)(torch.rand(1, 3, 32, 48)).logits.shape == (1, 2)

    def test_more_regions_than_labels(self):
        with pytest.raises(ConfigError, match="top_n is 2, but there are only 1 labels"):
            build_model(TINY, 1)

    @pytest.mark.parametrize("image_size", [(33, 48), (32, 47), (8, 8), (16, 8)])
    def test_sides_that_are_not_whole_patches(self, image_size):
        config = dataclasses.replace(TINY, image_size=image_size)
        with pytest.raises(WeightsError, match=r"image_size.*16x16"):
            build_model(config, 5)

    @pytest.mark.parametrize("image_size", [(8, 8), (225, 224)])
    def test_sides_that_are_not_whole_patches_of_the_embedded_backbone(self, image_size):
        with pytest.raises(WeightsError, match=r"image_size.*14x14"):
            build_model(ModelConfig(image_size=image_size), 5)

    def test_without_pretrained_weights_none_are_looked_for(self):
        config = dataclasses.replace(TINY, weights="none.safetensors")
        assert build_model(config, 5, pretrained=False).top_n == 2
        with pytest.raises(ValueError, match=r"none\.safetensors"):
            build_model(config, 5)
