"""Label queries that read several blocks of the backbone, one block in each decoder layer.

Query2Label (Liu et al., 2021) reads the last block in every layer. TSFormer (Zhu et al., ACM MM
2022) lets its label stream attend to the patch tokens of every block of a ViT. This head is between
the two: layer i of Query2Label's decoder attends to level i of the backbone, the last layer to the
last block.
"""

from jaxtyping import Float
from torch import Tensor

from didvit.heads.query2label import Query2LabelHead, sine_positions
from didvit.method.semantic import HeadOutput


class MultiLevelQueriesHead(Query2LabelHead):
    """Query2Label's decoder with one layer for each level.

    Args:
        embed_dim: Width D of the patch tokens of one level.
        num_categories: Number C of categories, and so of queries.
        num_heads: Attention heads of a layer; they divide ``embed_dim``.
        dropout: Share of values that training sets to 0.
    """

    num_levels = 3

    def __init__(
        self, embed_dim: int, num_categories: int, num_heads: int = 4, dropout: float = 0.1
    ):
        super().__init__(
            embed_dim, num_categories, self.num_levels, num_heads=num_heads, dropout=dropout
        )

    def forward(self, patch_tokens: Float[Tensor, "B SD h w"]) -> HeadOutput:
        """The last layer's cross-attention, and ``W_c^T Q_c + b_c`` of its queries."""
        height, width = patch_tokens.shape[-2:]
        levels = patch_tokens.unflatten(1, (self.num_levels, -1)).flatten(3).mT  # B S N D
        positions = sine_positions(height, width, levels.shape[-1]).to(levels)
        # Not len(): a traced graph would have the number of images in it.
        queries, attention = self.label_queries.expand(levels.shape[0], -1, -1), None  # B C D
        for layer, features in zip(self.layers, levels.unbind(1), strict=True):
            queries, attention = layer(queries, features + positions, features)
        assert attention is not None
        return HeadOutput(attention.unflatten(-1, (height, width)), self.classifiers(queries))
