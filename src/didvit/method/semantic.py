"""Section 2.2.1: the semantic category-aware module (eq. 3)."""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn


class HeadOutput(NamedTuple):
    """Result of a head: maps, larger where the category is, and one logit for each category."""

    semantic_maps: Float[Tensor, "B C h w"]
    logits: Float[Tensor, "B C"]


class SemanticHead(nn.Module):
    """A 1x1 convolution with bias makes the maps A; their means over the grid are the logits.

    The same head serves the global view and all other views. On one view alone, it is the baseline
    of the paper's tables.

    Args:
        embed_dim: Width D of the patch tokens.
        num_categories: Number C of maps.
    """

    num_levels = 1  # of the backbone, whose tokens the head reads
    needs_label_statistics = False

    def __init__(self, embed_dim: int, num_categories: int):
        super().__init__()
        self.projection = nn.Conv2d(embed_dim, num_categories, kernel_size=1)

    def forward(self, patch_tokens: Float[Tensor, "B D h w"]) -> HeadOutput:
        """``A_c = Σ_d x'_d * k_{c,d}`` and its mean over the grid."""
        semantic_maps = self.projection(patch_tokens)
        return HeadOutput(semantic_maps, semantic_maps.mean((-2, -1)))
