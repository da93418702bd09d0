import dataclasses

import pytest
import torch

from didvit.build import build_model
from didvit.config import ModelConfig
from didvit.heads import LabelKnowledge
from didvit.hypotheses import LOCALIZERS
from didvit.method import FUSIONS, NORMALIZATIONS, RECONSTRAINTS, SELECTORS
from didvit.weights import WeightsError

TINY = ModelConfig("test_vit", weights="random", image_size=(32, 48), top_n=2)


def test_settings_reach_the_model():
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
        rollout_order="ascending",
        box_padding=0.25,
        view_scale=0.75,
        tiles=2,
    )
    model = build_model(config, 5)
    assert (model.top_n, model.box_threshold, model.crop_from) == (3, 0.7, "input")
    assert (model.rollout_order, model.box_padding, model.view_scale) == ("ascending", 0.25, 0.75)
    assert model.select is SELECTORS["ascending"]
    assert model.normalization is NORMALIZATIONS["row"]
    assert model.reconstrain is RECONSTRAINTS["sum"]
    assert model.localize is LOCALIZERS["mcar"]
    assert model.fuse is FUSIONS["max"]
    output = model(torch.rand(2, 3, 32, 48))
    assert output.view_logits.shape == (2, 3 + 4, 5)
    assert output.semantic_maps.shape == (2, 5, 2, 3)


def test_as_many_regions_as_labels():
    assert build_model(TINY, 2)(torch.rand(1, 3, 32, 48)).logits.shape == (1, 2)


def test_more_regions_than_labels():
    assert build_model(TINY, 1).top_n == 1
    assert build_model(TINY, 2).top_n == build_model(TINY, 3).top_n == 2


@pytest.mark.parametrize("image_size", [(33, 48), (32, 47), (8, 8), (16, 8)])
def test_sides_that_are_not_whole_patches(image_size):
    config = dataclasses.replace(TINY, image_size=image_size)
    with pytest.raises(WeightsError, match=r"image_size.*16x16"):
        build_model(config, 5)


@pytest.mark.parametrize("image_size", [(8, 8), (225, 224)])
def test_sides_that_are_not_whole_patches_of_the_embedded_backbone(image_size):
    with pytest.raises(WeightsError, match=r"image_size.*14x14"):
        build_model(ModelConfig(image_size=image_size), 5)


def test_without_pretrained_weights_none_are_looked_for():
    config = dataclasses.replace(TINY, weights="none.safetensors")
    assert build_model(config, 5, pretrained=False).top_n == 2
    with pytest.raises(ValueError, match=r"none\.safetensors"):
        build_model(config, 5)


def test_ms_cma_looks_at_three_depths():
    config = dataclasses.replace(TINY, head="ms_cma", label_embeddings="random")
    knowledge = LabelKnowledge(torch.ones(3, 3), torch.randn(3, 8))
    model = build_model(config, 3, knowledge=knowledge)
    depth = len(model.backbone.vit.blocks)
    assert model.backbone.levels == [depth // 3 - 1, 2 * depth // 3 - 1, depth - 1]
    assert build_model(TINY, 3).backbone.levels == [depth - 1]
