"""ADD-GCN: a graph over the categories that is computed from each image.

Source: Ye, He, Peng, Wu, Qiao, "Attention-Driven Dynamic Graph Convolutional Network for
Multi-Label Image Recognition", ECCV 2020.

Differs: features are the patch tokens of a transformer, D wide, where the paper's are a
ResNet-101's, 2048 wide, and its width of 1024 is D / 2 here; nothing is batch normalized, so that
an image's logits do not depend on its batch; the graphs are the paper's equations, where the
authors' code has more biases and a LeakyReLU after each of its layers; backbone and head share the
recipe, the loss and the resolution of all compared heads; representations are means over the
patches where the paper has sums (of 14x14 places): patch tokens are layer normalized, and with sums
of them a new head's logits began near a hundred, and differed by the size of an input or a view.
As in the authors' code, the maps are pooled by their maximum, what a graph gives is added to V, and
a LeakyReLU of slope 0.2 follows the global context's layer.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from didvit.heads.classifiers import CategoryClassifiers
from didvit.method.semantic import HeadOutput

NEGATIVE_SLOPE = 0.2
"""Slope of every LeakyReLU below 0."""


class ADDGCNHead(nn.Module):
    """Content-aware category representations, related by a static and by a dynamic graph.

    Args:
        embed_dim: Width D of the patch tokens.
        num_categories: Number C of categories, the nodes of both graphs.
        width: Width E of a category's representation; None is half of ``embed_dim``.
    """

    num_levels = 1
    needs_label_statistics = False

    def __init__(self, embed_dim: int, num_categories: int, width: int | None = None):
        super().__init__()
        width = embed_dim // 2 if width is None else width
        self.activation = nn.Conv2d(embed_dim, num_categories, kernel_size=1, bias=False)
        self.transform = nn.Conv2d(embed_dim, width, kernel_size=1)
        self.static_graph = StaticGraph(width, num_categories)
        self.dynamic_graph = DynamicGraph(width, num_categories)
        self.classifiers = CategoryClassifiers(width, num_categories)

    def forward(self, patch_tokens: Float[Tensor, "B D h w"]) -> HeadOutput:
        """Compute maps, before their sigmoid, and logits ``s = (s_m + s_r) / 2``.

        The logits are the mean of two scores: the map's maximum, and that of the related vector.
        """
        semantic_maps = self.activation(patch_tokens)
        represented = category_representations(semantic_maps, self.transform(patch_tokens))
        related = self.static_graph(represented)
        related = represented + self.dynamic_graph(related)
        map_scores = semantic_maps.amax((-2, -1))
        return HeadOutput(semantic_maps, (map_scores + self.classifiers(related)) / 2)


def category_representations(
    activations: Float[Tensor, "B C h w"], features: Float[Tensor, "B E h w"]
) -> Float[Tensor, "B C E"]:
    """Compute ``v_c = Σ_ij m_c,ij · x'_ij / (h w)``; the maps M are the activations' sigmoid.

    This is the semantic attention module. It aggregates the features X' into one representation
    per category.
    """
    summed = activations.sigmoid().flatten(2) @ features.flatten(2).mT  # B C N, B N E
    return summed / activations.shape[-2:].numel()


class StaticGraph(nn.Module):
    """The static graph ``H = V + LeakyReLU(A_s V W_s)``; all images share the learned A_s.

    Args:
        width: Width E of a category's representation.
        num_categories: Number C of nodes.
    """

    def __init__(self, width: int, num_categories: int):
        super().__init__()
        self.adjacency = nn.Parameter(torch.empty(num_categories, num_categories))
        self.update = nn.Linear(width, width, bias=False)
        nn.init.xavier_uniform_(self.adjacency)

    def forward(self, represented: Float[Tensor, "B C E"]) -> Float[Tensor, "B C E"]:
        """Add to each representation what it receives from all categories."""
        received = self.adjacency @ self.update(represented)
        return represented + F.leaky_relu(received, NEGATIVE_SLOPE)


class DynamicGraph(nn.Module):
    """The dynamic graph ``Z = LeakyReLU(A_D H W_D)``; each image has its ``A_D = σ(W_A H')``.

    Args:
        width: Width E of a category's representation.
        num_categories: Number C of nodes.
    """

    def __init__(self, width: int, num_categories: int):
        super().__init__()
        self.context = nn.Linear(width, width)
        self.correlation = nn.Linear(2 * width, num_categories, bias=False)
        self.update = nn.Linear(width, width, bias=False)

    def forward(self, related: Float[Tensor, "B C E"]) -> Float[Tensor, "B C E"]:
        """Compute what each category receives from all, over the graph of this image."""
        received = self.adjacency(related) @ self.update(related)
        return F.leaky_relu(received, NEGATIVE_SLOPE)

    def adjacency(self, related: Float[Tensor, "B C E"]) -> Float[Tensor, "B C C"]:
        """Compute ``A_D``. Row c depends on ``h'_c = [h_c, h_g]``; h_g is the global context."""
        context = F.leaky_relu(self.context(related.mean(1, keepdim=True)), NEGATIVE_SLOPE)
        joined = torch.cat([related, context.expand_as(related)], dim=-1)  # B C 2E
        return self.correlation(joined).sigmoid()
