"""Suitability of timm's architectures as the backbone."""

from timm.layers import Attention, AttentionRope, PatchEmbed
from timm.models.eva import Eva, EvaAttention, EvaBlock
from timm.models.vision_transformer import Block, VisionTransformer
from torch import nn


class UnsupportedBackboneError(ValueError):
    """The architecture is not a plain Vision Transformer; the message says why."""


def check_supported(vit: nn.Module) -> None:
    """Refuse architectures other than plain pre-norm Vision Transformers.

    Raises:
        UnsupportedBackboneError: Names the part that does not fit, and architectures that do.
    """
    reason = _unsupported_reason(vit)
    if reason:
        raise UnsupportedBackboneError(
            f"{type(vit).__name__} cannot be the backbone: {reason}. DiD needs a plain Vision "
            "Transformer (timm's VisionTransformer or Eva with standard pre-norm blocks), for "
            "example vit_base_patch16_224.augreg_in21k, deit_small_patch16_224, "
            "vit_small_patch14_dinov2, vit_small_patch16_dinov3, vit_base_patch16_clip_224, "
            "eva02_tiny_patch14_224; 'didvit models' lists all"
        )


def _unsupported_reason(vit: nn.Module) -> str | None:
    if not isinstance(vit, VisionTransformer | Eva):
        return "it is not a timm VisionTransformer or Eva, so it has no T x T attention to roll out"
    if type(vit.patch_embed) is not PatchEmbed:
        return f"its patches come from {type(vit.patch_embed).__name__}, not from one convolution"
    if not isinstance(vit.patch_drop, nn.Identity | None):
        return "it drops patches in training (patch_drop_rate), and the maps need all of them"
    for block in vit.blocks:
        if type(block) not in (Block, EvaBlock):
            return f"its blocks are {type(block).__name__}, not pre-norm attention then MLP"
        attention: nn.Module = block.attn  # pyright: ignore[reportAssignmentType]
        if type(attention) not in (Attention, EvaAttention, AttentionRope):
            return f"its attention is {type(attention).__name__}, not softmax(QKᵀ)"
        if getattr(attention, "num_kv_groups", 1) > 1:
            return (
                f"its attention is grouped-query ({attention.num_kv_groups} heads share their keys "
                "and values), not one of independent heads"
            )
    return None
