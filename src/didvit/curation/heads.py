"""A linear head on features: one logistic regression per label, all fitted together.

Each step solves with one matrix for all labels, the bound ``XᵀX/4`` of every label's Hessian
(Böhning & Lindsay, 1988), with Nesterov's momentum.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from didvit.decisions.calibration import sigmoid

STEPS = 60
RIDGE = 30.0
"""Weight of the squared norm of the weights, in images."""


class Head(NamedTuple):
    """A linear head on standardized features.

    Attributes:
        mean: Of the features that it learned from.
        scale: Their standard deviations.
        weights: One column per label; the last row is the offset.
    """

    mean: Float[np.ndarray, " D"]
    scale: Float[np.ndarray, " D"]
    weights: Float[np.ndarray, "D1 C"]

    def logits(self, features: Float[np.ndarray, "n D"]) -> Float[np.ndarray, "n C"]:
        """Logits of images."""
        standardized = (features - self.mean) / self.scale
        return standardized @ self.weights[:-1] + self.weights[-1]


def fit_head(
    features: Float[np.ndarray, "n D"], targets: Int[np.ndarray, "n C"], ridge: float = RIDGE
) -> Head:
    """Fit a head. Unknown targets (-1) have no part in it."""
    features = features.astype(np.float64)
    mean, scale = features.mean(0), features.std(0) + 1e-6
    x = np.concatenate([(features - mean) / scale, np.ones((len(features), 1))], 1)
    known, y = targets >= 0, targets == 1
    penalty = np.full(x.shape[1], ridge)
    penalty[-1] = 1e-3
    inverse = np.linalg.inv(x.T @ x / 4 + np.diag(penalty))
    rate = (y.sum(0) + 0.5) / (known.sum(0) + 1.0)
    weights = np.zeros((x.shape[1], targets.shape[1]))
    weights[-1] = np.log(rate / (1 - rate))
    before, momentum = weights, 1.0
    for _ in range(STEPS):
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = weights + (momentum - 1) / following * (weights - before)
        residual = np.where(known, sigmoid(x @ ahead) - y, 0.0)
        before, momentum = weights, following
        weights = ahead - inverse @ (x.T @ residual + penalty[:, None] * ahead)
    return Head(mean, scale, weights)


def out_of_sample(
    features: Float[np.ndarray, "n D"],
    targets: Int[np.ndarray, "n C"],
    folds: int = 5,
    seed: int = 0,
) -> Float[np.ndarray, "n C"]:
    """Logits of every image by a head that has not learned from it.

    Args:
        features: Of the images, two or more.
        targets: 1, 0, or -1 (unknown).
        folds: Number of parts; each is scored by a head of the others.
        seed: Of the parts.
    """
    part = np.random.default_rng(seed).permutation(len(features)) % folds
    logits = np.empty(targets.shape)
    for fold in np.unique(part):
        held_out = part == fold
        head = fit_head(features[~held_out], targets[~held_out])
        logits[held_out] = head.logits(features[held_out])
    return logits
