import re

import pytest
import timm
from timm.layers import DiffAttention
from timm.models.deit import VisionTransformerDistilled
from timm.models.eva import Eva
from timm.models.vision_transformer import ParallelScalingBlock, ResPostBlock
from torch import nn

from didvit.modeling.architectures import build_without_weights
from didvit.modeling.suitability import UnsupportedBackboneError, check_supported

UNSUPPORTED = {
    "ParallelScalingBlock": lambda make_vit: make_vit(block_fn=ParallelScalingBlock),
    "ResPostBlock": lambda make_vit: make_vit(block_fn=ResPostBlock, init_values=0.1),
    "DiffAttention": lambda make_vit: make_vit(attn_layer=DiffAttention, num_heads=4),
    "HybridEmbed": lambda make_vit: timm.create_model("vit_tiny_r_s16_p8_224", pretrained=False),
    "patch_drop_rate": lambda make_vit: make_vit(patch_drop_rate=0.5),
    "not a timm VisionTransformer": lambda make_vit: nn.Identity(),
    "EvaBlockPostNorm": lambda make_vit: make_eva(use_post_norm=True),
    "grouped-query.*2 heads share": lambda make_vit: make_eva(
        attn_type="rope", qkv_fused=False, num_kv_heads=2
    ),
    "grouped-query.*4 heads share": lambda make_vit: make_eva(
        attn_type="rope", qkv_fused=False, num_kv_heads=(4, 1)
    ),
    "patches in training": lambda make_vit: make_eva(patch_drop_rate=0.5),
    "come from Conv2d": lambda make_vit: with_patches(make_eva(), nn.Conv2d(3, 48, 16, 16)),
}


def make_eva(**settings):
    """A small random transformer of timm's class with rotary positions."""
    small = {"img_size": 32, "embed_dim": 48, "depth": 2, "num_heads": 4, "use_rot_pos_emb": True}
    return Eva(**{**small, "num_classes": 0, **settings})


def with_patches(vit, patch_embed):
    """The transformer with another patch embedding."""
    vit.patch_embed = patch_embed
    return vit


@pytest.mark.parametrize("reason", UNSUPPORTED)
def test_others_are_refused_with_the_reason(make_vit, reason):
    with pytest.raises(UnsupportedBackboneError, match=f"{reason}.*vit_base_patch16_224"):
        check_supported(UNSUPPORTED[reason](make_vit))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("vit_large_patch16_sapiens2", "grouped-query"),
        ("eva02_enormous_patch14_clip_224", "EvaBlockPostNorm"),
        ("vitamin_small_224", "HybridEmbed"),
        ("beit_base_patch16_224", "not a timm VisionTransformer or Eva"),
    ],
)
def test_names_are_refused_with_the_reason(name, reason):
    with pytest.raises(UnsupportedBackboneError, match=reason):
        check_supported(build_without_weights(name))


def test_the_error_is_a_value_error_that_names_the_class():
    with pytest.raises(ValueError, match="Linear cannot be the backbone"):
        check_supported(nn.Linear(2, 2))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"reg_tokens": 3},
        {"class_token": False, "global_pool": "map"},
        {"kind": VisionTransformerDistilled, "global_pool": "token"},
        {"qk_norm": True, "init_values": 0.1},
    ],
    ids=str,
)
def test_plain_transformers_are_accepted(make_vit, settings):
    check_supported(make_vit(**settings))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"attn_type": "rope", "rope_type": "mixed"},
        {"attn_type": "rope", "qkv_fused": False, "num_kv_heads": 4},
        {"use_rot_pos_emb": False, "num_reg_tokens": 4},
        {"class_token": False, "swiglu_mlp": True, "scale_mlp": True},
    ],
    ids=str,
)
def test_plain_rotary_transformers_are_accepted(settings):
    check_supported(make_eva(**settings))


def test_the_examples_of_the_refusal_are_accepted():
    with pytest.raises(UnsupportedBackboneError) as caught:
        check_supported(nn.Identity())
    names = re.findall(r"\b(?:vit|deit|eva02)_[\w.]+\w", str(caught.value))
    assert len(names) == 6
    for name in names:
        check_supported(build_without_weights(name))
