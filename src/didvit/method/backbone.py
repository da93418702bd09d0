"""Section 2.1: a plain Vision Transformer, and the attention of its blocks.

The paper prints post-norm blocks (eqs. 1-2); its weights and its authors' code are pre-norm, and so
is this file: ``y = x + MSA(LN(x))``, ``x = y + FFN(LN(y))``.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.layers.attention import Attention
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

QUERY_ROWS = 64
"""Rows of attention held at once for all heads; more leave the processor's cache."""

MOST_WEIGHTS = 2**20
"""Attention weights held at once where they act on values too."""


class BackboneOutput(NamedTuple):
    """Patch tokens, and the attention of every block, first to last, without gradient.

    Tokens are those after the final LayerNorm; several levels follow one another along D. Attention
    is the mean over heads of softmax(QKᵀ/√d): row i says how much token i attends to each token.
    """

    patch_tokens: Float[Tensor, "B D h w"]
    attentions: list[Float[Tensor, "B T T"]]


class ViTBackbone(nn.Module):
    """A timm ``VisionTransformer`` that gives patch tokens as a map, and head-mean attention.

    Args:
        vit: A timm transformer of plain pre-norm blocks, with any number of prefix tokens.
        mean, std: Statistics, by channel, of the pixels that the weights were trained on.
        num_levels: Number of blocks whose tokens are given, evenly spaced up to the last one.
            1, as in the paper, is the last block alone.
    """

    vit: VisionTransformer
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        vit: Any,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.5, 0.5, 0.5),
        num_levels: int = 1,
    ):
        super().__init__()
        depth = len(vit.blocks)
        if not 1 <= num_levels <= depth:
            raise ValueError(f"num_levels is {num_levels}; expected 1 to {depth}, the blocks")
        self.vit = vit
        self.levels = [depth * i // num_levels - 1 for i in range(1, num_levels + 1)]
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))
        self.recompute_activations = False
        """In training, compute each block again in the backward pass, to keep less in memory."""

    @property
    def patch_size(self) -> tuple[int, int]:
        """Height and width of a patch, in pixels."""
        return self.vit.patch_embed.patch_size

    @property
    def embed_dim(self) -> int:
        """Width D of a token."""
        return self.vit.embed_dim

    @property
    def num_prefix_tokens(self) -> int:
        """Number of tokens before the first patch: class (and distillation) token, registers."""
        return self.vit.num_prefix_tokens

    @property
    def has_class_token(self) -> bool:
        """False for backbones such as SigLIP, whose tokens are all patches."""
        return self.vit.has_class_token

    def grid_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the patch grid of an image of ``image_size`` (height, width) pixels.

        Raises ValueError where these are no whole patches, or no size that the backbone takes.
        """
        (height, width), (patch_height, patch_width) = image_size, self.patch_size
        if height % patch_height or width % patch_width or not height or not width:
            raise ValueError(
                f"the input is {height}x{width} pixels, and the backbone's patches are "
                f"{patch_height}x{patch_width}: both sides must be whole multiples of the patch"
            )
        if not self.vit.dynamic_img_size and tuple(image_size) != self.vit.patch_embed.img_size:
            raise ValueError(
                f"the input is {height}x{width} pixels, and this transformer takes only "
                f"{self.vit.patch_embed.img_size}: build it with dynamic_img_size=True"
            )
        return height // patch_height, width // patch_width

    def scaled_size(self, image_size: tuple[int, int], scale: float) -> tuple[int, int]:
        """Sides times ``scale``, in pixels, rounded to whole patches, at least one."""
        height, width = (
            max(round(scale * side / patch), 1) * patch
            for side, patch in zip(image_size, self.patch_size, strict=True)
        )
        return height, width

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D h w"]:
        """Patch tokens of images with pixels in [0, 1]; every block runs timm's own code."""
        tokens, levels = self._embed(images), []
        for i, block in enumerate(self.vit.blocks):
            tokens = self._run(block, tokens)
            if i in self.levels:
                levels.append(tokens)
        return self._patch_map(levels, images)

    def forward_with_attention(self, images: Float[Tensor, "B 3 H W"]) -> BackboneOutput:
        """The same patch tokens, and the head-mean attention of every block."""
        tokens, levels, attentions = self._embed(images), [], []
        for i, block in enumerate(cast("list[Block]", self.vit.blocks)):
            tokens, attention = self._run(block_with_attention, block, tokens)
            if i in self.levels:
                levels.append(tokens)
            attentions.append(attention)
        return BackboneOutput(self._patch_map(levels, images), attentions)

    def _run(self, step: Callable, *inputs: Any) -> Any:
        if self.recompute_activations and self.training:
            return checkpoint(step, *inputs, use_reentrant=False)
        return step(*inputs)

    def check_images(self, images: Tensor) -> None:
        """Refuse images of a wrong shape or type."""
        if images.ndim != 4 or not images.shape[0] or images.shape[1] != 3:
            raise ValueError(f"images have the shape {tuple(images.shape)}; expected (B, 3, H, W)")
        if not images.is_floating_point():
            raise ValueError(f"images are {images.dtype}; expected floats in [0, 1]")
        self.grid_size(size_of(images))

    def _embed(self, images: Tensor) -> Tensor:
        self.check_images(images)
        tokens = self.vit.patch_embed((images - self.mean) / self.std)
        return self.vit.norm_pre(self.vit.patch_drop(self.vit._pos_embed(tokens)))

    def _patch_map(self, levels: list[Tensor], images: Tensor) -> Tensor:
        # Where timm pools before it normalizes, its final LayerNorm is called fc_norm; the other
        # of the two is then the identity.
        levels = [self.vit.fc_norm(self.vit.norm(tokens)) for tokens in levels]
        tokens = torch.cat(levels, -1)[:, self.num_prefix_tokens :]
        return tokens.mT.unflatten(-1, self.grid_size(size_of(images)))  # B D h w


def size_of(images: Tensor) -> tuple[int, int]:
    """Height and width of an image, of every image of a batch, or of maps."""
    height, width = images.shape[-2:]
    return height, width


def block_with_attention(
    block: Block, tokens: Float[Tensor, "B T D"]
) -> tuple[Float[Tensor, "B T D"], Float[Tensor, "B T T"]]:
    """timm's ``Block.forward`` (eqs. 1-2, pre-norm), and the block's head-mean attention."""
    attended, attention = _attend(cast(Attention, block.attn), block.norm1(tokens))
    tokens = tokens + block.drop_path1(block.ls1(attended))
    tokens = tokens + block.drop_path2(block.ls2(block.mlp(block.norm2(tokens))))
    return tokens, attention


def _attend(attn: Attention, x: Float[Tensor, "B T D"]) -> tuple[Tensor, Tensor]:
    """timm's ``Attention.forward``, and the mean attention, which no fused kernel gives.

    Where nothing is learned, attention is computed once for both. A backward pass would need all of
    it; there the fused kernel, which keeps none, and a second computation take less memory.
    """
    qkv = attn.qkv(x).unflatten(-1, (3, attn.num_heads, attn.head_dim))
    query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each B M T d
    query, key = attn.q_norm(query), attn.k_norm(key)
    if attn.training or torch.is_grad_enabled():
        dropout = attn.attn_drop.p if attn.training else 0.0
        out = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        mean = mean_attention(query, key)
    else:
        out, mean = attend(query, key, value)
    out = attn.norm(out.transpose(1, 2).flatten(2))  # B T D
    if attn.gate is not None:
        out = out * attn.gate(x).sigmoid()
    return attn.proj_drop(attn.proj(out)), mean


@torch.no_grad()
def attend(
    query: Float[Tensor, "B M T d"], key: Float[Tensor, "B M T d"], value: Float[Tensor, "B M T d"]
) -> tuple[Float[Tensor, "B M T d"], Float[Tensor, "B T T"]]:
    """``softmax(QKᵀ/√d)·V`` of every head, and `mean_attention`, from one computation."""
    batch, heads, tokens = query.shape[:3]
    rows = max(MOST_WEIGHTS // (batch * heads * tokens), QUERY_ROWS)
    values, outs, means = value.flatten(0, 1), [], []
    for attention in _attention(query, key, rows):
        outs.append(torch.bmm(attention.to(value.dtype), values))
        means.append(attention.unflatten(0, (batch, heads)).mean(1))
    return torch.cat(outs, 1).unflatten(0, (batch, heads)), torch.cat(means, 1)


@torch.no_grad()
def mean_attention(
    query: Float[Tensor, "B M T d"], key: Float[Tensor, "B M T d"]
) -> Float[Tensor, "B T T"]:
    """Mean over heads of ``softmax(QKᵀ/√d)`` (eq. 4), computed in blocks of query rows.

    At least float32: in half precision, rows would not sum to 1.
    """
    heads = query.shape[:2]
    blocks = _attention(query, key, QUERY_ROWS)
    return torch.cat([attention.unflatten(0, heads).mean(1) for attention in blocks], 1)


def _attention(query: Tensor, key: Tensor, rows: int) -> Iterator[Tensor]:
    """``softmax(QKᵀ/√d)``, at least in float32, as (B·M) x rows x T, some rows at a time."""
    dtype = torch.promote_types(query.dtype, torch.float32)
    query = (query * query.shape[-1] ** -0.5).flatten(0, 1)
    keys = key.flatten(0, 1).mT
    for part in query.split(rows, dim=1):
        yield torch.bmm(part, keys).softmax(-1, dtype=dtype)
