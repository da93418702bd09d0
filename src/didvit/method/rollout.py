"""Section 2.2.2: the spatial relationship-aware module, attention rollout of the class token."""

from collections.abc import Callable, Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

Step = Callable[[Tensor, Tensor], Tensor]
Row = Float[Tensor, "B T"]
Attention = Float[Tensor, "B T T"]


def column_step(row: Row, attention: Attention) -> Row:
    """``row · G`` with ``G = attention + E``, every column divided by its sum (eq. 5)."""
    return ((row.unsqueeze(-2) @ attention).squeeze(-2) + row) / (attention.sum(-2) + 1)


def row_step(row: Row, attention: Attention) -> Row:
    """``row · G`` with ``G = attention + E``, every row divided by its sum.

    This is attention rollout as first published (Abnar & Zuidema, ACL 2020) and the authors' code.
    """
    row = row / (attention.sum(-1) + 1)
    return (row.unsqueeze(-2) @ attention).squeeze(-2) + row


NORMALIZATIONS: dict[str, Step] = {"column": column_step, "row": row_step}

ORDERS: dict[str, Callable[[Sequence[Tensor]], Iterable[Tensor]]] = {
    "descending": reversed,
    "ascending": iter,
}
"""``G_L · … · G_1``, or ``G_1 · … · G_L``."""


@torch.no_grad()
def attention_rollout(
    attentions: Sequence[Attention],
    grid_size: tuple[int, int],
    num_prefix_tokens: int = 1,
    has_class_token: bool = True,
    normalization: Step = column_step,
    order: str = "descending",
) -> Float[Tensor, "B h w"]:
    """The class token's row of ``V = G_L · … · G_1``, over the patches, as a map (V').

    Only one row of V is used, so only one row is computed: ``e_cls`` times ``G_L``, times
    ``G_{L-1}``, down to ``G_1``. These are L products of a vector and a matrix.

    Args:
        attentions: Head-mean attention of every block, first to last; of one block or more.
        grid_size: Height and width of the patch grid.
        num_prefix_tokens: Tokens before the patches. They take part, and are dropped at the end.
        has_class_token: False starts from the uniform row over the patches instead of ``e_cls``.
        normalization: One of `NORMALIZATIONS`, or a function of a row and an attention matrix.
        order: A key of `ORDERS`. Equation 5 prints ``Π G_l`` from l = 1 to L; "ascending" reads it
            from the left, and attention rollout is "descending".
    """
    tokens = attentions[0].new_zeros(attentions[0].shape[:-1])
    if has_class_token:
        tokens[:, 0] = 1
    else:
        tokens[:, num_prefix_tokens:] = 1 / (tokens.shape[1] - num_prefix_tokens)
    with torch.autocast(tokens.device.type, enabled=False):  # a product of L matrices
        for attention in ORDERS[order](attentions):
            tokens = normalization(tokens, attention)
    return tokens[:, num_prefix_tokens:].unflatten(-1, grid_size)
