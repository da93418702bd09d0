"""timm's ``Eva`` class as a backbone: rotary positions (DINOv3, EVA-02, Perception Encoder).

Tokens come from timm's own blocks. The head-mean attention is computed beside them, from queries
and keys after rotation; prefix tokens are not rotated.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.layers import apply_rot_embed_cat
from torch import Tensor

from didvit.method.backbone import BackboneOutput, ViTBackbone, mean_attention


class Embedded(NamedTuple):
    """Tokens before the first block, and the rotation of every block (None: it has none)."""

    tokens: Float[Tensor, "B T D"]
    rotations: list[Tensor | None]


class EvaBackbone(ViTBackbone):
    """A timm ``Eva`` that gives patch tokens as a map, and head-mean attention.

    Arguments and results are those of `ViTBackbone`.
    """

    vit: Any

    @property
    def has_class_token(self) -> bool:
        """False for architectures whose tokens are all patches and registers."""
        return self.vit.cls_token is not None

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D h w"]:
        """Patch tokens of images with pixels in [0, 1]."""
        return self._forward(images, with_attention=False).patch_tokens

    def forward_with_attention(self, images: Float[Tensor, "B 3 H W"]) -> BackboneOutput:
        """The same patch tokens, and the head-mean attention of every block."""
        return self._forward(images, with_attention=True)

    def _forward(self, images: Tensor, with_attention: bool) -> BackboneOutput:
        tokens, rotations = self._embed_rotated(images)
        levels, attentions = [], []
        for i, (block, rotation) in enumerate(zip(self.vit.blocks, rotations, strict=True)):
            if with_attention:
                attentions.append(attention_of(block, tokens, rotation))
            tokens = self._run(block, tokens, rotation)
            if i in self.levels:
                levels.append(tokens)
        return BackboneOutput(self._patch_map(levels, images), attentions)

    def _embed_rotated(self, images: Tensor) -> Embedded:
        self.check_images(images)
        vit = self.vit
        tokens, rotation = vit._pos_embed(vit.patch_embed((images - self.mean) / self.std))
        tokens = vit.norm_pre(tokens)
        if vit.rope_mixed:  # every block has learned angles of its own
            return Embedded(tokens, list(rotation))
        return Embedded(tokens, [rotation] * len(vit.blocks))


@torch.no_grad()
def attention_of(
    block: Any, tokens: Float[Tensor, "B T D"], rotation: Tensor | None
) -> Float[Tensor, "B T T"]:
    """Mean over heads of the softmax attention of timm's ``EvaBlock``."""
    attn, x = block.attn, block.norm1(tokens)
    if attn.qkv is None:
        query, key = attn.q_proj(x), attn.k_proj(x)
    else:
        query, key = F.linear(x, *_query_key_weights(attn)).chunk(2, -1)
    query, key = (part.unflatten(-1, (attn.num_heads, -1)).transpose(1, 2) for part in (query, key))
    query, key = attn.q_norm(query), attn.k_norm(key)  # each B M T d
    if rotation is not None:
        query, key = (_rotate(part, attn, rotation) for part in (query, key))
    return mean_attention(query, key)


def _query_key_weights(attn: Any) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of the queries and keys, without those of the values."""
    weight = attn.qkv.weight
    rows = 2 * len(weight) // 3
    bias = attn.qkv.bias if attn.qkv.bias is None else attn.qkv.bias[:rows]
    if getattr(attn, "q_bias", None) is not None:  # EvaAttention keeps its biases apart
        bias = torch.cat([attn.q_bias, attn.k_bias])
    return weight[:rows], bias


def _rotate(part: Float[Tensor, "B M T d"], attn: Any, rotation: Tensor) -> Tensor:
    prefix, patches = part.tensor_split([attn.num_prefix_tokens], dim=2)
    rotated = apply_rot_embed_cat(patches, rotation, half=attn.rotate_half)
    return torch.cat([prefix, rotated], 2).type_as(part)
