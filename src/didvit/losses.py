"""Losses of multi-label recognition, per image and category, in float32 whatever comes in.

Targets are 1 (the image has the category), 0 (it has not) or -1 (unknown: the loss there is 0 and
nothing is learned). A mean over a batch divides by all its entries, the unknown ones too, so that
the parts of a batch, however it is split, add up to the same.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor

ElementwiseLoss = Callable[[Tensor, Tensor], Tensor]
"""Logits and targets, both ``(B, C)``, to a loss ``(B, C)``."""


def soft_margin(
    logits: Float[Tensor, "B C"], targets: Shaped[Tensor, "B C"]
) -> Float[Tensor, "B C"]:
    """Binary cross-entropy, the paper's loss (section 3.1).

    Its mean is PyTorch's ``MultiLabelSoftMarginLoss``.
    """
    logits = logits.float()
    return -torch.where(targets == 1, F.logsigmoid(logits), F.logsigmoid(-logits))


def focal(
    logits: Float[Tensor, "B C"], targets: Shaped[Tensor, "B C"], gamma: float = 2.0
) -> Float[Tensor, "B C"]:
    """``-(1 - p)^γ · log p``, p being the probability of the truth (Lin et al., ICCV 2017)."""
    logits = torch.where(targets == 1, logits.float(), -logits.float())  # of the truth
    return -(torch.sigmoid(-logits) ** gamma) * F.logsigmoid(logits)


def asymmetric(
    logits: Float[Tensor, "B C"],
    targets: Shaped[Tensor, "B C"],
    gamma: float = 4.0,
    margin: float = 0.05,
) -> Float[Tensor, "B C"]:
    """Cross-entropy for what is there, ``-p_m^γ · log(1 - p_m)`` for what is not.

    ``p_m = max(p - margin, 0)``: easy negatives weigh little, the easiest nothing (Ridnik et al.,
    ICCV 2021, with γ₊ = 0).
    """
    logits = logits.float()
    shifted = (logits.sigmoid() - margin).clamp(min=0)
    absent = -(shifted**gamma) * torch.log1p(-shifted)  # 1 - p_m is at least the margin
    return torch.where(targets == 1, -F.logsigmoid(logits), absent)


LOSSES: dict[str, ElementwiseLoss] = {
    "soft_margin": soft_margin,
    "focal": focal,
    "asymmetric": asymmetric,
}


def masked_mean(
    loss: ElementwiseLoss,
    logits: Float[Tensor, "B C"],
    targets: Shaped[Tensor, "B C"],
    positive_weights: Float[Tensor, " C"] | None = None,
) -> Float[Tensor, ""]:
    """Mean of the loss over all entries, unknown ones counting as 0.

    Args:
        loss: One of `LOSSES`, or a function like them.
        logits: Of a batch.
        targets: 1, 0 or -1 (unknown).
        positive_weights: What a category's positives are multiplied with; None is 1.
    """
    losses = loss(logits, targets)
    if positive_weights is not None:
        losses = torch.where(targets == 1, losses * positive_weights, losses)
    return torch.where(targets == -1, 0.0, losses).mean()


def balancing_weights(targets: Shaped[Tensor, "n C"]) -> Float[Tensor, " C"]:
    """Negatives per positive of each category; 1 where it has no positive or no negative."""
    positives = (targets == 1).sum(0).float()
    negatives = (targets == 0).sum(0).float()
    return torch.where((positives > 0) & (negatives > 0), negatives / positives.clamp(min=1), 1.0)
