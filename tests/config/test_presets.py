import dataclasses

import pytest

from didvit.config import DIDVIT, PAPER, ConfigError
from didvit.config.presets import PRESETS
from didvit.config.recipes import RECIPES
from didvit.inference.predictor import load
from didvit.method.config import FAST
from didvit.modeling.checkpoint import load_checkpoint


def test_the_presets():
    assert PRESETS == {"didvit": DIDVIT, "fast": FAST, "paper": PAPER}
    costs = {name: preset.forward_passes() for name, preset in PRESETS.items()}
    assert costs == {"didvit": 3, "fast": 1, "paper": 5}


def test_presets_cannot_be_changed():
    with pytest.raises(TypeError):
        PRESETS["paper"] = DIDVIT  # pyright: ignore
    with pytest.raises(dataclasses.FrozenInstanceError):
        PRESETS["paper"].top_n = 3  # pyright: ignore


def test_the_default_model_has_the_default_preset():
    assert load_checkpoint("default").config.method == PRESETS["didvit"]


def test_an_unknown_preset_is_refused():
    with pytest.raises(
        ConfigError, match="preset is 'papers'; expected one of didvit, fast, paper"
    ):
        load("default", preset="papers")


@pytest.mark.parametrize("name", ["voc2007", "voc2012", "coco2014", "coco2014-256"])
def test_recipes_of_the_paper_have_its_preset(name):
    config = RECIPES[name].config
    assert config.model.method == PRESETS["paper"]
    assert config.schedule.single_view_fraction == 0
