"""Backbones by name, and where their weights come from: a hub, a file, or an installed package."""

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
from timm.models import eva, vision_transformer
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from didvit.method.backbone import ViTBackbone
from didvit.modeling.architectures import build_without_weights
from didvit.modeling.eva import EvaBackbone
from didvit.modeling.quantize import unpack
from didvit.modeling.suitability import check_supported

EMBEDDED_BACKBONE = "vit_tiny_patch16_224"
"""The architecture whose weights come with didvit, in its default model."""

DEFAULT_MODEL = Path(str(importlib.resources.files("didvit"))) / "models" / "default"

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
    """Build a timm Vision Transformer with its weights, ready for inputs of any size.

    Args:
        architecture: A timm name, with or without the tag of its weights, for example
            ``vit_base_patch16_224.augreg_in21k``. 'didvit models' lists them.
        weights: ``"pretrained"``, the hub's weights of that tag; ``"embedded"``, those of the
            default model; ``"random"``; or the path of a ``.safetensors`` file or of an original
            ViT ``.npz`` file.
        image_size: Height and width that position embeddings are resampled to, once; inputs of
            other sizes have them resampled on the fly.
        num_levels: Number of blocks whose patch tokens the backbone returns (see `ViTBackbone`).

    Raises:
        UnsupportedBackboneError: The architecture is not a plain Vision Transformer.
        WeightsError: The architecture or its tag is unknown, the sides of the input are not whole
            multiples of the patch, or the weights cannot be had or do not fit.
    """
    if not timm.is_model(architecture):
        raise WeightsError(
            f"timm knows no architecture {architecture!r}; 'didvit models' lists those that can "
            "be the backbone"
        )
    if weights == "embedded" and architecture.partition(".")[0] != EMBEDDED_BACKBONE:
        raise WeightsError(
            f"the embedded weights are those of {EMBEDDED_BACKBONE}, not of {architecture}; "
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
        if weights == "embedded":
            _load(vit, read_embedded_weights(), "the embedded weights")
        elif weights != "random":
            _load(vit, _read_safetensors(Path(weights)), weights)
    kind = EvaBackbone if isinstance(vit, Eva) else ViTBackbone
    return kind(vit, *pixel_statistics(vit), num_levels)


def pixel_statistics(vit: VisionTransformer | Eva) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of the pixels that the weights were trained on."""
    config: Any = vit.pretrained_cfg
    return tuple(config["mean"]), tuple(config["std"])


def num_parameters(architecture: str) -> int:
    """Number of weights of a timm architecture; 0 where timm does not know it."""
    try:
        vit = build_without_weights(architecture)
    except RuntimeError:  # timm's word for a name or a tag that it does not know
        return 0
    return sum(parameter.numel() for parameter in vit.parameters())


def non_finite(state: dict[str, Tensor]) -> str | None:
    """The first tensor that holds NaN or infinity, in words.

    >>> non_finite({"head.bias": torch.tensor([1.0, torch.nan])})
    '1 of 2 values of head.bias are NaN or infinite (training may have diverged)'
    """
    for name, tensor in state.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            count = int((~tensor.isfinite()).sum())
            return (
                f"{count} of {tensor.numel()} values of {name} are NaN or infinite (training may "
                "have diverged)"
            )
    return None


def _check_geometry(architecture: str, image_size: tuple[int, int]) -> None:
    """Refuse an architecture or an input that cannot serve, before anything is downloaded."""
    try:
        vit: Any = build_without_weights(architecture)
    except RuntimeError as error:  # timm raises it for a tag that it does not know
        raise WeightsError(f"{architecture}: {_first_line(error)}") from error
    check_supported(vit)
    (height, width), (patch_height, patch_width) = image_size, vit.patch_embed.patch_size
    if height % patch_height or width % patch_width:
        raise WeightsError(
            f"image_size is {height}x{width}, and the patches of {architecture} are "
            f"{patch_height}x{patch_width} pixels; expected whole multiples of them"
        )


def _create(architecture: str, **settings: Any) -> VisionTransformer | Eva:
    vit = timm.create_model(architecture, num_classes=0, dynamic_img_size=True, **settings)
    return cast("VisionTransformer | Eva", vit)


def _download(architecture: str, image_size: tuple[int, int]) -> VisionTransformer | Eva:
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
            "'random', or the path of a .safetensors or .npz file"
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
def _load_npz(vit: VisionTransformer | Eva, path: Path) -> None:
    """Load the original ViT weights, every tensor of the transformer."""
    _check_file(path)
    if isinstance(vit, Eva):
        raise WeightsError(
            f"{path} is a file of the original ViT, and the architecture has rotary positions or "
            "another block; expected a .safetensors file of its own weights"
        )
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
            f"{', '.join(missing[:5])} would be missing, or hold NaN"
        )


def _load(vit: VisionTransformer | Eva, state: dict[str, Tensor], name: str) -> None:
    """Load every tensor of the transformer; the file may hold a classifier besides."""
    for key, tensor in state.items():
        patch_size = tuple(tensor.shape[2:])
        is_patches = key.endswith("patch_embed.proj.weight") and tensor.ndim == 4
        if is_patches and patch_size != vit.patch_embed.patch_size:
            raise WeightsError(
                f"{name} is for patches of {patch_size} pixels, and the architecture's are "
                f"{vit.patch_embed.patch_size}"
            )
    _check_extra_tokens(vit, state, name)
    if damage := non_finite(state):
        raise WeightsError(f"{name} is damaged: {damage}")
    try:
        family = eva if isinstance(vit, Eva) else vision_transformer
        state = family.checkpoint_filter_fn(state, cast(Any, vit))
        state = {
            key: tensor
            for key, tensor in state.items()
            if not re.match(r"(head|head_dist|fc_norm|attn_pool)\.", key) or key in vit.state_dict()
        }
        vit.load_state_dict(state)
    except (RuntimeError, KeyError, AttributeError, IndexError) as error:
        raise WeightsError(f"{name} does not fit the architecture: {error}") from error


def _check_extra_tokens(vit: VisionTransformer | Eva, state: dict[str, Tensor], name: str) -> None:
    """Refuse weights with other tokens beside the patches than the architecture has."""
    shapes = {key.rpartition(".")[2]: tensor.shape for key, tensor in state.items()}
    if {"dist_token", "distillation_token"} & shapes.keys():
        raise WeightsError(
            f"{name} has a distillation token, which DiD has no use for; expected weights without "
            "one, such as those of deit_small_patch16_224 (not deit_small_distilled_patch16_224)"
        )
    names = ("reg_token", "register_tokens", "storage_tokens")
    registers = next((shapes[name] for name in names if name in shapes), ())
    found = registers[1] if len(registers) == 3 else 0
    expected = 0 if vit.reg_token is None else vit.reg_token.shape[1]
    if found != expected:
        raise WeightsError(
            f"{name} has {found} register tokens, and the architecture has {expected}; expected "
            "the architecture of these weights, such as vit_small_patch14_reg4_dinov2 for 4 and "
            "vit_small_patch14_dinov2 for none"
        )


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Silence a library's log messages below an error."""
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
    """Read the default model's backbone, under timm's names.

    It was trained from timm's ``vit_tiny_patch16_224.augreg_in21k_ft_in1k``, on COCO's 80 labels.
    """
    state = unpack(safetensors.torch.load_file(DEFAULT_MODEL / "model.safetensors"))
    prefix = "backbone.vit."
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
