"""The engines of graphs, against PyTorch on the same tiny random models."""

import copy
import typing

import numpy as np
import pytest
import safetensors.torch
import torch
from timm.models.eva import Eva
from torch import nn

from didvit.config.model import HeadName
from didvit.export.graphs import ExportError, write_graphs
from didvit.heads import HEADS, LabelStatistics
from didvit.inference.engine import VIEWS_GRAPH
from didvit.inference.engines.graphs import view_size
from didvit.inference.engines.onnx import OnnxEngine
from didvit.inference.engines.openvino import OpenVinoEngine
from didvit.inference.engines.pytorch import PyTorchEngine
from didvit.method.backbone import ViTBackbone
from didvit.method.config import DiDConfig
from didvit.method.model import DiD
from didvit.method.semantic import HeadOutput, SemanticHead
from didvit.modeling.eva import EvaBackbone
from didvit.modeling.quantize import pack, unpack

SIZE = (32, 48)
NUM_LABELS = 5
BATCHES = (3, 1)

METHODS = {
    "whole image": {"top_n": 0},
    "semantic maps": {"reconstraint": "none", "view_scale": 1.0},
    "views as large": {"normalization": "row", "reconstraint": "shifted", "view_scale": 1.0},
    "small views": {"view_scale": 0.5, "rollout_order": "ascending", "reconstraint": "sum"},
}

TRANSFORMERS = {
    "no class token": {"class_token": False, "reg_tokens": 2, "global_pool": "avg"},
    "more norms": {"pre_norm": True, "init_values": 1.0, "qk_norm": True, "scale_attn_norm": True},
}

ROTATED = {
    "DINOv3": {
        "rope_type": "dinov3",
        "rope_rotate_half": True,
        "use_abs_pos_emb": False,
        "num_reg_tokens": 2,
        "qkv_bias": False,
        "init_values": 1.0,
    },
    "by learned angles": {"rope_type": "mixed", "attn_type": "rope", "use_abs_pos_emb": False},
    "EVA-02": {"qkv_fused": False, "swiglu_mlp": True, "scale_mlp": True},
}


def head_of(name, width):
    """A head of the package for tokens of so many channels."""
    settings = {"num_heads": 2} if name == "csra" else {}
    if not HEADS[name].needs_label_statistics:
        return HEADS[name](width, NUM_LABELS, **settings)
    return HEADS[name](width, LabelStatistics(torch.rand(5, 5), torch.rand(5, 12)))


@pytest.fixture
def build(make_vit, randomized):
    """A function that builds a model on a transformer of few blocks."""

    def make(head="baseline", vit=None, depth=2, **settings):
        levels = HEADS[head].num_levels
        vit = make_vit(depth=max(levels, depth)) if vit is None else vit
        kind = EvaBackbone if isinstance(vit, Eva) else ViTBackbone
        statistics = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4)}
        backbone = kind(vit, **statistics, num_levels=levels)
        config = DiDConfig(**{"top_n": 2, "view_scale": 1.0, **settings})
        return DiD(backbone, randomized(head_of(head, backbone.embed_dim), 3), config).eval()

    return make


def written(folder, model, state=None):
    """A folder with a model's weights and graphs."""
    weights = model.state_dict() if state is None else state
    weights = {name: tensor.contiguous() for name, tensor in weights.items()}
    safetensors.torch.save_file(weights, folder / "model.safetensors")
    write_graphs(folder, model, SIZE)
    return folder


def assert_engines_agree(folder, model, atol=1e-4):
    """Both engines give what PyTorch gives, for batches of several sizes in turn."""
    reference, method = PyTorchEngine(model, SIZE, "cpu"), model.config
    views = view_size(method, SIZE, reference.patch_size)
    for engine in (OnnxEngine(folder, 1), OpenVinoEngine(folder, 1)):
        assert (engine.input_size, engine.patch_size) == (SIZE, reference.patch_size)
        engine.check_method(method)
        for count in BATCHES:
            images = np.random.default_rng(count).random((count, 3, *SIZE), np.float32)
            expected = reference.global_pass(images, with_boxes=method.top_n > 0)
            seen = engine.global_pass(images, with_boxes=method.top_n > 0)
            assert (seen.spatial_map is None) == (method.top_n == 0)
            for values, others, name in zip(expected, seen, expected._fields, strict=True):
                if values is not None:
                    assert others.dtype == np.float32
                    label = f"{name} by {engine.name} of {count}"
                    np.testing.assert_allclose(others, values, rtol=1e-4, atol=atol, err_msg=label)
            if method.top_n:
                cut = np.random.default_rng(count).random((count, 3, *views), np.float32)
                logits = reference.view_logits(cut)
                np.testing.assert_allclose(engine.view_logits(cut), logits, rtol=1e-4, atol=atol)


@pytest.mark.parametrize("head", typing.get_args(HeadName))
def test_heads(build, tmp_path, head):
    model = build(head, depth=1)
    assert_engines_agree(written(tmp_path, model), model)


@pytest.mark.parametrize("settings", METHODS.values(), ids=METHODS)
def test_settings_of_the_method(build, tmp_path, settings):
    model = build(**settings)
    folder = written(tmp_path, model)
    has_own_views = model.config.top_n > 0 and model.config.view_scale != 1
    assert (folder / VIEWS_GRAPH).is_file() == has_own_views
    assert_engines_agree(folder, model)


@pytest.mark.parametrize("settings", TRANSFORMERS.values(), ids=TRANSFORMERS)
def test_transformers(build, make_vit, tmp_path, settings):
    model = build(vit=make_vit(depth=1, **settings))
    assert_engines_agree(written(tmp_path, model), model)


@pytest.mark.parametrize("settings", ROTATED.values(), ids=ROTATED)
def test_rotated_positions(build, randomized, tmp_path, settings):
    shape = {"img_size": SIZE, "patch_size": 16, "embed_dim": 48, "depth": 1, "num_heads": 4}
    defaults = {"num_classes": 0, "global_pool": "token", "use_rot_pos_emb": True}
    vit = randomized(Eva(**{**shape, **defaults, "dynamic_img_size": True, **settings}))
    model = build(vit=vit)
    assert_engines_agree(written(tmp_path, model), model)


@pytest.mark.parametrize("kind", ["8 bits", "16 bits"])
def test_rounded_weights_are_read_as_pytorch_reads_them(build, tmp_path, kind):
    model = build(depth=1)
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    if kind == "8 bits":
        state = pack(state)
        model.load_state_dict(unpack(state))
    else:
        state = {name: tensor.half() for name, tensor in state.items()}
        model.load_state_dict(state)
    # OpenVINO may take weights of 8 bits as leave to compute in 8 bits, which is 100 times as far.
    folder = written(tmp_path, model, state)
    assert_engines_agree(folder, model)


def test_a_model_is_unchanged_by_its_export(build, tmp_path):
    model = build(depth=1)
    images = torch.rand(2, 3, *SIZE)
    state, before = copy.deepcopy(model.state_dict()), model(images)
    settings = {name: vars(module).copy() for name, module in model.named_modules()}
    written(tmp_path, model)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[name])
    for name, module in model.named_modules():
        assert vars(module).keys() == settings[name].keys()
        plain = {key: value for key, value in vars(module).items() if not key.startswith("_")}
        assert all(settings[name][key] is value for key, value in plain.items())
    for value, other in zip(model(images), before, strict=True):
        assert torch.equal(value, other)


class OfOneBatchSize(SemanticHead):
    """A head whose graph has the number of images in it."""

    def forward(self, patch_tokens):
        maps, logits = super().forward(patch_tokens)
        return HeadOutput(maps, logits + len(patch_tokens))


class NotExported(nn.Module):
    """A head that the exporter has no words for."""

    def forward(self, patch_tokens):
        return HeadOutput(patch_tokens, torch.special.bessel_j0(patch_tokens).mean((-2, -1)))


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (lambda width: OfOneBatchSize(width, NUM_LABELS), "batches of two images alone"),
        (lambda width: NotExported(), r"cannot be exported \("),
    ],
    ids=["of one batch size", "not exported"],
)
def test_what_cannot_be_exported_is_refused(make_vit, tmp_path, head, reason):
    backbone = ViTBackbone(make_vit(depth=1))
    model = DiD(backbone, head(backbone.embed_dim), DiDConfig(top_n=0)).eval()
    with pytest.raises(ExportError, match=rf"VisionTransformer with .*{reason}.*engine pytorch"):
        written(tmp_path, model)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
