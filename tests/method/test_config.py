import dataclasses
import math
from typing import get_args

import pytest

from didvit.method.config import DIDVIT, PAPER, ConfigError, DiDConfig

pytestmark = pytest.mark.usefixtures("unchecked_types")

CHOICES = {
    field.name: get_args(field.type)
    for field in dataclasses.fields(DiDConfig)
    if get_args(field.type)
}


def test_the_papers_values():
    assert dataclasses.asdict(PAPER) == {
        "top_n": 4,
        "box_threshold": 0.6,
        "selection": "descending",
        "normalization": "column",
        "rollout_order": "descending",
        "reconstraint": "hadamard",
        "localization": "largest_component",
        "view_scale": 1.0,
        "tiles": 0,
        "crop_from": "raw",
        "fusion": "mean",
    }
    assert DiDConfig() == PAPER


def test_our_values():
    """The paper's, but for smaller views and four tiles."""
    changes = {
        name: value
        for name, value in dataclasses.asdict(DIDVIT).items()
        if value != getattr(PAPER, name)
    }
    assert changes == {"view_scale": 0.5, "tiles": 2}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("top_n", -1, "a whole number, 0 or more"),
        ("top_n", 1.5, "a whole number, 0 or more"),
        ("top_n", 4.0, "a whole number, 0 or more"),
        ("top_n", True, "a whole number, 0 or more"),
        ("top_n", "4", "a whole number, 0 or more"),
        ("top_n", None, "a whole number, 0 or more"),
        ("tiles", -1, "a whole number, 0 or more"),
        ("tiles", 0.5, "a whole number, 0 or more"),
        ("tiles", False, "a whole number, 0 or more"),
        ("box_threshold", 0.0, "a number between 0 and 1, both excluded"),
        ("box_threshold", 1.0, "a number between 0 and 1, both excluded"),
        ("box_threshold", -0.1, "a number between 0 and 1, both excluded"),
        ("box_threshold", math.nan, "a number between 0 and 1, both excluded"),
        ("box_threshold", "high", "a number between 0 and 1, both excluded"),
        ("box_threshold", True, "a number between 0 and 1, both excluded"),
        ("view_scale", 0, "a number between 0 and inf, both excluded"),
        ("view_scale", -0.5, "a number between 0 and inf, both excluded"),
        ("view_scale", math.inf, "a number between 0 and inf, both excluded"),
        ("view_scale", math.nan, "a number between 0 and inf, both excluded"),
        ("view_scale", True, "a number between 0 and inf, both excluded"),
        ("selection", "best", "one of descending, ascending, random"),
        ("normalization", "rows", "one of column, row"),
        ("rollout_order", "random", "one of descending, ascending"),
        (
            "reconstraint",
            "product",
            "one of hadamard, sum, none, shifted, sigmoid, scaled_sum",
        ),
        ("localization", "largest", "one of largest_component, mcar, random, hypotheses"),
        ("crop_from", "source", "one of raw, input"),
        ("fusion", "", "one of mean, max, global, local"),
        ("fusion", None, "one of mean, max, global, local"),
        ("fusion", ["mean"], "one of mean, max, global, local"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(name, value, expected):
    with pytest.raises(ConfigError) as caught:
        DiDConfig(**{name: value})
    assert str(caught.value) == f"{name} is {value!r}; expected {expected}"


def test_every_setting_is_checked():
    for field in dataclasses.fields(DiDConfig):
        with pytest.raises(ConfigError, match=f"^{field.name} is "):
            DiDConfig(**{field.name: object()})


@pytest.mark.parametrize("name", CHOICES)
def test_every_choice_is_accepted(name):
    assert len(CHOICES[name]) > 1
    for choice in CHOICES[name]:
        assert getattr(DiDConfig(**{name: choice}), name) == choice


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("top_n", 0), ("top_n", 10_000), ("tiles", 9), ("box_threshold", 0.001)),
        *(("box_threshold", 0.999), ("view_scale", 1), ("view_scale", 0.001), ("view_scale", 3.5)),
    ],
)
def test_extreme_values_are_accepted(name, value):
    assert getattr(DiDConfig(**{name: value}), name) == value


def test_it_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PAPER.top_n = 3  # pyright: ignore


def test_replaced_values_are_checked():
    with pytest.raises(ConfigError, match="top_n is -3"):
        dataclasses.replace(PAPER, top_n=-3)


def test_the_error_is_no_value_error():
    """The parser of the command line would reword those of nested settings."""
    assert not issubclass(ConfigError, ValueError)


@pytest.mark.parametrize(
    ("settings", "num_categories", "expected"),
    [
        ({}, None, 5),
        ({}, 80, 5),
        ({}, 4, 5),
        ({}, 2, 3),
        ({}, 0, 1),
        ({"top_n": 0}, None, 1),
        ({"top_n": 0, "tiles": 2}, None, 1),
        ({"top_n": 1}, None, 2),
        ({"top_n": 8}, None, 9),
        ({"tiles": 2}, None, 9),
        ({"tiles": 3, "top_n": 1}, None, 11),
        ({"view_scale": 0.5}, None, 2),
        ({"view_scale": 0.5, "tiles": 2}, None, 3),
        ({"view_scale": 0.5, "tiles": 2, "top_n": 3}, None, 2.75),
        ({"view_scale": 0.5, "tiles": 2}, 1, 2.25),
        ({"view_scale": 2.0, "top_n": 1}, None, 5),
    ],
)
def test_forward_passes(settings, num_categories, expected):
    assert DiDConfig(**settings).forward_passes(num_categories) == expected


def test_forward_passes_of_the_presets():
    assert (PAPER.forward_passes(), DIDVIT.forward_passes()) == (5, 3)
