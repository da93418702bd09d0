"""Which photographs' views are worth their forward passes.

Views change what is said of a photograph only where the whole image leaves a label open. A
photograph's *uncertainty* is the variance of its number of labels, ``Σ p (1 - p)`` over the labels,
for the calibrated probabilities ``p`` that are estimated without views. Those with the largest
uncertainty get their views; of the others, the local logits are estimated from the global ones.
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
        slope, offset: A label's local logit is estimated as ``slope * global logit + offset``.
        uncertainties: Percentiles 0 to 100 of the uncertainty of validation images.
    """

    slope: float
    offset: float
    uncertainties: Float[np.ndarray, " 101"]

    def estimated(self, global_logits: Logits) -> Logits:
        """The local logits that are to be expected."""
        logits = self.slope * global_logits + self.offset
        return logits.astype(global_logits.dtype)

    def least_uncertainty(self, share: float) -> float:
        """The uncertainty that this share of images like the validation images has, or more.

        The share is from 0 (no image: infinity) to 1 (every image: minus infinity).
        """
        if share <= 0 or share >= 1:
            return np.inf if share <= 0 else -np.inf
        return float(np.interp(100 * (1 - share), PERCENTILES, self.uncertainties))


class ViewBudget(NamedTuple):
    """Views for those images alone whose uncertainty is large enough.

    Attributes:
        policy: What is estimated, and how uncertainties are distributed.
        calibration: From fused logits to probabilities.
        least_uncertainty: Of an image with views.
    """

    policy: ViewPolicy
    calibration: Calibration
    least_uncertainty: float

    def estimated(self, global_logits: Logits) -> Logits:
        """The local logits of images without views."""
        return self.policy.estimated(global_logits)

    def needs_views(self, fused_logits: Logits) -> Bool[np.ndarray, " B"]:
        """Which images get views, by the fused logits that are estimated."""
        return uncertainty(self.calibration, fused_logits) >= self.least_uncertainty


def uncertainty(calibration: Calibration, fused_logits: Logits) -> Float[np.ndarray, " B"]:
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
    x, y = (logits.ravel().astype(np.float64) for logits in (global_logits, local_logits))
    p = sigmoid(x)
    weights = p * (1 - p)
    slope, offset = 1.0, float((y - x).mean())
    if len(np.unique(x[weights > 0])) > 1:
        slope, offset = np.polyfit(x, y, 1, w=np.sqrt(weights)).tolist()
    policy = ViewPolicy(_short(slope), _short(offset), np.zeros(len(PERCENTILES)))
    fused = fuse(global_logits, policy.estimated(global_logits))
    uncertainties = np.percentile(uncertainty(calibration, fused), PERCENTILES)
    return replace(policy, uncertainties=np.array([_short(value) for value in uncertainties]))


def _short(value: float) -> float:
    """With as many digits as are stored."""
    return float(f"{value:.6g}")
