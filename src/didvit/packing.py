"""Weights in 8 bits: a quarter of the size, for models that are shipped."""

import torch
from torch import Tensor

SCALE = ":scale"
"""Behind the name of a packed tensor: the name of its scales."""


def pack(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Matrices and kernels as int8, with one float32 scale per output channel, ``NAME:scale``.

    The largest magnitude of a channel becomes 127; the error is at most half a 127th of it.
    Everything else stays as it is.
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
    """The inverse of `pack`, up to the rounding; what is not packed stays as it is.

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
