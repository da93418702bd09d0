import copy
import math

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.models.eva import Eva

from didvit.config import ModelConfig, with_settings
from didvit.inference.prediction import Prediction
from didvit.inference.predictor import load
from didvit.method.config import PAPER
from didvit.modeling.backbones import build_backbone
from didvit.modeling.build import build_model
from didvit.modeling.checkpoint import load_checkpoint, save_checkpoint
from didvit.modeling.eva import EvaBackbone, attention_of
from didvit.training.trainer import train

MEAN, STD = (0.48, 0.46, 0.41), (0.23, 0.22, 0.27)

NAMES = [
    "eva02_tiny_patch14_224",
    "eva02_base_patch16_clip_224",
    "eva02_large_patch14_clip_336",
    "eva_giant_patch14_224",
    "vit_small_patch16_dinov3",
    "vit_tiny_patch16_dinov3_qkvb",
    "vit_small_plus_patch16_dinov3",
    "vit_small_patch16_lingbot",
    "vit_base_patch16_sapiens2",
    "vit_pe_core_tiny_patch16_384",
    "vit_pe_core_gigantic_patch14_448",
    "vit_pe_spatial_tiny_patch16_512",
    "vit_small_patch16_rope_224",
    "vit_small_patch16_rope_ape_224",
    "vit_small_patch16_rope_mixed_224",
    "vit_small_patch16_rope_mixed_ape_224",
    "vit_medium_patch16_rope_reg1_gap_256",
    "vit_betwixt_patch16_rope_reg4_gap_256",
]
VARIANTS = {
    "mrope": {"rope_type": "mrope", "rope_mrope_section": (0, 3, 3)},
    "dinov3, half": {"rope_type": "dinov3", "rope_rotate_half": True},
    "query and key norms": {"qk_norm": True, "scale_attn_inner": True, "attn_type": "rope"},
    "separate projections": {"qkv_fused": False},
    "separate projections, rope": {"qkv_fused": False, "attn_type": "rope"},
    "no bias": {"qkv_bias": False},
    "no class token": {"class_token": False, "num_reg_tokens": 2, "global_pool": "avg"},
    "no rotation": {"use_rot_pos_emb": False},
    "fixed size": {"dynamic_img_size": False},
    "fixed size, dinov3": {"dynamic_img_size": False, "rope_type": "dinov3"},
    "fixed size, mixed": {"dynamic_img_size": False, "rope_type": "mixed"},
}
SMALL = {"depth": 2, "embed_dim": 48, "num_heads": 4, "num_classes": 0}


@pytest.fixture(scope="module")
def make_eva(randomized):
    """A function that builds a small transformer by timm name, or from settings."""

    def sharpened(vit):
        with torch.no_grad():  # `randomized` knows fused projections alone
            for name, parameter in randomized(vit).named_parameters():
                if "q_proj.weight" in name:
                    parameter.mul_(2)
        return vit

    def build(name=None, **settings):
        settings = {**SMALL, "dynamic_img_size": True, **settings}
        if name is None:
            defaults = {"img_size": (32, 48), "patch_size": 16, "use_rot_pos_emb": True}
            return sharpened(Eva(**{**defaults, "global_pool": "token", **settings}))
        size = (28, 42) if "patch14" in name else (32, 48)
        if "sapiens2" in name:
            settings["num_kv_heads"] = settings["num_heads"]  # its own are for its depth
        return sharpened(timm.create_model(name, img_size=size, **settings))

    return build


def timm_tokens(vit, images):
    """Patch tokens after the final LayerNorm, by timm's own code, ``(B, N, D)``."""
    pixels = (images - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    return vit.fc_norm(vit.forward_features(pixels))[:, vit.num_prefix_tokens :]


def rotated(vector, sine, cosine, half):
    """A query or key turned by the angles of its patch, pair by pair."""
    turned, d = vector.clone(), len(vector)
    for pair in range(d // 2):
        i, j = (pair, pair + d // 2) if half else (2 * pair, 2 * pair + 1)
        turned[i] = vector[i] * cosine[i] - vector[j] * sine[i]
        turned[j] = vector[j] * cosine[j] + vector[i] * sine[j]
    return turned


def slow_attention(attn, x, rope):
    """Attention of one image, head by head, and what the block's attention adds with it."""
    tokens, prefix = len(x), attn.num_prefix_tokens
    if attn.qkv is None:
        query, key, value = (layer(x) for layer in (attn.q_proj, attn.k_proj, attn.v_proj))
    else:
        query, key, value = attn.qkv(x).chunk(3, -1)
        if getattr(attn, "q_bias", None) is not None:
            query, value = query + attn.q_bias, value + attn.v_bias
    query, key, value = (part.chunk(attn.num_heads, -1) for part in (query, key, value))
    maps, outputs = [], []
    for head in range(attn.num_heads):
        q, k = attn.q_norm(query[head]), attn.k_norm(key[head])
        if rope is not None:
            angles = (rope[head] if rope.ndim == 3 else rope).chunk(2, -1)
            for i in range(prefix, tokens):
                sine, cosine = (part[i - prefix] for part in angles)
                q[i], k[i] = (rotated(v[i], sine, cosine, attn.rotate_half) for v in (q, k))
        rows = []
        for i in range(tokens):
            scores = torch.stack([q[i] @ k[j] / math.sqrt(len(q[i])) for j in range(tokens)])
            rows.append(scores.exp() / scores.exp().sum())
        maps.append(torch.stack(rows))
        outputs.append(maps[-1] @ value[head])
    return torch.stack(maps).mean(0), attn.proj(attn.norm(torch.cat(outputs, -1)))


@torch.no_grad()
def check_parity(vit, size):
    images = torch.rand(2, 3, *size)
    calls = []

    def record(module, arguments, keywords, output):
        calls.append((module, arguments[0], keywords["rope"], output))

    hooks = [b.attn.register_forward_hook(record, with_kwargs=True) for b in vit.blocks]
    for block in vit.blocks:
        block.attn.fused_attn = False
    expected = timm_tokens(vit, images)
    for block, hook in zip(vit.blocks, hooks, strict=True):
        block.attn.fused_attn = True
        hook.remove()
    backbone = EvaBackbone(vit, MEAN, STD)
    tokens = backbone(images)
    also_tokens, attentions = backbone.forward_with_attention(images)

    height, width = backbone.grid_size(size)
    assert tokens.shape == (2, vit.embed_dim, height, width)
    torch.testing.assert_close(tokens.flatten(2).mT, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(also_tokens, tokens)
    assert len(attentions) == len(calls) == len(vit.blocks)
    for attention, (attn, x, rope, output) in zip(attentions, calls, strict=True):
        assert attention.shape == (2, x.shape[1], x.shape[1])
        torch.testing.assert_close(attention.sum(-1), torch.ones(attention.shape[:2]))
        slow, slow_output = slow_attention(attn, x[1], rope)
        torch.testing.assert_close(attention[1], slow, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(slow_output, output[1], rtol=1e-4, atol=1e-5)
    # Uniform attention would let any mistake pass.
    assert attentions[-1].max() > 1.5 / attentions[-1].shape[-1]


@pytest.mark.parametrize("name", NAMES)
def test_parity_with_timm_by_name(make_eva, name):
    vit = make_eva(name)
    patch = vit.patch_embed.patch_size[0]
    check_parity(vit, (2 * patch, 4 * patch))  # not the grid that it was built for
    check_parity(vit, (2 * patch, 3 * patch))


@pytest.mark.parametrize("name", ["eva02_tiny_patch14_224", *NAMES[4:6], *NAMES[-6:]])
def test_parity_after_a_change_of_size(make_eva, name):
    vit = make_eva(name)
    patch = vit.patch_embed.patch_size[0]
    vit.set_input_size((3 * patch, 3 * patch))
    check_parity(vit, (3 * patch, 3 * patch))
    check_parity(copy.deepcopy(vit), (2 * patch, 4 * patch))


@pytest.mark.parametrize("variant", VARIANTS)
def test_parity_with_timm_by_setting(make_eva, variant):
    check_parity(make_eva(**VARIANTS[variant]), (32, 48))


def test_prefix_tokens_are_not_rotated(make_eva):
    block = make_eva("vit_small_patch16_dinov3", num_heads=1).blocks[0]
    tokens, rotation = torch.randn(1, 11, 48), torch.randn(6, 96)
    plain, turned = (attention_of(block, tokens, angles) for angles in (None, rotation))
    assert not torch.allclose(plain[:, 5:, 5:], turned[:, 5:, 5:], atol=1e-2)
    among_prefix = [F.normalize(attention[:, :5, :5], 1, -1) for attention in (plain, turned)]
    torch.testing.assert_close(*among_prefix)


@pytest.mark.parametrize(
    ("name", "patch", "prefix", "has_class_token"),
    [
        ("eva02_tiny_patch14_224", 14, 1, True),
        ("vit_small_patch16_dinov3", 16, 5, True),
        ("vit_pe_core_gigantic_patch14_448", 14, 0, False),
        ("vit_betwixt_patch16_rope_reg4_gap_256", 16, 4, False),
    ],
)
def test_properties(make_eva, name, patch, prefix, has_class_token):
    backbone = EvaBackbone(make_eva(name))
    assert backbone.patch_size == (patch, patch)
    assert backbone.embed_dim == 48
    assert backbone.num_prefix_tokens == prefix
    assert backbone.has_class_token == has_class_token


def test_levels_are_those_of_timm(make_eva):
    vit = make_eva("vit_small_patch16_rope_mixed_224", depth=4)
    images = torch.rand(1, 3, 32, 48)
    with torch.no_grad():
        tokens = EvaBackbone(vit, MEAN, STD, num_levels=2)(images)
        pixels = (images - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
        expected = vit.forward_intermediates(pixels, [1, 3], norm=True, intermediates_only=True)
    torch.testing.assert_close(tokens, torch.cat(expected, 1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("name", ["eva02_tiny_patch14_224", "vit_small_patch16_rope_mixed_224"])
def test_gradients_are_those_of_timm(make_eva, name, recompute):
    vit = make_eva(name)
    size = (28, 42) if "14" in name else (32, 48)
    images = torch.rand(2, 3, *size)
    weight = torch.randn(48)
    (timm_tokens(vit, images) @ weight).sum().backward()
    expected = {name: parameter.grad for name, parameter in vit.named_parameters()}
    assert expected["patch_embed.proj.weight"].abs().max() > 0
    vit.zero_grad()
    backbone = EvaBackbone(vit, MEAN, STD).train()
    backbone.recompute_activations = recompute
    output = backbone.forward_with_attention(images)
    assert not any(attention.requires_grad for attention in output.attentions)
    (output.patch_tokens.flatten(2).mT @ weight).sum().backward()
    for name, parameter in vit.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-3, atol=1e-4)


def test_half_precision_attention_sums_to_one(make_eva):
    backbone = EvaBackbone(make_eva("vit_small_patch16_dinov3")).bfloat16()
    with torch.no_grad():
        output = backbone.forward_with_attention(torch.rand(1, 3, 32, 48).bfloat16())
    assert output.patch_tokens.dtype == torch.bfloat16
    for attention in output.attentions:
        torch.testing.assert_close(attention.sum(-1), torch.ones(attention.shape[:2]))


def test_wrong_images_are_refused(make_eva):
    backbone = EvaBackbone(make_eva("vit_small_patch16_dinov3"))
    with pytest.raises(ValueError, match="whole multiples"):
        backbone(torch.rand(1, 3, 30, 48))
    with pytest.raises(ValueError, match=r"expected floats in \[0, 1\]"):
        backbone(torch.zeros(1, 3, 32, 48, dtype=torch.uint8))


MODELS = {
    "vit_tiny_patch16_dinov3_qkvb": (32, 48),
    "vit_pe_core_tiny_patch16_384": (32, 48),
    "eva02_tiny_patch14_224": (28, 42),
}


@pytest.mark.parametrize("name", MODELS)
def test_round_trip_of_a_model(randomized, tmp_path, name):
    config = ModelConfig(name, weights="random", image_size=MODELS[name])
    config = with_settings(config, {"top_n": 2})
    model = randomized(build_model(config, 3))
    images = torch.rand(2, 3, *MODELS[name])
    with torch.inference_mode():
        expected = model(images)
    save_checkpoint(tmp_path, model, ("a", "b", "c"), config)
    loaded = load_checkpoint(tmp_path).model
    assert isinstance(loaded.backbone, EvaBackbone)
    with torch.inference_mode():
        output = loaded(images)
    for value, other in zip(output, expected, strict=True):
        torch.testing.assert_close(value, other)
    # A model that has predicted can learn.
    loaded.train()(images).global_logits.sum().backward()


def test_training_with_views(make_config, squares, without_curves):
    name = "vit_tiny_patch16_dinov3_qkvb"
    method = with_settings(PAPER, {"top_n": 1})
    model = ModelConfig(name, weights="random", image_size=(32, 48), method=method)
    config = make_config(
        model=model, steps=2, batch_size=2, evaluate_every=2, freeze_backbone=False
    )
    train(config)
    trained, start = load_checkpoint(config.output).model, build_backbone(name, "random", (32, 48))
    changed = [
        key
        for key, tensor in trained.backbone.vit.named_parameters()
        if tensor.ndim > 1 and not torch.equal(tensor, start.vit.get_parameter(key))
    ]
    assert len(changed) == sum(p.ndim > 1 for p in trained.backbone.vit.parameters())
    photograph = squares[1].parent / "0.png"
    (prediction,) = load(config.output, "cpu").stream([photograph], threshold=0.0)
    assert isinstance(prediction, Prediction)
    assert {label.label for label in prediction.labels} == {"blue", "green", "red"}
