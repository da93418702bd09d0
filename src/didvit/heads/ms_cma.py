"""MS-CMA: every category attends to the image, by its label's embedding in the label graph.

Source: You, Guo, Cui, Long, Bao, Wen, "Cross-Modality Attention with Semantic Graph Embedding for
Multi-Label Classification", AAAI 2020.

Differs: a transformer has one resolution, so that the scales are the patch tokens of several
blocks, all through the final LayerNorm, and a category's vectors of all scales are concatenated
before its classifier; the label embeddings are fitted when the head is built, from word vectors of
unit length, by Adam; the maps into the label space have layer in place of batch normalization, so
that an image's logits do not depend on its batch, and end in a linear layer, so that cosines can be
negative; backbone and head share the recipe, the loss and the resolution of all compared heads.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from didvit.heads.classifiers import CategoryClassifiers
from didvit.heads.labels import LabelStatistics, conditional_probabilities
from didvit.method.semantic import HeadOutput

WEAK_RELATION = 0.3
"""Labels whose adjacency and cosine are both below it are not fitted further. Our own value."""

FIT_STEPS = 300
"""Steps of Adam that fit the label embeddings."""

FIT_LEARNING_RATE = 1e-3
"""Learning rate of these steps."""


class MSCMAHead(nn.Module):
    """Cross-modality attention at several scales, and a classifier for every category.

    Args:
        embed_dim: Width D of the patch tokens of one scale.
        statistics: Co-occurrence and word vectors of the C labels; zeros for a head whose state
            is loaded next.
        num_scales: Number S of blocks whose patch tokens are read, concatenated over channels.
        width: Width E of the label space, into which labels and tokens are mapped.
    """

    num_levels = 3
    needs_label_statistics = True

    co_occurrence: Tensor
    label_embeddings: Tensor
    graph_embeddings: Tensor

    def __init__(
        self,
        embed_dim: int,
        statistics: LabelStatistics,
        num_scales: int = num_levels,
        width: int = 256,
    ):
        super().__init__()
        self.register_buffer("co_occurrence", statistics.co_occurrence.clone())
        self.register_buffer("label_embeddings", statistics.embeddings.clone())
        self.register_buffer("graph_embeddings", embed_label_graph(statistics, width))
        self.scales = nn.ModuleList(
            CrossModalityAttention(embed_dim, width) for _ in range(num_scales)
        )
        self.classifiers = CategoryClassifiers(
            num_scales * embed_dim, len(statistics.co_occurrence)
        )

    def forward(self, patch_tokens: Float[Tensor, "B SD h w"]) -> HeadOutput:
        """Compute the last scale's cosines as maps, and ``w_c · h_c + b_c``, h_c of all scales."""
        tokens = patch_tokens.unflatten(1, (len(self.scales), -1)).unbind(1)  # S of B D h w
        attended = [
            scale(of_scale, self.graph_embeddings)
            for scale, of_scale in zip(self.scales, tokens, strict=True)
        ]
        vectors = torch.cat([scale.vectors for scale in attended], dim=-1)  # B C S*D
        return HeadOutput(attended[-1].cosines, self.classifiers(vectors))


class AttendedFeatures(NamedTuple):
    """Result of the cross-modality attention at one scale.

    Attributes:
        cosines: Cosine of every location's projected feature and every label's embedding.
        vectors: Mean of the features for every category, weighted by its attention.
    """

    cosines: Float[Tensor, "B C h w"]
    vectors: Float[Tensor, "B C D"]


class CrossModalityAttention(nn.Module):
    """Attention of the labels to the locations, by similarity in the label space.

    Args:
        embed_dim: Width D of the patch tokens.
        width: Width E of the label space.
    """

    def __init__(self, embed_dim: int, width: int):
        super().__init__()
        self.projection = nn.Sequential(  # of a location at a time, as 1x1 convolutions are
            *_hidden_layer(embed_dim, width), nn.Linear(width, width)
        )

    def forward(
        self, patch_tokens: Float[Tensor, "B D h w"], label_embeddings: Float[Tensor, "C E"]
    ) -> AttendedFeatures:
        """Weigh the locations i by ``z_k = ReLU(cos(v_i, e_k))``, divided by its sum over them.

        The vector of a category without a positive cosine is 0.
        """
        features = patch_tokens.flatten(2).mT  # B N D
        projected = F.normalize(self.projection(features), dim=-1)
        cosines = F.normalize(label_embeddings, dim=-1) @ projected.mT  # B C N
        # float16 has no number as small as the usual eps.
        attention = F.normalize(cosines.relu(), p=1, dim=-1, eps=1e-6)
        return AttendedFeatures(
            cosines.unflatten(-1, patch_tokens.shape[-2:]), attention @ features
        )


def label_adjacency(co_occurrence: Float[Tensor, "C C"]) -> Float[Tensor, "C C"]:
    """Compute ``A = (P + Pᵀ) / 2`` from the `conditional_probabilities` P."""
    conditional = conditional_probabilities(co_occurrence)
    return (conditional + conditional.mT) / 2


def graph_embedding_loss(
    embeddings: Float[Tensor, "C E"], adjacency: Float[Tensor, "C C"]
) -> Float[Tensor, ""]:
    """Compute ``Σ_ij σ_ij (cos(e_i, e_j) - A_ij)²``, the relaxed adjacency-based similarity.

    σ_ij is 0 where cosine and adjacency are both below `WEAK_RELATION`, and 1 elsewhere. Weakly
    related labels thus need not have their exact similarity.
    """
    directions = F.normalize(embeddings, dim=-1)
    cosines = directions @ directions.mT
    relaxed = (cosines < WEAK_RELATION) & (adjacency < WEAK_RELATION)
    return torch.where(relaxed, 0.0, (cosines - adjacency).square()).sum()


def embed_label_graph(statistics: LabelStatistics, width: int) -> Float[Tensor, "C {width}"]:
    """Fit label embeddings whose cosines are the adjacency of the label graph.

    This is the adjacency-based similarity graph embedding. A network of three fully-connected
    layers maps the labels' word vectors into the label space. Equal statistics give equal
    embeddings, and the random state is left as it was. Statistics of no image give zeros.
    """
    if not statistics.co_occurrence.any():
        return torch.zeros(len(statistics.co_occurrence), width)
    adjacency = label_adjacency(statistics.co_occurrence)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.default_generator.manual_seed(0)
        network = nn.Sequential(
            *_hidden_layer(statistics.embeddings.shape[1], width),
            *_hidden_layer(width, width),
            nn.Linear(width, width),
        )
        optimizer = torch.optim.Adam(network.parameters(), lr=FIT_LEARNING_RATE)
        for _ in range(FIT_STEPS):
            optimizer.zero_grad()
            graph_embedding_loss(network(statistics.embeddings), adjacency).backward()
            optimizer.step()
    return network(statistics.embeddings).detach()


def _hidden_layer(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs), nn.LayerNorm(outputs), nn.ReLU()]
