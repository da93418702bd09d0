"""The architectures of timm that can be the backbone, found without their weights."""

import fnmatch
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import timm
import torch
from timm.models import get_arch_pretrained_cfgs
from torch import nn
from torch.overrides import TorchFunctionMode

from didvit.modeling.suitability import UnsupportedBackboneError, check_supported

MODULES = ("vision_transformer", "deit", "eva")
"""The modules of timm whose architectures may be accepted; every other module has none."""


class Architecture(NamedTuple):
    """An architecture with weights of one tag.

    Attributes:
        name: Name with the tag of the weights, as ``build_backbone`` takes it.
        parameters: Number of weights, without a classifier.
        image_size: Height and width that the weights were trained for.
        patch_size: Height and width of a patch.
        class_token: There is a class token.
        rotary: Positions rotate queries and keys.
        pretrained: timm knows where pre-trained weights are.
        license: License of these weights, where timm states it.
    """

    name: str
    parameters: int
    image_size: tuple[int, int]
    patch_size: tuple[int, int]
    class_token: bool
    rotary: bool
    pretrained: bool
    license: str | None


def candidates(pattern: str = "") -> dict[str, list[str]]:
    """Names that fit a pattern and may be accepted, by architecture.

    Args:
        pattern: A part of the name with its tag, or a glob of the whole name.

    >>> candidates("deit_tiny_patch16_224")
    {'deit_tiny_patch16_224': ['deit_tiny_patch16_224.fb_in1k']}
    """
    pattern = pattern if re.search(r"[*?\[]", pattern) else f"*{pattern}*"
    found = {}
    for architecture in sorted({name for m in MODULES for name in timm.list_models(module=m)}):
        names = list(get_arch_pretrained_cfgs(architecture)) or [architecture]
        if names := [name for name in names if fnmatch.fnmatchcase(name, pattern)]:
            found[architecture] = names
    return found


def accepted(
    names: dict[str, list[str]], advance: Callable[[int], None] = lambda count: None
) -> Iterator[Architecture]:
    """Give the accepted ones of `candidates`. No weights are drawn, loaded or downloaded.

    Args:
        names: Names by architecture.
        advance: Told of each architecture that is decided.
    """
    for architecture, tagged in names.items():
        vit: Any = build_without_weights(architecture)
        advance(1)
        try:
            check_supported(vit)
        except UnsupportedBackboneError:
            continue
        parameters = sum(parameter.numel() for parameter in vit.parameters())
        weights = get_arch_pretrained_cfgs(architecture)
        for name in tagged:
            config = weights.get(name)
            yield Architecture(
                name,
                parameters,
                config.input_size[1:] if config else vit.patch_embed.img_size,
                vit.patch_embed.patch_size,
                vit.cls_token is not None,
                getattr(vit, "rope", None) is not None,
                bool(config and config.has_weights),
                config.license if config else None,
            )


def build_without_weights(architecture: str) -> nn.Module:
    """Build an architecture of timm without memory, and without drawing random weights.

    Raises:
        RuntimeError: timm knows no such name or tag.

    >>> vit = build_without_weights("vit_tiny_patch16_224")
    >>> sum(parameter.numel() for parameter in vit.parameters())
    5524416
    """
    with torch.device("meta"), _NoInitialization():
        return timm.create_model(architecture, num_classes=0)


class _NoInitialization(TorchFunctionMode):
    """Leave out in-place functions: on the meta device they change nothing, and take the time."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name.endswith("_") and not name.endswith("__"):
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))
