"""Which photographs' views are worth their forward passes.

Views change what is said of a photograph only where the whole image leaves a label open. A
photograph's *doubt* is the variance of its number of labels, ``Σ p (1 - p)`` over the labels, for
the calibrated probabilities ``p`` that are foreseen without views. Those with the largest doubt get
their views; of the others, the local logits are foreseen from the global ones.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from didvit.decisions.calibration import Calibration, sigmoid
from didvit.method.fusion import Fuse

Logits = Float[np.ndarray, "B C"]

PERCENTILES = np.arange(101)


@dataclass(frozen=True)
class ViewPolicy:
    """What validation data say about leaving views out.

    Attributes:
        slope, offset: A label's local logit is foreseen as ``slope * global logit + offset``.
        doubts: Percentiles 0 to 100 of the doubt of validation images.
    """

    slope: float
    offset: float
    doubts: Float[np.ndarray, " 101"]

    def foreseen(self, global_logits: Logits) -> Logits:
        """The local logits that are to be expected."""
        logits = self.slope * global_logits + self.offset
        return logits.astype(global_logits.dtype)

    def least_doubt(self, share: float) -> float:
        """The doubt that this share of images like the validation images has, or more.

        The share is from 0 (no image: infinity) to 1 (every image: minus infinity).
        """
        if share <= 0 or share >= 1:
            return np.inf if share <= 0 else -np.inf
        return float(np.interp(100 * (1 - share), PERCENTILES, self.doubts))


class ViewBudget(NamedTuple):
    """Views for those images alone whose doubt is large enough.

    Attributes:
        policy: What is foreseen, and how doubts are distributed.
        calibration: From fused logits to probabilities.
        least_doubt: Of an image with views.
    """

    policy: ViewPolicy
    calibration: Calibration
    least_doubt: float

    def foreseen(self, global_logits: Logits) -> Logits:
        """The local logits of images without views."""
        return self.policy.foreseen(global_logits)

    def needs_views(self, fused_logits: Logits) -> Bool[np.ndarray, " B"]:
        """Which images get views, by the fused logits that are foreseen."""
        return doubt(self.calibration, fused_logits) >= self.least_doubt


def doubt(calibration: Calibration, fused_logits: Logits) -> Float[np.ndarray, " B"]:
    """Variance of the number of labels of each image, were its labels independent."""
    p = calibration.probabilities(fused_logits.astype(np.float64))
    return (p * (1 - p)).sum(1)


def fit_view_policy(
    global_logits: Logits, local_logits: Logits, fuse: Fuse, calibration: Calibration
) -> ViewPolicy:
    """Learn from validation images, all of which have views.

    The line from global to local logits is fitted to all labels together by least squares, with
    weights ``p (1 - p)`` for ``p`` the sigmoid of the global logit: where a label is out of the
    question, an error of its logit changes nothing.

    Args:
        global_logits: One image or more.
        local_logits: Of the same images.
        fuse: The model's fusion.
        calibration: From fused logits to probabilities.
    """
    x, y = global_logits.ravel(), local_logits.ravel()
    p = sigmoid(x)
    weights = p * (1 - p)
    slope, offset = 1.0, float((y - x).mean())
    if len(np.unique(x[weights > 0])) > 1:
        slope, offset = np.polyfit(x, y, 1, w=np.sqrt(weights)).tolist()
    policy = ViewPolicy(_short(slope), _short(offset), np.zeros(len(PERCENTILES)))
    fused = fuse(global_logits, policy.foreseen(global_logits))
    doubts = np.percentile(doubt(calibration, fused), PERCENTILES)
    return replace(policy, doubts=np.array([_short(value) for value in doubts]))


def _short(value: float) -> float:
    """With as many digits as are stored."""
    return float(f"{value:.6g}")
