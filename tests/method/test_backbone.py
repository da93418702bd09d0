import pytest
import timm
import torch
import torch.nn.functional as F
from timm.models.deit import VisionTransformerDistilled

import oracles
from didvit.method.backbone import QUERY_ROWS, ViTBackbone, attend, mean_attention

MEAN, STD = (0.48, 0.46, 0.41), (0.23, 0.22, 0.27)

VARIANTS = {
    "plain": {},
    "registers": {"reg_tokens": 3},
    "registers without position": {"reg_tokens": 2, "no_embed_class": True},
    "distilled": {"kind": VisionTransformerDistilled, "global_pool": "token"},
    "no class token": {"class_token": False, "global_pool": "map"},
    "no class token, registers": {"class_token": False, "reg_tokens": 2},
    "pre_norm": {"pre_norm": True},
    "layer scale": {"init_values": 0.1},
    "qk_norm": {"qk_norm": True},
    "scaled norms": {"scale_attn_norm": True, "scale_mlp_norm": True},
    "fc_norm": {"global_pool": "avg"},
    "no qkv bias": {"qkv_bias": False},
    "patch 14": {"patch_size": 14, "img_size": (28, 42)},
    "patch 16": {"patch_size": 16},
    "patch 32": {"patch_size": 32, "img_size": (64, 96)},
    "oblong patch": {"patch_size": (8, 16)},
    "fixed size": {"dynamic_img_size": False},
    "other grid": {"img_size": (64, 64)},
}

FAMILIES = [
    "vit_base_patch16_224.augreg_in21k",
    "deit_small_patch16_224",
    "deit_small_distilled_patch16_224",
    "vit_small_patch14_dinov2",
    "vit_small_patch14_reg4_dinov2",
    "vit_base_patch16_clip_224",
    "vit_base_patch16_siglip_224",
    "vit_base_patch32_224",
    "vit_base_patch8_224",
]


def timm_tokens(vit, images):
    """Patch tokens after the final LayerNorm, by timm's own code, ``(B, N, D)``."""
    pixels = (images - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    tokens = vit.forward_features(pixels)
    if not isinstance(vit.fc_norm, torch.nn.Identity):
        tokens = vit.fc_norm(tokens)
    return tokens[:, vit.num_prefix_tokens :]


def timm_attentions(vit, images):
    """What timm's unfused attention hands to its dropout: one ``(B, M, T, T)`` a block."""
    captured, hooks = [], []
    for block in vit.blocks:
        block.attn.fused_attn = False
        hooks.append(
            block.attn.attn_drop.register_forward_hook(lambda *call: captured.append(call[1][0]))
        )
    timm_tokens(vit, images)
    for block, hook in zip(vit.blocks, hooks, strict=True):
        block.attn.fused_attn = True
        hook.remove()
    return captured


def check_parity(vit, images):
    backbone = ViTBackbone(vit, MEAN, STD)
    expected = timm_tokens(vit, images)
    captured = timm_attentions(vit, images)
    with torch.no_grad():
        tokens = backbone(images)
        also_tokens, attentions = backbone.forward_with_attention(images)
    grid = backbone.grid_size(tuple(images.shape[-2:]))

    assert tokens.shape == (len(images), vit.embed_dim, *grid)
    for row in range(grid[0]):
        for column in range(grid[1]):
            torch.testing.assert_close(
                tokens[:, :, row, column], expected[:, row * grid[1] + column]
            )
    torch.testing.assert_close(also_tokens, tokens, rtol=1e-4, atol=1e-5)
    assert len(attentions) == len(captured) == len(vit.blocks)
    for attention, per_head in zip(attentions, captured, strict=True):
        assert attention.shape[-1] == vit.num_prefix_tokens + grid[0] * grid[1]
        torch.testing.assert_close(attention, per_head.mean(1), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(attention.sum(-1), torch.ones(attention.shape[:2]))
    # Uniform attention would let any mistake pass.
    assert attentions[-1].max() > 1.5 / attentions[-1].shape[-1]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("variant", VARIANTS)
def test_parity_with_timm(make_vit, variant, batch):
    vit = make_vit(**VARIANTS[variant])
    patch_height, patch_width = vit.patch_embed.patch_size
    size = (64, 96) if patch_width == 32 else (2 * patch_height, 3 * patch_width)
    if not vit.dynamic_img_size:
        size = vit.patch_embed.img_size
    with torch.no_grad():
        check_parity(vit, torch.rand(batch, 3, *size))


@pytest.mark.parametrize("family", FAMILIES)
def test_parity_with_timm_by_name(randomized, family):
    # The built grid is square and the input's is not: position embeddings are resampled.
    vit = timm.create_model(
        family,
        pretrained=False,
        depth=2,
        embed_dim=48,
        num_heads=4,
        num_classes=0,
        img_size=96 if "patch32" in family else 56 if "patch14" in family else 48,
        dynamic_img_size=True,
    )
    patch_height, patch_width = vit.patch_embed.patch_size
    with torch.no_grad():
        check_parity(randomized(vit), torch.rand(2, 3, 2 * patch_height, 4 * patch_width))


@pytest.mark.parametrize(
    ("family", "patch", "prefix", "has_class_token"),
    [
        ("vit_base_patch16_224.augreg_in21k", 16, 1, True),
        ("deit_small_distilled_patch16_224", 16, 2, True),
        ("vit_small_patch14_reg4_dinov2", 14, 5, True),
        ("vit_base_patch16_siglip_224", 16, 0, False),
    ],
)
def test_properties(family, patch, prefix, has_class_token):
    vit = timm.create_model(
        family, pretrained=False, depth=1, embed_dim=24, num_heads=3, num_classes=0
    )
    backbone = ViTBackbone(vit)
    assert backbone.patch_size == (patch, patch)
    assert backbone.embed_dim == 24
    assert backbone.num_prefix_tokens == prefix
    assert backbone.has_class_token is has_class_token


@pytest.mark.parametrize(("heads", "tokens", "width"), [(1, 2, 1), (3, 7, 4), (2, QUERY_ROWS, 2)])
def test_mean_attention_equals_the_loop(heads, tokens, width):
    query, key = torch.randn(2, 2, heads, tokens, width, dtype=torch.float64) * 2
    attention = mean_attention(query, key)
    for image in range(2):
        expected = oracles.mean_attention(query[image].numpy(), key[image].numpy())
        torch.testing.assert_close(attention[image], torch.from_numpy(expected))


@pytest.mark.parametrize("tokens", [QUERY_ROWS - 1, QUERY_ROWS, QUERY_ROWS + 1, 2 * QUERY_ROWS + 5])
def test_mean_attention_over_several_query_blocks(tokens):
    query, key = torch.randn(2, 2, 3, tokens, 4, dtype=torch.float64)
    expected = (query @ key.mT / 2).softmax(-1).mean(1)
    torch.testing.assert_close(mean_attention(query, key), expected)


@pytest.mark.parametrize("tokens", [2, QUERY_ROWS + 1, 700])
def test_attention_for_values_and_mean_from_one_computation(tokens):
    query, key, value = torch.randn(3, 2, 3, tokens, 4)
    out, mean = attend(query, key, value)
    expected = F.scaled_dot_product_attention(query, key, value)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(mean, mean_attention(query, key))


def test_mean_attention_survives_large_scores():
    query = torch.full((1, 1, 2, 4), 1e3)
    key = torch.stack([torch.full((4,), 1e3), torch.full((4,), -1e3)])[None, None]
    torch.testing.assert_close(mean_attention(query, key), torch.tensor([[[1.0, 0], [1, 0]]]))


def test_attention_carries_no_gradient_and_tokens_do(make_vit):
    backbone = ViTBackbone(make_vit())
    tokens, attentions = backbone.forward_with_attention(torch.rand(1, 3, 16, 24))
    assert not any(attention.requires_grad for attention in attentions)
    tokens.square().sum().backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())


def test_both_forwards_have_the_same_gradients(make_vit):
    backbone, images = ViTBackbone(make_vit(init_values=0.5).double()), torch.rand(2, 3, 16, 24)
    images = images.double()
    target = torch.randn(2, 24, 2, 3, dtype=torch.float64)
    plain = torch.autograd.grad((backbone(images) * target).sum(), backbone.parameters())
    tokens = backbone.forward_with_attention(images).patch_tokens
    written_out = torch.autograd.grad((tokens * target).sum(), backbone.parameters())
    for one, other in zip(plain, written_out, strict=True):
        torch.testing.assert_close(one, other)


def test_both_forwards_drop_alike_in_training(make_vit):
    """Every dropout and stochastic depth stays where timm has it."""
    vit = make_vit(
        pos_drop_rate=0.2, proj_drop_rate=0.2, attn_drop_rate=0.2, drop_path_rate=0.5, depth=3
    )
    backbone, images = ViTBackbone(vit).train(), torch.rand(4, 3, 16, 24)
    torch.manual_seed(5)
    plain = backbone(images)
    torch.manual_seed(5)
    written_out = backbone.forward_with_attention(images).patch_tokens
    torch.testing.assert_close(written_out, plain, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(plain, backbone(images))


def test_pixels_are_normalized_by_the_given_mean_and_std(make_vit):
    vit, images = make_vit(), torch.rand(2, 3, 16, 24)
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    plain = ViTBackbone(vit, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    torch.testing.assert_close(ViTBackbone(vit, MEAN, STD)(images), plain((images - mean) / std))
    torch.testing.assert_close(ViTBackbone(vit)(images), plain((images - 0.5) / 0.5))


def test_mean_and_std_are_saved_with_the_weights(make_vit):
    saved = ViTBackbone(make_vit(), MEAN, STD).state_dict()
    other = ViTBackbone(make_vit(seed=1))
    other.load_state_dict(saved)
    assert other.mean.flatten().tolist() == pytest.approx(MEAN)
    assert other.std.flatten().tolist() == pytest.approx(STD)


@pytest.mark.parametrize("size", [(20, 24), (16, 23), (16, 4), (0, 24), (7, 0)])
@pytest.mark.parametrize("forward", ["forward", "forward_with_attention"])
def test_size_that_is_no_multiple_of_the_patch(make_vit, size, forward):
    backbone = ViTBackbone(make_vit())
    with pytest.raises(ValueError, match=f"{size[0]}x{size[1]} pixels.*8x8"):
        getattr(backbone, forward)(torch.rand(1, 3, *size))


def test_other_size_than_a_fixed_transformer_takes(make_vit):
    backbone = ViTBackbone(make_vit(dynamic_img_size=False))
    assert backbone.grid_size((32, 48)) == (4, 6)
    with pytest.raises(ValueError, match=r"48x32.*\(32, 48\).*dynamic_img_size=True"):
        backbone(torch.rand(1, 3, 48, 32))


@pytest.mark.parametrize(
    ("image_size", "scale", "expected"),
    [
        ((224, 224), 1.0, (224, 224)),
        ((224, 224), 0.5, (112, 112)),
        ((112, 112), 0.75, (80, 80)),  # 10.5 patches, and halves go to the even number
        ((32, 48), 0.01, (8, 8)),
        ((32, 48), 1.5, (48, 72)),
        ((16, 24), 0.6, (8, 16)),
    ],
)
def test_scaled_sizes_are_whole_patches(make_vit, image_size, scale, expected):
    backbone = ViTBackbone(make_vit())
    assert backbone.patch_size == (8, 8)
    assert backbone.scaled_size(image_size, scale) == expected


@pytest.mark.parametrize(
    ("depth", "num_levels", "blocks"),
    [(5, 1, [4]), (5, 2, [1, 4]), (5, 3, [0, 2, 4]), (6, 3, [1, 3, 5]), (2, 2, [0, 1])],
)
def test_tokens_of_several_blocks(make_vit, depth, num_levels, blocks):
    """Of evenly spaced blocks, the last among them, each through the final norm, in their order."""
    vit, images = make_vit(depth=depth, reg_tokens=2), torch.rand(2, 3, 16, 24)
    captured = {}
    for i, block in enumerate(vit.blocks):
        block.register_forward_hook(lambda *call, i=i: captured.update({i: call[2]}))
    with torch.no_grad():
        timm_tokens(vit, images)
        expected = torch.cat([vit.norm(captured[i])[:, 3:] for i in blocks], dim=-1)
        backbone = ViTBackbone(vit, MEAN, STD, num_levels)
        tokens, with_attention = backbone(images), backbone.forward_with_attention(images)
    assert tokens.shape == (2, 24 * num_levels, 2, 3)
    torch.testing.assert_close(tokens.flatten(2).mT, expected)
    torch.testing.assert_close(with_attention.patch_tokens, tokens, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("num_levels", [0, 3])
def test_more_levels_than_blocks(make_vit, num_levels):
    with pytest.raises(ValueError, match=f"num_levels is {num_levels}; expected 1 to 2"):
        ViTBackbone(make_vit(), num_levels=num_levels)
