import dataclasses

import pytest
import torch

from didvit.config import PAPER, DiDConfig, ModelConfig, with_settings
from didvit.heads import LabelStatistics
from didvit.heads.hcp import LOCALIZERS
from didvit.method.model import FUSIONS
from didvit.method.reconstraint import RECONSTRAINTS
from didvit.method.rollout import NORMALIZATIONS
from didvit.method.selection import SELECTORS
from didvit.modeling.backbones import WeightsError
from didvit.modeling.build import build_model

TINY = ModelConfig(
    "test_vit",
    weights="random",
    image_size=(32, 48),
    method=dataclasses.replace(PAPER, top_n=2),
)


def test_settings_reach_the_model():
    method = DiDConfig(
        top_n=3,
        box_threshold=0.7,
        selection="ascending",
        normalization="row",
        reconstraint="sum",
        localization="mcar",
        crop_from="input",
        fusion="max",
        rollout_order="ascending",
        view_scale=0.75,
        tiles=2,
    )
    model = build_model(dataclasses.replace(TINY, method=method), 5)
    assert model.config == method
    assert model.select is SELECTORS["ascending"]
    assert model.normalize is NORMALIZATIONS["row"]
    assert model.reconstrain is RECONSTRAINTS["sum"]
    assert model.localize is LOCALIZERS["mcar"]
    assert model.fuse is FUSIONS["max"]
    output = model(torch.rand(2, 3, 32, 48))
    assert output.view_logits.shape == (2, 3 + 4, 5)
    assert output.semantic_maps.shape == (2, 5, 2, 3)


@pytest.mark.parametrize("localization", LOCALIZERS)
def test_every_localization_is_built(localization):
    model = build_model(with_settings(TINY, {"localization": localization}), 3)
    assert model.localize is LOCALIZERS[localization]


def test_as_many_boxes_as_labels():
    assert build_model(TINY, 2)(torch.rand(1, 3, 32, 48)).logits.shape == (1, 2)


def test_more_boxes_than_labels():
    """Each label gets one; all other settings stay."""
    assert build_model(TINY, 1).config == dataclasses.replace(TINY.method, top_n=1)
    assert build_model(TINY, 2).config == build_model(TINY, 3).config == TINY.method


@pytest.mark.parametrize("image_size", [(33, 48), (32, 47), (8, 8), (16, 8)])
def test_sides_that_are_not_whole_patches(image_size):
    config = dataclasses.replace(TINY, image_size=image_size)
    with pytest.raises(WeightsError, match=r"image_size.*16x16"):
        build_model(config, 5)


@pytest.mark.parametrize("image_size", [(8, 8), (225, 224)])
def test_sides_that_are_not_whole_patches_of_the_embedded_backbone(image_size):
    with pytest.raises(WeightsError, match=r"image_size.*16x16"):
        build_model(ModelConfig(image_size=image_size), 5)


def test_without_pretrained_weights_none_are_read():
    config = dataclasses.replace(TINY, weights="none.safetensors")
    assert build_model(config, 5, pretrained=False).config.top_n == 2
    with pytest.raises(ValueError, match=r"none\.safetensors"):
        build_model(config, 5)


def test_ms_cma_reads_three_depths():
    config = dataclasses.replace(TINY, head="ms_cma", label_embeddings="random")
    statistics = LabelStatistics(torch.ones(3, 3), torch.randn(3, 8))
    model = build_model(config, 3, statistics=statistics)
    depth = len(model.backbone.vit.blocks)
    assert model.backbone.levels == [depth // 3 - 1, 2 * depth // 3 - 1, depth - 1]
    assert build_model(TINY, 3).backbone.levels == [depth - 1]
