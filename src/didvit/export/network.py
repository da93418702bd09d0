"""The two forward passes of DiD as modules that can be traced.

They compute what the model computes. Attention is computed once, for the tokens and the maps alike,
where `DiD` computes it twice, to use PyTorch's fused kernel for the tokens.
"""

import copy
from typing import Any

import torch
from jaxtyping import Float
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from didvit.inference.engine import Size
from didvit.inference.engines.graphs import OUTPUTS
from didvit.method.backbone import ViTBackbone
from didvit.method.model import DiD
from didvit.method.rollout import attention_rollout
from didvit.modeling.eva import EvaBackbone


class GlobalNetwork(nn.Module):
    """The pass over whole images.

    Gives logits ``(B, C)``, features ``(B, D)`` and semantic maps ``(B, C, h, w)``; with boxes also
    instance maps ``(B, C, h, w)``, where they are not the semantic maps, and the spatial map
    ``(B, h, w)``.

    Args:
        model: The model. It is unchanged.
        input_size: Height and width of the images.
    """

    def __init__(self, model: DiD, input_size: Size):
        super().__init__()
        self.model = _of_fixed_size(model, input_size)
        self.outputs = OUTPUTS
        if model.config.top_n == 0:
            self.outputs = OUTPUTS[:3]
        elif model.config.reconstraint == "none":  # an output cannot have two names
            self.outputs = (*OUTPUTS[:3], OUTPUTS[4])

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Of images ``(B, 3, H, W)`` in [0, 1]."""
        model, backbone = self.model, self.model.backbone
        if model.config.top_n == 0:
            tokens = backbone(images)
            maps, logits = model.head(tokens)
            return logits, tokens.mean((-2, -1)), maps
        tokens, attentions = _with_attention(backbone, images)
        maps, logits = model.head(tokens)
        height, width = tokens.shape[-2:]
        prefix = backbone.num_prefix_tokens, backbone.has_class_token
        settings = model.normalize, model.config.rollout_order
        spatial_map = attention_rollout(attentions, (height, width), *prefix, *settings)
        values = logits, tokens.mean((-2, -1)), maps
        if "instance_maps" not in self.outputs:
            return *values, spatial_map
        return *values, model.reconstrain(spatial_map, maps), spatial_map


class ViewsNetwork(nn.Module):
    """The pass over views of one size: logits ``(n, C)``.

    Args:
        model: The model. It is unchanged.
        size: Height and width of the views. Position embeddings are resampled to it, once.
    """

    outputs = OUTPUTS[:1]

    def __init__(self, model: DiD, size: Size):
        super().__init__()
        self.model = _of_fixed_size(model, size)

    def forward(self, images: Tensor) -> Tensor:
        """Of views ``(n, 3, H, W)`` in [0, 1]."""
        tokens, _ = _with_attention(self.model.backbone, images)  # what is not used is left out
        return self.model.head(tokens).logits


def _of_fixed_size(model: DiD, size: Size) -> DiD:
    """A copy whose position embeddings fit one size, so that no graph resamples them."""
    model = copy.deepcopy(model).eval()
    vit: Any = model.backbone.vit
    vit.set_input_size(img_size=size)
    if isinstance(vit, VisionTransformer):
        vit.dynamic_img_size = False
        vit.patch_embed.flatten = True  # as timm builds it for one size
    return model


def _with_attention(backbone: ViTBackbone, images: Tensor) -> tuple[Tensor, list[Tensor]]:
    """`ViTBackbone.forward_with_attention`, with the attention of each block computed once."""
    if isinstance(backbone, EvaBackbone):
        return backbone.forward_with_attention(images)
    tokens, levels, attentions = backbone._embed(images), [], []
    blocks: Any = backbone.vit.blocks
    for i, block in enumerate(blocks):
        attended, attention = _attend(block.attn, block.norm1(tokens))
        tokens = tokens + block.ls1(attended)
        tokens = tokens + block.ls2(block.mlp(block.norm2(tokens)))
        attentions.append(attention)
        if i in backbone.levels:
            levels.append(tokens)
    return backbone._patch_map(levels, images), attentions


def _attend(attn: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """timm's ``Attention.forward``, and the mean over heads of its attention."""
    qkv = attn.qkv(x).unflatten(-1, (3, attn.num_heads, attn.head_dim))
    query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each B M T d
    query, key = attn.q_norm(query), attn.k_norm(key)
    attention = ((query * attn.head_dim**-0.5) @ key.mT).softmax(-1)
    out = attn.norm((attention @ value).transpose(1, 2).flatten(2))  # B T D
    if attn.gate is not None:
        out = out * attn.gate(x).sigmoid()
    return attn.proj(out), _head_mean(attention)


def _head_mean(attention: Float[Tensor, "B M T T"]) -> Float[Tensor, "B T T"]:
    """Mean over heads, as a product: ONNX Runtime takes a mean over this axis ten times as long."""
    heads = attention.shape[1]
    row = torch.full((1, heads), 1 / heads)
    return (row @ attention.flatten(2)).squeeze(1).unflatten(1, attention.shape[2:])
