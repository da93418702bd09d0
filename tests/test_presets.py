import dataclasses

import pytest

from didvit.config import ModelConfig
from didvit.presets import PRESETS
from didvit.recipes import RECIPES

LOOKING = (
    *("top_n", "box_threshold", "selection", "normalization", "rollout_order", "reconstraint"),
    *("localization", "box_padding", "view_scale", "crop_from", "fusion"),
)
"""The settings of the model that are of looking again, and not of its weights."""


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_says_everything_of_looking_again(name):
    assert sorted(PRESETS[name]) == sorted(LOOKING)
    settings = dataclasses.asdict(dataclasses.replace(ModelConfig(), **PRESETS[name]))
    assert {key: settings[key] for key in LOOKING} == PRESETS[name]


def test_the_papers():
    """As METHOD has it."""
    paper = PRESETS["paper"]
    assert (paper["top_n"], paper["box_threshold"], paper["selection"]) == (4, 0.6, "descending")
    assert (paper["normalization"], paper["reconstraint"]) == ("column", "hadamard")
    assert (paper["localization"], paper["crop_from"]) == ("largest_component", "raw")
    assert (paper["fusion"], paper["box_padding"], paper["view_scale"]) == ("mean", 0, 1)


def test_ours_costs_no_more_than_the_papers():
    costs = {name: preset["top_n"] * preset["view_scale"] ** 2 for name, preset in PRESETS.items()}
    assert costs["didvit"] <= costs["paper"]


@pytest.mark.parametrize("name", ["voc2007", "voc2012", "coco2014", "coco2014-256"])
def test_recipes_of_the_paper_have_its_preset(name):
    config = RECIPES[name].config
    assert dataclasses.replace(config.model, **PRESETS["paper"]) == config.model
    assert config.global_steps == 0
