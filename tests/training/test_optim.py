import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from didvit.config import (
    ConfigError,
    DataConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
)
from didvit.method.backbone import ViTBackbone
from didvit.method.model import DiD
from didvit.method.semantic import SemanticHead
from didvit.modeling.build import build_model
from didvit.training.optim import (
    build_optimizer,
    freeze,
    learning_rate,
    parameter_groups,
    peak_learning_rate,
    set_learning_rate,
)
from runs import MODEL, distance_from_head


@pytest.fixture(scope="module")
def build():
    def make() -> DiD:
        return build_model(MODEL, 3)

    return make


def names_of(model: nn.Module, groups) -> list[set[str]]:
    """The names of each group's parameters."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [{names[id(parameter)] for parameter in group["params"]} for group in groups]


EVERYTHING = {"freeze_backbone": False}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        EVERYTHING,
        EVERYTHING | {"layer_decay": 0.5, "head_lr_scale": 10.0},
        EVERYTHING | {"freeze_blocks": 2, "layer_decay": 0.5},
        EVERYTHING | {"freeze_blocks": 6},
    ],
    ids=str,
)
def test_every_trained_parameter_is_in_one_group(make_config, build, optimizer, settings):
    config, model = make_config(optimizer=optimizer, weight_decay=0.1, **settings), build()
    freeze(model, config.optimizer)
    groups = build_optimizer(model, config).param_groups
    listed = [name for names in names_of(model, groups) for name in names]
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert len(listed) == len(set(listed))
    assert set(listed) == trained

    depth = len(model.backbone.vit.blocks)
    for names, group in zip(names_of(model, groups), groups, strict=True):
        for name in names:
            power = distance_from_head(name, depth)
            settings = config.optimizer
            expected = settings.layer_decay**power
            if name.startswith("head"):
                expected = settings.head_lr_scale
            assert group["lr_scale"] == pytest.approx(expected), name
            is_matrix = name.endswith("weight") and "norm" not in name
            decayed = optimizer == "sgd" or is_matrix
            assert group["weight_decay"] == (0.1 if decayed else 0.0), name


def frozen_parts(model: DiD) -> set[str]:
    """Blocks by number, and other parts by name, of which some parameter is frozen."""
    names = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    parts = [name.removeprefix("backbone.vit.").split(".") for name in names]
    return {part[1] if part[0] == "blocks" else part[0] for part in parts}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {"cls_token", "pos_embed", "patch_embed", "norm", *"012345"}),
        (EVERYTHING, set()),
        (EVERYTHING | {"freeze_blocks": 1}, {"cls_token", "pos_embed", "patch_embed", "0"}),
        (EVERYTHING | {"freeze_blocks": 3}, {"cls_token", "pos_embed", "patch_embed", *"012"}),
        (EVERYTHING | {"freeze_blocks": 6}, {"cls_token", "pos_embed", "patch_embed", *"012345"}),
    ],
)
def test_what_is_frozen(make_config, build, settings, expected):
    model = build()
    freeze(model, make_config(**settings).optimizer)
    assert frozen_parts(model) == expected


@pytest.mark.parametrize("settings", [{"global_pool": "avg", "fc_norm": True}, {}], ids=str)
def test_the_final_norm_learns_wherever_it_is(make_vit, settings):
    """Where timm pools before it normalizes, it has another name."""
    backbone = ViTBackbone(make_vit(**settings))
    model = DiD(backbone, SemanticHead(backbone.embed_dim, 3))
    freeze(model, OptimizerConfig(freeze_backbone=False, freeze_blocks=2))
    assert {part for part in frozen_parts(model) if "norm" in part} == set()


def test_a_pooling_head_that_nothing_runs_is_frozen(make_vit):
    """SigLIP's; processes that share their gradients would wait for its own."""
    backbone = ViTBackbone(make_vit(class_token=False, global_pool="map"))
    model = DiD(backbone, SemanticHead(backbone.embed_dim, 3))
    freeze(model, OptimizerConfig(freeze_backbone=False))
    assert frozen_parts(model) == {"attn_pool"}
    model.with_top_n(0)(torch.rand(1, 3, 32, 48)).logits.sum().backward()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert all(parameter.grad is not None for parameter in trained)


def test_more_frozen_blocks_than_there_are(build):
    config = OptimizerConfig(freeze_backbone=False, freeze_blocks=7)
    with pytest.raises(ConfigError, match="freeze_blocks is 7; expected at most 6"):
        freeze(build(), config)


def test_settings_reach_the_optimizer(make_config, build):
    sgd = build_optimizer(build(), make_config(optimizer="sgd", weight_decay=0.2))
    assert isinstance(sgd, torch.optim.SGD)
    assert {group["momentum"] for group in sgd.param_groups} == {0.9}
    assert {group["weight_decay"] for group in sgd.param_groups} == {0.2}
    other = build_optimizer(build(), make_config(optimizer="sgd", momentum=0.0))
    assert {group["momentum"] for group in other.param_groups} == {0.0}
    assert isinstance(build_optimizer(build(), make_config()), torch.optim.AdamW)


def test_every_group_gets_its_part_of_the_rate(make_config, build):
    model, config = build(), make_config(freeze_backbone=False, layer_decay=0.5)
    optimizer = build_optimizer(model, config)
    set_learning_rate(optimizer, 0.8)
    rates = {round(group["lr"], 6) for group in optimizer.param_groups}
    assert rates == {round(0.8 * 0.5**power, 6) for power in range(7)}
    set_learning_rate(optimizer, 0.4)  # of the schedule's, not of the last one
    assert max(group["lr"] for group in optimizer.param_groups) == 0.4


def test_groups_without_parameters_are_left_out(build):
    model, config = build(), OptimizerConfig()
    freeze(model, config)
    assert all(group["params"] for group in parameter_groups(model, config))


# The learning rate's schedule


def rates(make_config, **settings):
    config = make_config(**{"evaluate_every": 1, **settings})
    return [learning_rate(step, config) for step in range(config.schedule.steps)]


def test_schedule_table(make_config):
    half = math.sqrt(0.5)
    expected = [0.2, 0.4, 0.4, 0.2 * (1 + half), 0.2, 0.2 * (1 - half)]
    actual = rates(make_config, steps=6, warmup=1 / 3, learning_rate=0.4)
    assert actual == pytest.approx(expected)


def test_schedule_without_warmup(make_config):
    expected = [1.0, 0.75, 0.25]
    assert rates(make_config, steps=3, warmup=0.0, learning_rate=1.0) == pytest.approx(expected)


@given(steps=st.integers(1, 300), warmup=st.floats(0, 0.99))
def test_schedule_rises_then_falls_and_stays_in_range(steps, warmup):
    data = DataConfig(("a.csv",), "b.csv")
    config = TrainConfig(
        data,
        Path("run"),
        schedule=ScheduleConfig(steps=steps, warmup=warmup),
        optimizer=OptimizerConfig(learning_rate=0.3),
    )
    actual = [learning_rate(step, config) for step in range(steps)]
    top = actual.index(max(actual))
    assert max(actual) == pytest.approx(0.3)
    assert max(actual) <= 0.3 * (1 + 1e-12)
    assert min(actual) > 0
    assert actual[: top + 1] == sorted(actual[: top + 1])
    assert actual[top:] == sorted(actual[top:], reverse=True)


@pytest.mark.parametrize(
    ("optimizer", "frozen", "peak"),
    [("sgd", True, 0.05), ("sgd", False, 0.05), ("adamw", True, 0.01), ("adamw", False, 0.0003)],
)
def test_usual_learning_rates(make_config, optimizer, frozen, peak):
    config = make_config(optimizer=optimizer, freeze_backbone=frozen, warmup=0.0)
    assert learning_rate(0, config) == peak_learning_rate(config.optimizer) == peak
    assert build_optimizer(build_model(MODEL, 3), config).defaults["lr"] == peak
