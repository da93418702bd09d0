"""Query2Label: label embeddings query the image through transformer decoders.

Source: Liu, Zhang, Yang, Su & Zhu, "Query2Label: A Simple Transformer Way to Multi-Label
Classification", arXiv 2107.10834, 2021.

Differs: the features are a Vision Transformer's patch tokens, which have attended to one another,
so that the paper's one encoder layer before the decoders is left out; widths are D and 4 D, as 2048
and 8192 are there. Queries, the label embeddings, have no order and get no position encoding; they
attend to one another as the paper has it, which the authors' code leaves out unless told. The
weights of the cross-attention, being the maps, are not dropped out; all other dropout is the
paper's. Decoding begins with the queries themselves, as the paper's Q_0 does, where the authors'
code begins with zeros and adds the queries at every attention. Backbone and head share the recipe,
the loss and the resolution of all compared heads.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from didvit.heads.classifiers import CategoryClassifiers
from didvit.method.semantic import HeadOutput


class Query2LabelHead(nn.Module):
    """Transformer decoders whose queries are learnable label embeddings, and a classifier each.

    Args:
        embed_dim: Width D of the patch tokens and the queries; a multiple of 4.
        num_categories: Number C of categories, and so of queries.
        num_layers: Number of decoder layers.
        num_heads: Attention heads of a layer; they divide ``embed_dim``.
        feedforward_dim: Hidden width of a layer's feed-forward network; None is 4 D.
        dropout: Probability that a value is left out in training.

    Raises:
        ValueError: ``embed_dim`` cannot be divided as needed, or there is no layer.
    """

    num_levels = 1
    needs_label_statistics = False

    def __init__(
        self,
        embed_dim: int,
        num_categories: int,
        num_layers: int = 2,
        num_heads: int = 4,
        feedforward_dim: int | None = None,
        dropout: float = 0.1,
    ):
        super().__init__()
        if embed_dim % 4 or embed_dim % num_heads:
            raise ValueError(
                f"embed_dim is {embed_dim}; expected a multiple of 4 and of num_heads, {num_heads}"
            )
        if num_layers < 1:
            raise ValueError(f"num_layers is {num_layers}; expected 1 or more")
        hidden = 4 * embed_dim if feedforward_dim is None else feedforward_dim
        self.label_queries = nn.Parameter(torch.randn(num_categories, embed_dim))
        self.layers = nn.ModuleList(
            DecoderLayer(embed_dim, num_heads, hidden, dropout) for _ in range(num_layers)
        )
        self.classifiers = CategoryClassifiers(embed_dim, num_categories)

    def forward(self, patch_tokens: Float[Tensor, "B D h w"]) -> HeadOutput:
        """Compute the last layer's cross-attention as maps, and logits ``W_c^T Q_c + b_c``."""
        height, width = patch_tokens.shape[-2:]
        features = patch_tokens.flatten(2).mT  # B N D
        keys = features + sine_positions(height, width, features.shape[-1]).to(features)
        # Not len(): a traced graph would have the number of images in it.
        queries = self.label_queries.expand(features.shape[0], -1, -1)  # B C D
        *earlier, last = self.layers
        for layer in earlier:
            queries, _ = layer(queries, keys, features)
        queries, attention = last(queries, keys, features)
        return HeadOutput(attention.unflatten(-1, (height, width)), self.classifiers(queries))


class DecoderLayer(nn.Module):
    """Self-attention among queries, cross-attention to the image, feed-forward; each post-norm.

    Args:
        width: Width of queries and features.
        num_heads: Number of heads of both attentions.
        hidden: Width within the feed-forward network.
        dropout: Dropout of sublayer outputs, self-attention weights and hidden values.
    """

    def __init__(self, width: int, num_heads: int, hidden: int, dropout: float):
        super().__init__()
        self.self_attention = nn.MultiheadAttention(width, num_heads, dropout, batch_first=True)
        self.cross_attention = nn.MultiheadAttention(width, num_heads, batch_first=True)
        self.feedforward = nn.Sequential(
            nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, width)
        )
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        queries: Float[Tensor, "B C D"],
        keys: Float[Tensor, "B N D"],
        features: Float[Tensor, "B N D"],
    ) -> tuple[Float[Tensor, "B C D"], Float[Tensor, "B C N"]]:
        """Update the queries; return them and their head-mean cross-attention.

        ``Q' = MultiHead(Q, Q, Q)``, ``Q'' = MultiHead(Q', F̃, F)`` with the features F, and F̃ with
        position encodings, and ``FFN(Q'')``.
        """
        related, _ = self.self_attention(queries, queries, queries, need_weights=False)
        queries = self.norm1(queries + self.dropout(related))
        pooled, attention = self.cross_attention(queries, keys, features)
        queries = self.norm2(queries + self.dropout(pooled))
        queries = self.norm3(queries + self.dropout(self.feedforward(queries)))
        return queries, attention


def sine_positions(height: int, width: int, embed_dim: int) -> Float[Tensor, "N D"]:
    """Compute 2-D sine position encodings of a grid, row by row (Carion et al., ECCV 2020).

    Half of the channels encode the row and half the column. Channels 2i and 2i + 1 of a half are
    sine and cosine of ``p / 10000^(2i / (D/2))``, p running up to 2π over the grid, whatever its
    size.
    """
    frequencies = 10_000 ** -torch.linspace(0, 1, embed_dim // 4 + 1)[:-1]  # D/4
    rows, columns = (2 * math.pi / n * torch.arange(1, n + 1) for n in (height, width))
    points = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1)  # h w 2
    angles = points[..., None] * frequencies  # h w 2 D/4
    return torch.stack([angles.sin(), angles.cos()], dim=-1).reshape(height * width, embed_dim)
