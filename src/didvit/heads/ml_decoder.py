"""ML-Decoder: a few fixed queries attend to the image, and each decodes a group of categories.

Source: Ridnik, Sharir, Ben-Cohen, Ben-Baruch & Noy, "ML-Decoder: Scalable and Versatile
Classification Head", WACV 2023.

Differs: the features are a Vision Transformer's patch tokens in place of a CNN's last map, mapped
to ``width`` by a linear layer and a ReLU as in the authors' code; its 768 is not tied to their
CNN's width and stays. The weights of the cross-attention, being the maps, are not dropped out, and
the queries, which never change, enter it without the dropout and norm that the authors' code puts
before it; what follows has their dropout. Backbone and head share the recipe, the loss and the
resolution of all compared heads.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from didvit.method.semantic import HeadOutput

MAX_GROUPS = 100
"""The paper's number of groups, where there are as many categories."""


class MLDecoderHead(nn.Module):
    """Cross-attention, feed-forward, group fully-connected; no self-attention.

    Args:
        embed_dim: Width D of the patch tokens.
        num_categories: Number C of categories.
        num_groups: Number K of group queries, in [1, C]; None is C, and at most `MAX_GROUPS`. A
            group has g = ceil(C / K) categories, so that ceil(C / g) groups are made.
        width: Width E of the queries, a multiple of ``num_heads``.
        num_heads: Heads of the cross-attention.
        feedforward_dim: Hidden width of the feed-forward network.
        dropout: Probability that a value is left out in training.

    Raises:
        ValueError: ``num_groups`` is out of its range, or ``num_heads`` does not divide ``width``.
    """

    num_levels = 1
    needs_label_statistics = False

    group_queries: Tensor

    def __init__(
        self,
        embed_dim: int,
        num_categories: int,
        num_groups: int | None = None,
        width: int = 768,
        num_heads: int = 8,
        feedforward_dim: int = 2048,
        dropout: float = 0.1,
    ):
        super().__init__()
        num_groups = min(MAX_GROUPS, num_categories) if num_groups is None else num_groups
        if not 1 <= num_groups <= num_categories:
            raise ValueError(
                f"num_groups is {num_groups}; expected 1 to {num_categories}, the categories"
            )
        if width % num_heads:
            raise ValueError(f"width is {width}; expected a multiple of num_heads, {num_heads}")
        group_size = math.ceil(num_categories / num_groups)
        num_groups = math.ceil(num_categories / group_size)
        self.register_buffer("group_queries", torch.randn(num_groups, width))
        self.embedding = nn.Sequential(nn.Linear(embed_dim, width), nn.ReLU())
        self.cross_attention = nn.MultiheadAttention(width, num_heads, batch_first=True)
        self.feedforward = nn.Sequential(
            nn.Linear(width, feedforward_dim),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(feedforward_dim, width),
        )
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.group_classifiers = GroupLinear(width, num_categories, group_size)

    def forward(self, patch_tokens: Float[Tensor, "B D h w"]) -> HeadOutput:
        """Compute ``G' = MultiHead(G, E, E)``, ``G'' = FF(G')``, and logits by group.

        A category's map is the head-mean cross-attention of its group, the same for the group.
        """
        features = self.embedding(patch_tokens.flatten(2).mT)  # B N E
        # Not len(): a traced graph would have the number of images in it.
        queries = self.group_queries.expand(features.shape[0], -1, -1)  # B K E
        pooled, attention = self.cross_attention(queries, features, features)
        queries = self.norm1(queries + self.dropout(pooled))
        queries = self.norm2(queries + self.dropout(self.feedforward(queries)))
        maps = self.group_classifiers.of_categories(attention)  # B C N
        return HeadOutput(
            maps.unflatten(-1, patch_tokens.shape[-2:]), self.group_classifiers(queries)
        )


class GroupLinear(nn.Module):
    """Group fully-connected layer ``L_c = (W_k Q_k)_j + b_c``, ``k = c div g``, ``j = c mod g``.

    Args:
        width: Width E of a query.
        num_categories: Number C of outputs.
        group_size: Number g of categories in a group; the last group may have fewer.
    """

    def __init__(self, width: int, num_categories: int, group_size: int):
        super().__init__()
        bound = width**-0.5  # as in a linear layer
        self.group_size = group_size
        num_groups = math.ceil(num_categories / group_size)
        self.weight = nn.Parameter(torch.empty(num_groups, group_size, width))
        self.bias = nn.Parameter(torch.empty(num_categories))
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, queries: Float[Tensor, "B K E"]) -> Float[Tensor, "B C"]:
        """Compute every category's logit from the query of its group."""
        logits = torch.einsum("bke,kge->bkg", queries, self.weight).flatten(1)  # B K*g
        return logits[:, : len(self.bias)] + self.bias

    def of_categories(self, of_groups: Float[Tensor, "B K N"]) -> Float[Tensor, "B C N"]:
        """Repeat a group's values for every category of the group."""
        return of_groups.repeat_interleave(self.group_size, dim=1)[:, : len(self.bias)]
