"""SSGRL: features are decoupled by the labels' semantics and interact over the label graph.

Source: Chen, Xu, Hui, Wu, Lin, "Learning Semantic-Specific Graph Representation for Multi-Label
Image Recognition", ICCV 2019.

Differs: features are the patch tokens of a transformer, D wide, where the paper's are a
ResNet-101's, 2048 wide, and its widths of 1024 are D / 2 here; the fully connected network of the
attention is one layer, whose constant part (the b of eq. 3) the softmax cancels, so that there is
none; the embeddings may be others than GloVe's and have unit length; backbone and head share the
recipe, the loss and the resolution of all compared heads.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from didvit.heads.classifiers import CategoryClassifiers
from didvit.heads.labels import LabelStatistics, conditional_probabilities
from didvit.method.semantic import HeadOutput


class SSGRLHead(nn.Module):
    """Semantic decoupling, then semantic interaction, then one classifier per category.

    Args:
        embed_dim: Width D of the patch tokens, and of the nodes of the graph.
        statistics: Co-occurrence and word vectors of the labels.
        hidden: Width of the bilinear pooling (d1 and d2 of the paper); None is half of D.
        steps: Number T of message-passing steps over the graph; 0 is no interaction.
    """

    num_levels = 1
    needs_label_statistics = True

    co_occurrence: Tensor
    label_embeddings: Tensor

    def __init__(
        self,
        embed_dim: int,
        statistics: LabelStatistics,
        hidden: int | None = None,
        steps: int = 3,
    ):
        super().__init__()
        self.steps = steps
        self.register_buffer("co_occurrence", statistics.co_occurrence.clone())
        self.register_buffer("label_embeddings", statistics.embeddings.clone())
        num_categories, label_width = statistics.embeddings.shape
        hidden = embed_dim // 2 if hidden is None else hidden
        self.attention = SemanticAttention(embed_dim, label_width, hidden)
        self.gate = GatedUpdate(embed_dim)
        self.output = nn.Linear(2 * embed_dim, embed_dim)
        self.classifiers = CategoryClassifiers(embed_dim, num_categories)

    def forward(self, patch_tokens: Float[Tensor, "B D h w"]) -> HeadOutput:
        """Compute ``s_c = f_c(o_c)``, ``o_c = tanh(F_o [h_c^T, h_c^0])`` (semantic interaction).

        The semantic maps are the attention coefficients before their softmax over locations.
        """
        tokens = patch_tokens.flatten(2).mT  # B N D
        coefficients = self.attention(tokens, self.label_embeddings)
        features = coefficients.softmax(-1) @ tokens  # B C D: eqs. 5, 6
        nodes = self.propagate(features)
        outputs = torch.tanh(self.output(torch.cat([nodes, features], dim=-1)))
        semantic_maps = coefficients.unflatten(-1, patch_tokens.shape[-2:])
        return HeadOutput(semantic_maps, self.classifiers(outputs))

    def propagate(self, nodes: Float[Tensor, "B C D"]) -> Float[Tensor, "B C D"]:
        """Pass messages T times along the edges into and out of every node."""
        graph = conditional_probabilities(self.co_occurrence)
        for _ in range(self.steps):
            messages = torch.cat([graph @ nodes, graph.mT @ nodes], dim=-1)
            nodes = self.gate(messages, nodes)
        return nodes


class SemanticAttention(nn.Module):
    """Low-rank bilinear pooling of a location's feature and a label's word vector.

    Args:
        feature_width: Width D of a location's feature.
        label_width: Width E of a word vector.
        hidden: Widths d1 and d2 of the paper.
    """

    def __init__(self, feature_width: int, label_width: int, hidden: int):
        super().__init__()
        self.feature = nn.Linear(feature_width, hidden, bias=False)  # U
        self.label = nn.Linear(label_width, hidden, bias=False)  # V
        self.joint = nn.Linear(hidden, hidden, bias=False)  # P
        self.coefficient = nn.Linear(hidden, 1, bias=False)  # f_a

    def forward(
        self, tokens: Float[Tensor, "B N D"], labels: Float[Tensor, "C E"]
    ) -> Float[Tensor, "B C N"]:
        """Compute ``f_a(P^T tanh((U^T f) * (V^T x_c)))`` (eqs. 3, 4)."""
        product = self.feature(tokens)[:, None] * self.label(labels)[:, None]  # B C N d1
        # P and f_a are linear: as one vector they cost d2 times less on the B C N products.
        vector = self.coefficient.weight @ self.joint.weight
        return (torch.tanh(product) @ vector.T).squeeze(-1)


class GatedUpdate(nn.Module):
    """The gated recurrent update of a node by its messages (Li et al., ICLR 2016).

    Args:
        width: Width of a node. Its messages, in and out, are twice as wide.
    """

    def __init__(self, width: int):
        super().__init__()
        self.messages = nn.Linear(2 * width, 3 * width, bias=False)  # W^z, W^r, W
        self.gates = nn.Linear(width, 2 * width, bias=False)  # U^z, U^r
        self.candidate = nn.Linear(width, width, bias=False)  # U

    def forward(
        self, messages: Float[Tensor, "B C D2"], nodes: Float[Tensor, "B C D"]
    ) -> Float[Tensor, "B C D"]:
        """Compute ``h' = (1 - z) h + z tanh(W a + U (r h))`` with the gates z and r."""
        update_in, reset_in, candidate_in = self.messages(messages).chunk(3, dim=-1)
        update_own, reset_own = self.gates(nodes).chunk(2, dim=-1)
        update = torch.sigmoid(update_in + update_own)
        reset = torch.sigmoid(reset_in + reset_own)
        candidate = torch.tanh(candidate_in + self.candidate(reset * nodes))
        return (1 - update) * nodes + update * candidate
