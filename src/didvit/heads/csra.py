"""CSRA: class-specific residual attention, mean pooling plus a softmax-weighted one per category.

Source: Zhu & Wu, "Residual Attention: A Simple but Effective Method for Multi-Label Recognition",
ICCV 2021.

Differs: the features are a Vision Transformer's patch tokens, without its class token, as in the
paper's own ViT rows; T = ∞ is the exact maximum, which the authors' code calls T = 99. Classifiers
have unit length, as in the authors' code (the paper's table 8 finds no difference in the end) and
no bias; backbone and head share the recipe, the loss and the resolution of all compared heads.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from didvit.method.semantic import HeadOutput

TEMPERATURES: dict[int, tuple[float, ...]] = {
    1: (1.0,),
    2: (1.0, math.inf),
    4: (1.0, 2.0, 4.0, math.inf),
    6: (1.0, 2.0, 3.0, 4.0, 5.0, math.inf),
    8: (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, math.inf),
}
"""Temperatures T of the attention heads, by the number of heads."""


class CSRAHead(nn.Module):
    """Multi-head residual attention. Every head has its temperature and its classifiers.

    Args:
        embed_dim: Width D of the patch tokens.
        num_categories: Number C of categories.
        num_heads: Number M of attention heads, a key of `TEMPERATURES`. The authors take 1 on VOC,
            4 or 6 with a ResNet and 8 with a ViT-L/16 on COCO.
        attention_weight: λ, the weight of the attention beside the mean; all heads share it. The
            authors take 0.1 on VOC, 0.4 or 0.5 with a ResNet on COCO.

    Raises:
        ValueError: There is no schedule of temperatures for ``num_heads``.
    """

    num_levels = 1
    needs_label_statistics = False

    def __init__(
        self,
        embed_dim: int,
        num_categories: int,
        num_heads: int = 1,
        attention_weight: float = 0.1,
    ):
        super().__init__()
        if num_heads not in TEMPERATURES:
            known = ", ".join(map(str, TEMPERATURES))
            raise ValueError(f"num_heads is {num_heads}; expected one of {known}")
        self.temperatures = TEMPERATURES[num_heads]
        self.attention_weight = attention_weight
        self.classifiers = nn.Parameter(torch.empty(num_heads, num_categories, embed_dim))
        # The longer a classifier, the slower its direction changes: as long as a convolution's.
        nn.init.uniform_(self.classifiers, -(embed_dim**-0.5), embed_dim**-0.5)

    def forward(self, patch_tokens: Float[Tensor, "B D h w"]) -> HeadOutput:
        """Compute the mean of the heads' score maps, and the sum ``ŷ = Σ_h ŷ_{T_h}`` of logits.

        ``ŷ_T`` is ``(Σ_k x_k^T m_i) / N + λ Σ_k s_k x_k^T m_i`` for category i (eq. 8).
        """
        classifiers = F.normalize(self.classifiers, dim=-1)
        score_maps = torch.einsum("mcd,bdhw->mbchw", classifiers, patch_tokens)
        scores = score_maps.flatten(3)  # M B C N
        attended = torch.stack(
            [attention_pool(*head) for head in zip(scores, self.temperatures, strict=True)]
        )
        logits = scores.mean(-1) + self.attention_weight * attended  # M B C
        return HeadOutput(score_maps.mean(0), logits.sum(0))


def attention_pool(scores: Float[Tensor, "B C N"], temperature: float) -> Float[Tensor, "B C"]:
    """Compute ``Σ_k s_k x_k^T m_i`` with ``s = softmax(T x^T m_i)`` over locations (eqs. 2, 3).

    An infinite T gives the maximum.
    """
    if math.isinf(temperature):
        return scores.amax(-1)
    return ((temperature * scores).softmax(-1) * scores).sum(-1)
