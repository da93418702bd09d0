"""Weights in 8 bits: a quarter of the size, for models that are shipped."""

import torch
from torch import Tensor

SCALE = ":scale"
"""Suffix of a packed tensor's name that gives the name of its scales."""


def pack(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Round matrices and kernels to int8, with one float32 scale per output channel.

    The scales are named ``NAME:scale``. The largest magnitude of a channel becomes 127; the error
    is at most half a 127th of it. All other tensors are unchanged.

    >>> packed = pack({"head.weight": torch.tensor([[2.0, -1.0]])})
    >>> packed["head.weight"].tolist()
    [[127, -64]]
    """
    packed = {}
    for name, tensor in state.items():
        if not name.endswith(".weight") or tensor.ndim < 2:
            packed[name] = tensor
            continue
        channels = tensor.float().flatten(1)
        scale = channels.abs().amax(1) / 127
        scaled = channels / torch.where(scale > 0, scale, 1.0)[:, None]
        packed[name] = scaled.round().to(torch.int8).view_as(tensor)
        packed[name + SCALE] = scale
    return packed


def unpack(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Restore what `pack` rounded. Tensors that are not packed are unchanged.

    Raises:
        KeyError: A scale is missing.
    """
    return {
        name: tensor * state[name + SCALE].view(-1, *[1] * (tensor.ndim - 1))
        if tensor.dtype == torch.int8
        else tensor
        for name, tensor in state.items()
        if not name.endswith(SCALE)
    }
