"""Fusion of global and local logits, in NumPy; `didvit.method.model.FUSIONS` is PyTorch's."""

from collections.abc import Callable

import numpy as np

Fuse = Callable[[np.ndarray, np.ndarray], np.ndarray]

FUSIONS: dict[str, Fuse] = {
    "mean": lambda global_logits, local_logits: (global_logits + local_logits) / 2,
    "max": np.maximum,
    "global": lambda global_logits, local_logits: global_logits,
    "local": lambda global_logits, local_logits: local_logits,
}
"""From global and local logits ``(B, C)`` to the prediction."""
