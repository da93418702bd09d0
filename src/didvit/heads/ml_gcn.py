"""ML-GCN: a graph convolutional network over the labels generates their classifiers.

Source: Chen, Wei, Wang, Guo, "Multi-Label Image Recognition with Graph Convolutional Networks",
CVPR 2019.

Differs: the image's feature is pooled from the patch tokens of a transformer, D wide, where the
paper's is a ResNet-101's, 2048 wide; the embeddings may be others than GloVe's and have unit
length; the graph is the paper's equations 7 and 8, where the authors' code divides and transposes
otherwise; backbone and head share the recipe, the loss and the resolution of all compared heads.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from didvit.heads.labels import LabelStatistics, conditional_probabilities
from didvit.method.semantic import HeadOutput


def correlation_graph(
    co_occurrence: Float[Tensor, "C C"], threshold: float, reweight: float
) -> Float[Tensor, "C C"]:
    """Build the label graph: binary (eq. 7), re-weighted (eq. 8) and normalized.

    ``P_ij = M_ij / N_i`` is the probability of label j given label i. ``A_ij`` is 1 where it is at
    least τ. ``A'_ij = p A_ij / Σ_{k≠i} A_ik``, and ``A'_ii = 1 - p`` is the self-loop. The result
    is ``D^-1/2 A' D^-1/2``; D holds the row sums of A'. A label that occurs with no other, or in no
    image, has its self-loop alone.

    Args:
        co_occurrence: Co-occurrence M of the labels, with N on its diagonal.
        threshold: Threshold τ, which removes rare, noisy edges.
        reweight: Weight p of the neighbors in a node's new feature.
    """
    probabilities = conditional_probabilities(co_occurrence)
    self_loops = torch.eye(len(co_occurrence)).to(co_occurrence)
    edges = (probabilities >= threshold).to(co_occurrence) * (1 - self_loops)
    neighbors = edges.sum(1, keepdim=True).clamp(min=1)
    weights = reweight * edges / neighbors + (1 - reweight) * self_loops
    scale = weights.sum(1).rsqrt()
    return scale[:, None] * weights * scale


class MLGCNHead(nn.Module):
    """Classifiers learned from the labels' graph, applied to the image's feature.

    Args:
        embed_dim: Width D of the patch tokens, and so of the classifiers.
        statistics: Co-occurrence and word vectors of the labels.
        hidden: Width between the two graph convolutions (the paper's 1024).
        threshold: Threshold τ of the graph, in (0, 1].
        reweight: Weight p of the graph, in [0, 1).

    Raises:
        ValueError: A setting is out of its range.
    """

    num_levels = 1
    needs_label_statistics = True

    co_occurrence: Tensor
    label_embeddings: Tensor

    def __init__(
        self,
        embed_dim: int,
        statistics: LabelStatistics,
        hidden: int = 1024,
        threshold: float = 0.4,
        reweight: float = 0.2,
    ):
        super().__init__()
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold is {threshold}; expected a number in (0, 1]")
        if not 0 <= reweight < 1:
            raise ValueError(f"reweight is {reweight}; expected a number in [0, 1)")
        self.threshold = threshold
        self.reweight = reweight
        self.register_buffer("co_occurrence", statistics.co_occurrence.clone())
        self.register_buffer("label_embeddings", statistics.embeddings.clone())
        self.convolution1 = nn.Linear(statistics.embeddings.shape[1], hidden, bias=False)
        self.convolution2 = nn.Linear(hidden, embed_dim, bias=False)

    def forward(self, patch_tokens: Float[Tensor, "B D h w"]) -> HeadOutput:
        """Compute ``ŷ = W x``; x is the global maximum of the patch tokens (eqs. 3, 4).

        The semantic maps are W applied to every patch.
        """
        classifiers = self.classifiers()
        features = patch_tokens.amax((-2, -1))
        semantic_maps = torch.einsum("cd,bdhw->bchw", classifiers, patch_tokens)
        return HeadOutput(semantic_maps, features @ classifiers.T)

    def classifiers(self) -> Float[Tensor, "C D"]:
        """Compute W by two graph convolutions ``H' = f(Â H W)`` (eq. 2), f = LeakyReLU(0.2)."""
        graph = correlation_graph(self.co_occurrence, self.threshold, self.reweight)
        nodes = F.leaky_relu(graph @ self.convolution1(self.label_embeddings), 0.2)
        return graph @ self.convolution2(nodes)
