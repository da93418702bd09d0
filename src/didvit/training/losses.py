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
    """Focal loss ``-(1 - p)^γ · log p`` of the truth's probability p (Lin et al., ICCV 2017)."""
    logits = torch.where(targets == 1, logits.float(), -logits.float())  # of the truth
    return -(torch.sigmoid(-logits) ** gamma) * F.logsigmoid(logits)


def asymmetric(
    logits: Float[Tensor, "B C"],
    targets: Shaped[Tensor, "B C"],
    gamma: float = 4.0,
    margin: float = 0.05,
) -> Float[Tensor, "B C"]:
    """Asymmetric loss (Ridnik et al., ICCV 2021, with γ₊ = 0).

    It is the cross-entropy for positives, and ``-p_m^γ · log(1 - p_m)`` for negatives, with
    ``p_m = max(p - margin, 0)``. Easy negatives weigh little, and the easiest nothing.
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
    """Average the loss over all entries; unknown ones count as 0.

    Args:
        loss: One of `LOSSES`, or a function like them.
        logits: Logits of a batch.
        targets: 1, 0 or -1 (unknown).
        positive_weights: Weight of each category's positives; None is 1.

    >>> masked_mean(soft_margin, torch.zeros(1, 2), torch.tensor([[1, -1]])).item()
    0.3465735912322998
    """
    losses = loss(logits, targets)
    if positive_weights is not None:
        losses = torch.where(targets == 1, losses * positive_weights, losses)
    return torch.where(targets == -1, 0.0, losses).mean()


def balancing_weights(targets: Shaped[Tensor, "n C"]) -> Float[Tensor, " C"]:
    """Count the negatives per positive of each category; 1 if it has none of either.

    >>> balancing_weights(torch.tensor([[1, 0], [0, 0], [0, -1]])).tolist()
    [2.0, 1.0]
    """
    positives = (targets == 1).sum(0).float()
    negatives = (targets == 0).sum(0).float()
    return torch.where((positives > 0) & (negatives > 0), negatives / positives.clamp(min=1), 1.0)
