"""Patch-level pooling: the semantic maps of the baseline, pooled by more than their mean.

A small object fills few patches, and the mean over the grid dilutes it. In these two heads, the
patches with the strongest evidence count more, at the cost of one forward pass. Sources: for
log-sum-exp pooling, Pinheiro & Collobert, CVPR 2015; for the mean of the top patches, Durand et al.
(WELDON), CVPR 2016, without its negative evidence.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from didvit.method.semantic import HeadOutput, SemanticHead

SHARPNESS = 1.0
"""Factor r of log-sum-exp pooling: near 0 it is the mean, and the larger, the more a maximum."""

TOP_SHARE = 0.25
"""Share of the patches whose mean is taken."""


class LogSumExpHead(SemanticHead):
    """``logit_c = 1/r · log(1/N Σ_n exp(r A_cn))``: a smooth maximum over the patches."""

    def forward(self, patch_tokens: Float[Tensor, "B D h w"]) -> HeadOutput:
        """Semantic maps, and their smooth maximum."""
        maps = self.projection(patch_tokens)
        summed = (SHARPNESS * maps.float()).flatten(2).logsumexp(-1)
        logits = (summed - math.log(maps[0, 0].numel())) / SHARPNESS
        return HeadOutput(maps, logits.to(maps.dtype))


class TopPatchesHead(SemanticHead):
    """``logit_c``: the mean of the `TOP_SHARE` largest values of map c, at least one."""

    def forward(self, patch_tokens: Float[Tensor, "B D h w"]) -> HeadOutput:
        """Semantic maps, and the mean of their largest values."""
        maps = self.projection(patch_tokens)
        values = maps.flatten(2)
        count = max(round(TOP_SHARE * values.shape[-1]), 1)
        return HeadOutput(maps, torch.topk(values, count).values.mean(-1))
