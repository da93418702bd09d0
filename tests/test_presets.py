import dataclasses

import pytest

from didvit.checkpoint import load_checkpoint
from didvit.config import ConfigError, ModelConfig
from didvit.inference import load
from didvit.presets import PRESETS
from didvit.recipes import RECIPES

OF_WEIGHTS = {
    *("backbone", "weights", "image_size", "head"),
    *("csra_heads", "csra_weight", "label_embeddings"),
}
LOOKING = {field.name for field in dataclasses.fields(ModelConfig)} - OF_WEIGHTS


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_says_everything_of_looking_again(name):
    assert PRESETS[name].keys() == LOOKING
    settings = dataclasses.asdict(dataclasses.replace(ModelConfig(), **PRESETS[name]))
    assert {key: settings[key] for key in LOOKING} == PRESETS[name]


def test_the_papers():
    """As METHOD has it."""
    paper = PRESETS["paper"]
    assert (paper["top_n"], paper["box_threshold"], paper["selection"]) == (4, 0.6, "descending")
    assert (paper["normalization"], paper["reconstraint"]) == ("column", "hadamard")
    assert (paper["localization"], paper["crop_from"]) == ("largest_component", "raw")
    assert (paper["fusion"], paper["box_padding"]) == ("mean", 0)
    assert (paper["view_scale"], paper["tiles"]) == (1, 0)


def test_costs_in_looks_at_the_whole_image():
    costs = {name: ModelConfig(**preset).looks() for name, preset in PRESETS.items()}
    assert costs == {"didvit": 3, "paper": 5}
    assert ModelConfig(top_n=0, tiles=2).looks() == 1
    assert ModelConfig(top_n=3, tiles=2, view_scale=0.5).looks() == 1 + 7 / 4
    assert ModelConfig(**PRESETS["paper"]).looks(num_labels=2) == 3


def test_the_default_model_has_the_default_preset():
    config = load_checkpoint("default").config
    assert dataclasses.replace(config, **PRESETS["didvit"]) == config


def test_an_unknown_preset_is_refused():
    with pytest.raises(ConfigError, match="preset is 'papers'; expected didvit or paper"):
        load("default", preset="papers")


@pytest.mark.parametrize("name", ["voc2007", "voc2012", "coco2014", "coco2014-256"])
def test_recipes_of_the_paper_have_its_preset(name):
    config = RECIPES[name].config
    assert dataclasses.replace(config.model, **PRESETS["paper"]) == config.model
    assert config.global_steps == 0
