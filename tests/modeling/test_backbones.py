import os
import re
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
import torch.nn.functional as F
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from didvit.config import ModelConfig
from didvit.modeling.backbones import (
    EMBEDDED_BACKBONE,
    WeightsError,
    build_backbone,
    read_embedded_weights,
)
from didvit.modeling.checkpoint import load_checkpoint
from didvit.modeling.eva import EvaBackbone
from didvit.modeling.suitability import UnsupportedBackboneError

SIZE = (32, 48)
GRID = (18, 18)
"""Of the default model's positions."""
CREATE_MODEL = timm.create_model  # as it is before a test replaces it


def resample(position, prefix, grid, size, **how):
    """Position embeddings ``(1, prefix + h * w, D)`` resampled from one grid to another."""
    first, patches = position[:, :prefix], position[:, prefix:]
    patches = patches.unflatten(1, grid).permute(0, 3, 1, 2)
    patches = F.interpolate(patches, size=size, align_corners=False, **how)
    return torch.cat([first, patches.flatten(2).mT], dim=1)


def refused(parts, *arguments, **settings):
    """Building is refused with a message that has every part."""
    with pytest.raises(WeightsError) as caught:
        build_backbone(*arguments, **settings)
    for part in parts:
        assert str(part) in str(caught.value)
    return str(caught.value)


@pytest.fixture
def save_vit(tmp_path, randomized):
    """A function that writes the weights of a random ``test_vit``; their path and values."""

    def save(image_size=SIZE, num_classes=0, change=None):
        vit = timm.create_model("test_vit", num_classes=num_classes, img_size=image_size)
        state = {name: tensor.clone() for name, tensor in randomized(vit, 7).state_dict().items()}
        if change:
            change(state)
        path = tmp_path / "weights.safetensors"
        safetensors.torch.save_file(state, path)
        return path, state

    return save


class TestArchitectures:
    def test_random_weights_of_a_tiny_transformer(self):
        backbone = build_backbone("test_vit", "random", SIZE)
        assert backbone.patch_size == (16, 16)
        assert backbone(torch.rand(2, 3, *SIZE)).shape == (2, 64, 2, 3)
        assert backbone(torch.rand(1, 3, 48, 16)).shape == (1, 64, 3, 1)

    def test_rotary_positions(self):
        backbone = build_backbone("eva02_tiny_patch14_224", "random", (28, 42))
        assert isinstance(backbone, EvaBackbone)
        assert backbone(torch.rand(2, 3, 28, 42)).shape == (2, 192, 2, 3)
        assert backbone(torch.rand(1, 3, 42, 14)).shape == (1, 192, 3, 1)

    def test_pixels_are_normalized_as_the_weights_expect(self):
        for name in (
            "vit_tiny_patch16_224.augreg_in21k",
            "eva02_tiny_patch14_224.mim_in22k",
            "vit_small_patch14_dinov2.lvd142m",
        ):
            backbone = build_backbone(name, "random", (28, 28) if "14" in name else (32, 32))
            expected = timm.get_pretrained_cfg(name)
            assert backbone.mean.flatten().tolist() == pytest.approx(expected.mean)
            assert backbone.std.flatten().tolist() == pytest.approx(expected.std)
        assert expected.mean != (0.5, 0.5, 0.5)

    @pytest.mark.parametrize("name", ["vit_of_nobody", "", "hf-hub:someone/something"])
    @pytest.mark.parametrize("weights", ["random", "pretrained", "embedded"])
    def test_unknown(self, name, weights):
        refused([f"no architecture {name!r}", "didvit models"], name, weights)

    @pytest.mark.parametrize("weights", ["random", "pretrained"])
    def test_unknown_tag(self, weights):
        refused(["test_vit.of_nobody"], "test_vit.of_nobody", weights)

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("swin_tiny_patch4_window7_224", "not a timm VisionTransformer"),
            ("vit_tiny_r_s16_p8_224", "HybridEmbed"),
            ("vit_large_patch16_sapiens2", "grouped-query"),
            ("eva02_enormous_patch14_clip_224", "EvaBlockPostNorm"),
            ("resnet18", "not a timm VisionTransformer"),
        ],
    )
    @pytest.mark.parametrize("weights", ["random", "pretrained", "none.npz"])
    def test_unsupported(self, name, reason, weights, monkeypatch):
        def create(*arguments, **settings):
            assert not settings.get("pretrained"), "nothing may be downloaded to be refused"
            return CREATE_MODEL(*arguments, **settings)

        monkeypatch.setattr(timm, "create_model", create)
        with pytest.raises(UnsupportedBackboneError, match=reason) as caught:
            build_backbone(name, weights)
        names = re.findall(r"\b(?:vit|deit|eva02)_[\w.]+\w", str(caught.value))
        assert len(names) >= 4
        assert all(timm.is_model(name) for name in names)


# The hub's HTTP client (httpx or requests, as its version goes) raises its own errors when a
# connection breaks halfway; this is the base of them.
ClientError = HfHubHTTPError.__bases__[0]

HUB_ERRORS = [
    LocalEntryNotFoundError("cannot find the file\nin the cache, and cannot connect"),
    urllib.error.URLError("name or service not known"),
    OSError("We couldn't connect"),
    TimeoutError(),
    RuntimeError("No pretrained weights exist for test_vit"),
    ClientError("The read operation timed out"),
]


class TestHub:
    def break_hub(self, monkeypatch, error):
        def create(*arguments, pretrained=False, **settings):
            if pretrained:
                raise error
            return CREATE_MODEL(*arguments, **settings)

        monkeypatch.setattr(timm, "create_model", create)

    @pytest.mark.parametrize("error", HUB_ERRORS, ids=lambda error: type(error).__name__)
    def test_unreachable(self, monkeypatch, error):
        self.break_hub(monkeypatch, error)
        ways = [".safetensors", ".npz", "'embedded'", EMBEDDED_BACKBONE]
        message = refused(["the hub", "test_vit.r160_in1k", *ways], "test_vit.r160_in1k")
        assert "\n" not in message
        assert message.count("Without a network") == 1

    def test_the_offline_ways_do_not_ask_the_hub(self, monkeypatch, save_vit):
        self.break_hub(monkeypatch, AssertionError("the hub was asked"))
        path, _ = save_vit()
        build_backbone("test_vit", "random", SIZE)
        build_backbone("test_vit", str(path), SIZE)

    def test_weights_are_asked_for_by_tag(self, monkeypatch):
        asked = []

        def create(name, pretrained=False, **settings):
            if pretrained:
                asked.append((name, settings["img_size"]))
            return CREATE_MODEL(name, **settings)

        monkeypatch.setattr(timm, "create_model", create)
        backbone = build_backbone("test_vit.r160_in1k", image_size=SIZE)
        assert asked == [("test_vit.r160_in1k", SIZE)]
        assert backbone(torch.rand(1, 3, *SIZE)).shape == (1, 64, 2, 3)


class TestSafetensors:
    def test_every_tensor_arrives(self, save_vit):
        path, state = save_vit()
        loaded = build_backbone("test_vit", str(path), SIZE).vit.state_dict()
        assert loaded.keys() == state.keys()
        assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())

    def test_a_classifier_in_the_file_is_ignored(self, save_vit):
        path, state = save_vit(num_classes=9)
        assert "head.weight" in state
        loaded = build_backbone("test_vit", str(path), SIZE).vit.state_dict()
        assert state.keys() - loaded.keys() == {"head.weight", "head.bias"}
        assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.items())

    @pytest.mark.parametrize("image_size", [(32, 48), (96, 64), (160, 160)])
    def test_position_embeddings_are_resampled_to_the_grid(self, save_vit, image_size):
        path, state = save_vit((64, 64))
        loaded = build_backbone("test_vit", str(path), image_size).vit.state_dict()
        grid = image_size[0] // 16, image_size[1] // 16
        expected = resample(state["pos_embed"], 1, (4, 4), grid, mode="bicubic", antialias=True)
        torch.testing.assert_close(loaded.pop("pos_embed"), expected)
        assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.items())

    def test_features_are_those_of_the_saved_transformer(self, save_vit):
        path, state = save_vit()
        backbone = build_backbone("test_vit", str(path), SIZE).eval()
        vit = timm.create_model("test_vit", num_classes=0, img_size=SIZE).eval()
        vit.load_state_dict(state)
        images = torch.rand(2, 3, *SIZE)
        with torch.no_grad():
            tokens = vit.forward_features((images - backbone.mean) / backbone.std)[:, 1:]
            torch.testing.assert_close(backbone(images).flatten(2).mT, tokens)

    @pytest.mark.parametrize(
        "name", ["cls_token", "pos_embed", "norm.weight", "blocks.5.mlp.fc2.bias"]
    )
    def test_missing_tensor(self, save_vit, name):
        path, _ = save_vit(change=lambda state: state.pop(name))
        refused([path, name], "test_vit", str(path), SIZE)

    @pytest.mark.parametrize(
        ("name", "shape"),
        [
            ("norm.weight", (63,)),
            ("norm.weight", (1,)),
            ("cls_token", (1, 1, 65)),
            ("pos_embed", (1, 7, 65)),
            ("pos_embed", (1, 9, 64)),
            ("pos_embed", (64,)),
            ("patch_embed.proj.weight", (5,)),
            ("patch_embed.proj.weight", (64, 4, 16, 16)),
        ],
    )
    def test_wrong_shape(self, save_vit, name, shape):
        path, _ = save_vit(change=lambda state: state.update({name: torch.ones(shape)}))
        refused([path, "does not fit"], "test_vit", str(path), SIZE)

    def test_unknown_tensor(self, save_vit):
        path, _ = save_vit(change=lambda state: state.update({"other.weight": torch.ones(1)}))
        refused([path, "other.weight"], "test_vit", str(path), SIZE)

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("test_vit2", "0 register tokens"),
            ("test_vit3", "0 register tokens"),
            ("vit_tiny_patch16_224", "does not fit"),
        ],
    )
    def test_another_architecture(self, save_vit, name, reason):
        path, _ = save_vit()
        refused([path, reason], name, str(path), SIZE)

    @pytest.mark.parametrize("name", ["dist_token", "distillation_token", "model.dist_token"])
    def test_a_distillation_token(self, save_vit, name):
        path, _ = save_vit(change=lambda state: state.update({name: torch.ones(1, 1, 64)}))
        refused([path, "distillation token", "deit_small_patch16_224"], "test_vit", str(path), SIZE)

    @pytest.mark.parametrize("name", ["reg_token", "register_tokens"])
    def test_register_tokens_that_the_architecture_has_not(self, save_vit, name):
        path, _ = save_vit(change=lambda state: state.update({name: torch.ones(1, 4, 64)}))
        refused([path, "4 register tokens", "has 0"], "test_vit", str(path), SIZE)

    def test_weights_that_hold_nan(self, save_vit):
        path, _ = save_vit(change=lambda state: state["norm.weight"][3].fill_(torch.nan))
        refused([path, "1 of 64 values of norm.weight"], "test_vit", str(path), SIZE)

    def test_no_safetensors_file(self, tmp_path):
        path = tmp_path / "weights.safetensors"
        path.write_text("These are no weights.\n" * 20)
        refused([path, "not a safetensors file"], "test_vit", str(path), SIZE)

    def test_cut_file(self, save_vit):
        path, _ = save_vit()
        path.write_bytes(path.read_bytes()[:-100])
        refused([path], "test_vit", str(path), SIZE)


def original_dinov3(state):
    """The weights of a timm transformer under the names that Meta's files have."""
    names = {"reg_token": "storage_tokens", "gamma_1": "ls1.gamma", "gamma_2": "ls2.gamma"}
    renamed = {"mask_token": torch.ones(1, 192), "rope_embed.periods": torch.ones(16)}
    for name, tensor in state.items():
        block, _, last = name.rpartition(".")
        if last == "q_bias":
            keys = torch.zeros_like(tensor)
            renamed[f"{block}.qkv.bias"] = torch.cat([tensor, keys, state[f"{block}.v_bias"]])
        elif last != "v_bias":
            renamed[f"{block}.{names.get(last, last)}".lstrip(".")] = tensor
    return renamed


class TestRotarySafetensors:
    @pytest.fixture
    def save(self, tmp_path, randomized):
        """A function that writes random weights of an architecture; their path and values."""

        def save(name, image_size, change=dict):
            vit = timm.create_model(name, num_classes=0, img_size=image_size)
            state = {key: tensor.clone() for key, tensor in randomized(vit, 7).state_dict().items()}
            safetensors.torch.save_file(change(state), tmp_path / "weights.safetensors")
            return tmp_path / "weights.safetensors", state

        return save

    @pytest.mark.parametrize(
        "name",
        [
            "eva02_tiny_patch14_224",
            "vit_tiny_patch16_dinov3_qkvb",
            "vit_pe_core_tiny_patch16_384",
            "vit_small_patch16_rope_mixed_224",
        ],
    )
    def test_every_tensor_arrives(self, save, name):
        size = (28, 42) if "14" in name else SIZE
        path, state = save(name, size)
        loaded = build_backbone(name, str(path), size).vit.state_dict()
        assert loaded.keys() == state.keys()
        assert all(torch.equal(loaded[key], tensor) for key, tensor in state.items())

    def test_positions_are_resampled_to_the_grid(self, save):
        path, state = save("eva02_tiny_patch14_224", (56, 56))
        loaded = build_backbone("eva02_tiny_patch14_224", str(path), (28, 42)).vit.state_dict()
        expected = resample(state["pos_embed"], 1, (4, 4), (2, 3), mode="bicubic", antialias=True)
        torch.testing.assert_close(loaded.pop("pos_embed"), expected)
        assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.items())

    def test_names_of_the_original_files(self, save):
        path, state = save("vit_tiny_patch16_dinov3_qkvb", SIZE, original_dinov3)
        loaded = build_backbone("vit_tiny_patch16_dinov3_qkvb", str(path), SIZE).vit.state_dict()
        assert loaded.keys() == state.keys()
        assert all(torch.equal(loaded[key], tensor) for key, tensor in state.items())

    def test_missing_tensor(self, save):
        def change(state):
            return {key: tensor for key, tensor in state.items() if key != "blocks.3.attn.q_bias"}

        path, _ = save("vit_tiny_patch16_dinov3_qkvb", SIZE, change)
        refused([path, "blocks.3.attn.q_bias"], "vit_tiny_patch16_dinov3_qkvb", str(path), SIZE)

    @pytest.mark.parametrize("name", ["reg_token", "storage_tokens"])
    def test_another_number_of_registers(self, save, name):
        def change(state):
            state.pop("reg_token")
            return state | {name: torch.ones(1, 2, 192)}

        path, _ = save("vit_tiny_patch16_dinov3_qkvb", SIZE, change)
        parts = [path, "2 register tokens", "has 4"]
        refused(parts, "vit_tiny_patch16_dinov3_qkvb", str(path), SIZE)

    def test_files_of_the_original_transformer_are_refused(self, tmp_path):
        np.savez(tmp_path / "weights.npz", cls=np.ones((1, 1, 192), np.float32))
        parts = [tmp_path / "weights.npz", "original ViT", ".safetensors"]
        refused(parts, "eva02_tiny_patch14_224", str(tmp_path / "weights.npz"))


def original_arrays(vit, heads):
    """The weights of a timm transformer under the names and in the shapes of the original."""
    state = {name: tensor.numpy() for name, tensor in vit.state_dict().items()}
    width = vit.embed_dim
    arrays = {
        "embedding/kernel": state["patch_embed.proj.weight"].transpose(2, 3, 1, 0),
        "embedding/bias": state["patch_embed.proj.bias"],
        "cls": state["cls_token"],
        "Transformer/posembed_input/pos_embedding": state["pos_embed"],
        "Transformer/encoder_norm/scale": state["norm.weight"],
        "Transformer/encoder_norm/bias": state["norm.bias"],
        "head/kernel": np.zeros((width, 5), np.float32),
        "head/bias": np.zeros(5, np.float32),
    }
    for i in range(len(vit.blocks)):
        ours, theirs = f"blocks.{i}.", f"Transformer/encoderblock_{i}/"
        for norm, name in (("norm1", "LayerNorm_0"), ("norm2", "LayerNorm_2")):
            arrays[f"{theirs}{name}/scale"] = state[f"{ours}{norm}.weight"]
            arrays[f"{theirs}{name}/bias"] = state[f"{ours}{norm}.bias"]
        attention = f"{theirs}MultiHeadDotProductAttention_1/"
        weights = np.split(state[f"{ours}attn.qkv.weight"], 3)
        biases = np.split(state[f"{ours}attn.qkv.bias"], 3)
        for name, weight, bias in zip(("query", "key", "value"), weights, biases, strict=True):
            arrays[f"{attention}{name}/kernel"] = weight.T.reshape(width, heads, -1)
            arrays[f"{attention}{name}/bias"] = bias.reshape(heads, -1)
        arrays[f"{attention}out/kernel"] = state[f"{ours}attn.proj.weight"].T.reshape(
            heads, -1, width
        )
        arrays[f"{attention}out/bias"] = state[f"{ours}attn.proj.bias"]
        for ours_layer, layer in (("fc1", "Dense_0"), ("fc2", "Dense_1")):
            name = f"{theirs}MlpBlock_3/{layer}/"
            arrays[f"{name}kernel"] = state[f"{ours}mlp.{ours_layer}.weight"].T
            arrays[f"{name}bias"] = state[f"{ours}mlp.{ours_layer}.bias"]
    return arrays


@pytest.fixture(scope="module")
def vit(randomized):
    return randomized(timm.create_model("vit_tiny_patch16_224", num_classes=0), seed=8)


@pytest.fixture(scope="module")
def path(vit, tmp_path_factory):
    path = tmp_path_factory.mktemp("original") / "Ti_16.npz"
    np.savez(path, **original_arrays(vit, heads=3))
    return path


class TestOriginalNpz:
    @pytest.fixture
    def save_tiny(self, tmp_path, randomized):
        """A function that writes a ``test_vit`` in the original format, changed."""

        def save(change):
            vit = randomized(timm.create_model("test_vit", num_classes=0))
            arrays = original_arrays(vit, heads=2)
            change(arrays)
            path = tmp_path / "tiny.npz"
            np.savez(path, **arrays)
            return str(path)

        return save

    def test_every_tensor_arrives(self, vit, path):
        expected = vit.state_dict()
        loaded = build_backbone("vit_tiny_patch16_224", str(path)).vit.state_dict()
        assert loaded.keys() == expected.keys()
        for name, tensor in expected.items():
            assert torch.equal(loaded[name], tensor), name
        assert not torch.equal(loaded["norm.weight"], torch.ones(192))

    def test_every_tensor_arrives_at_another_size(self, vit, path):
        expected = dict(vit.state_dict())
        loaded = build_backbone("vit_tiny_patch16_224", str(path), (128, 64)).vit.state_dict()
        position = expected.pop("pos_embed")
        torch.testing.assert_close(
            loaded["pos_embed"],
            resample(position, 1, (14, 14), (8, 4), mode="bicubic", antialias=True),
        )
        for name, tensor in expected.items():
            assert torch.equal(loaded[name], tensor), name

    def test_a_tiny_one(self, save_tiny):
        backbone = build_backbone("test_vit", save_tiny(lambda arrays: None), SIZE)
        assert backbone(torch.rand(1, 3, *SIZE)).shape == (1, 64, 2, 3)

    @pytest.mark.parametrize(
        "name",
        [
            "cls",
            "embedding/kernel",
            "Transformer/encoder_norm/scale",
            "Transformer/posembed_input/pos_embedding",
            "Transformer/encoderblock_5/MlpBlock_3/Dense_1/bias",
        ],
    )
    def test_missing_tensor(self, save_tiny, name):
        path = save_tiny(lambda arrays: arrays.pop(name))
        refused([path], "test_vit", path, SIZE)

    @pytest.mark.parametrize(
        ("name", "shape"),
        [
            ("embedding/kernel", (16, 16, 3, 65)),
            ("embedding/kernel", (64,)),
            ("cls", (1, 1, 65)),
            ("Transformer/posembed_input/pos_embedding", (1, 9, 64)),
            ("Transformer/encoder_norm/scale", (63,)),
            ("Transformer/encoder_norm/scale", (1,)),
            ("Transformer/encoderblock_0/MlpBlock_3/Dense_0/kernel", (64, 191)),
        ],
    )
    def test_wrong_shape(self, save_tiny, name, shape):
        array = np.ones(shape, np.float32)
        path = save_tiny(lambda arrays: arrays.update({name: array}))
        refused([path], "test_vit", path, SIZE)

    @pytest.mark.parametrize(
        "name", ["test_vit", "vit_small_patch16_224", "vit_small_patch14_dinov2"]
    )
    def test_another_architecture(self, path, name):
        refused([path], name, str(path))

    def test_more_blocks_than_the_architecture_has(self, save_tiny):
        def deepen(arrays):
            for name in [name for name in arrays if "encoderblock_5" in name]:
                arrays[name.replace("encoderblock_5", "encoderblock_6")] = arrays[name]

        path = save_tiny(deepen)
        refused([path], "test_vit", path, SIZE)

    @pytest.mark.parametrize("content", [b"", b"no archive" * 20, "cut"])
    def test_damaged_file(self, path, tmp_path, content):
        damaged = tmp_path / "damaged.npz"
        damaged.write_bytes(path.read_bytes()[:100_000] if content == "cut" else content)
        refused([damaged], "vit_tiny_patch16_224", str(damaged))

    def test_another_npz_file(self, tmp_path):
        np.savez(tmp_path / "other.npz", a=np.ones(3))
        refused([tmp_path / "other.npz"], "test_vit", str(tmp_path / "other.npz"), SIZE)

    def test_pickled_objects_are_refused(self, save_tiny):
        objects = np.array([{}], dtype=object)
        path = save_tiny(lambda arrays: arrays.update({"embedding/kernel": objects}))
        refused([path], "test_vit", path, SIZE)


class TestFiles:
    @pytest.mark.parametrize("name", ["none.safetensors", "none.npz", "none", "Embedded"])
    def test_missing_file(self, tmp_path, name):
        path = tmp_path / name
        ways = ["'pretrained'", "'embedded'", "'random'", ".safetensors", ".npz"]
        refused([f"no weights file {str(path)!r}", *ways], "test_vit", str(path), SIZE)

    def test_folder(self, tmp_path):
        refused([tmp_path], "test_vit", str(tmp_path), SIZE)

    @pytest.mark.parametrize("suffix", [".pth", ".bin", ".pt", ".onnx", ""])
    def test_other_kinds_of_file(self, tmp_path, suffix):
        path = tmp_path / f"weights{suffix}"
        torch.save({"a": torch.ones(1)}, path)
        kind = suffix or "without suffix"
        refused([path, kind, ".safetensors", ".npz", "pickles"], "test_vit", str(path), SIZE)


class TestEmbedded:
    def test_they_are_the_default_model(self):
        checkpoint = load_checkpoint("default")
        model, size = checkpoint.model.backbone.state_dict(), checkpoint.config.image_size
        loaded = build_backbone(ModelConfig().backbone, "embedded", size).state_dict()
        assert loaded.keys() == model.keys()
        for name, tensor in model.items():
            assert torch.equal(loaded[name], tensor), name

    def test_no_name_of_the_backbone_is_left_out(self):
        vit = timm.create_model(EMBEDDED_BACKBONE, num_classes=0)
        assert read_embedded_weights().keys() == vit.state_dict().keys()

    def test_they_come_from_the_weights_of_imagenet(self):
        """Fine-tuning moves weights a little; other weights would be orthogonal to them."""
        folder = os.environ.get("DIDVIT_DATA", Path(__file__).parents[3] / "shared" / "data")
        path = Path(folder).parent / "weights" / f"{ModelConfig().backbone}.safetensors"
        if not path.exists():
            pytest.skip(f"there are no weights at {path}; set DIDVIT_DATA to the folder beside")
        start, embedded = safetensors.torch.load_file(path), read_embedded_weights()
        for name in embedded.keys() - {"pos_embed"}:
            a, b = embedded[name].flatten(), start[name].flatten()
            assert F.cosine_similarity(a, b, dim=0) > 0.8, name

    def test_positions_arrive_at_another_size(self):
        loaded = build_backbone(EMBEDDED_BACKBONE, "embedded", (32, 80)).vit.state_dict()
        position = resample(
            read_embedded_weights()["pos_embed"],
            *(1, GRID, (2, 5)),
            mode="bicubic",
            antialias=True,
        )
        torch.testing.assert_close(loaded["pos_embed"], position)


@pytest.mark.parametrize("name", ["test_vit", "deit_tiny_patch16_224"])
def test_embedded_weights_are_of_one_architecture(name):
    refused([EMBEDDED_BACKBONE, name], name, "embedded", (32, 32))
