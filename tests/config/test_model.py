import dataclasses

import pytest

from didvit.config import DIDVIT, ConfigError, DiDConfig, ModelConfig
from didvit.heads import HEADS


def test_the_defaults():
    config = ModelConfig()
    assert config.method is DIDVIT
    assert (config.image_size, config.head) == ((224, 224), "baseline")
    assert (config.csra_heads, config.csra_weight, config.label_embeddings) == (None, None, None)


@pytest.mark.parametrize("head", HEADS)
def test_every_head_is_accepted(head):
    assert ModelConfig(head=head).head == head


def test_other_heads_are_refused():
    with pytest.raises(ConfigError, match=r"^head is 'nonsense'; expected ") as caught:
        ModelConfig(head="nonsense")
    assert all(head in str(caught.value) for head in HEADS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image_size", (0, 224)),
        ("image_size", (224, -14)),
        ("image_size", ()),
        ("image_size", (224,)),
        ("image_size", (3, 224, 224)),
        ("csra_heads", 2),  # of another head
        ("csra_weight", 0.1),
        ("label_embeddings", "random"),
    ],
)
def test_impossible_values_are_refused(name, value):
    with pytest.raises(ConfigError, match=f"^{name} is .*expected") as caught:
        ModelConfig(**{name: value})
    assert str(value) in str(caught.value)


@pytest.mark.parametrize(("name", "value"), [("csra_heads", 3), ("csra_weight", -0.1)])
def test_impossible_values_of_csra_are_refused(name, value):
    with pytest.raises(ConfigError, match=f"^{name} is {value}; expected"):
        ModelConfig(head="csra", **{name: value})


@pytest.mark.parametrize("value", [{"top_n": 2}, None, "paper"])
def test_the_method_is_a_did_config(value):
    with pytest.raises(ConfigError, match=r"^method is .*; expected a DiDConfig"):
        ModelConfig(method=value)


@pytest.mark.usefixtures("unchecked_types")
def test_impossible_values_of_the_method_are_refused_by_it():
    with pytest.raises(ConfigError, match=r"^top_n is -1"):
        ModelConfig(method=DiDConfig(top_n=-1))


def test_extreme_values_are_accepted():
    assert ModelConfig(head="csra", csra_heads=8, csra_weight=0).csra_heads == 8
    assert ModelConfig(image_size=(1, 10_000)).image_size == (1, 10_000)


def test_it_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ModelConfig().head = "csra"
