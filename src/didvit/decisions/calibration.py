"""Calibration: from a label's fused logit to the probability that the image has the label.

Every label has a sigmoid of its own, ``σ(slope · logit + offset)`` (Platt, 1999), whose slope and
offset are shrunk towards those of all labels together, so that rare labels borrow from all. A label
with many positives may have a monotone curve instead, where that predicts held-out images better.
All are strictly increasing: no order of images changes, and so no AP.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from didvit.decisions.isotonic import isotonic

Logits = Float[np.ndarray, "n C"]
Targets = Int[np.ndarray, "n C"]

STRENGTHS = (0.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)
"""Weights of the pull towards the sigmoid of all labels, of which held-out folds choose one."""

FOLDS = 5
MANY = 50
"""Positives of a label below which no curve is tried."""

MOST_KNOTS = 30
PLATT_SHARE = 0.1
"""Share of the sigmoid in a curve, which makes it strictly increasing."""


@dataclass(frozen=True)
class Calibration:
    """Monotone maps from logits to probabilities, one per label.

    Attributes:
        slopes: Above 0.
        offsets: Added to slope · logit.
        curves: For some labels, by place: logits and probabilities of the knots of a curve.
        notes: By place, why a label has the sigmoid of all labels.
    """

    slopes: Float[np.ndarray, " C"]
    offsets: Float[np.ndarray, " C"]
    curves: dict[int, tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]]
    notes: dict[int, str]

    def probabilities(self, logits: Float[np.ndarray, "*n C"]) -> Float[np.ndarray, "*n C"]:
        """Calibrated probabilities of fused logits."""
        result = sigmoid(self.slopes * logits + self.offsets)
        for c, (x, y) in self.curves.items():
            curve = np.interp(logits[..., c], x, y)
            result[..., c] = PLATT_SHARE * result[..., c] + (1 - PLATT_SHARE) * curve
        return result


def identity(num_labels: int) -> Calibration:
    """The calibration of a model that has none: the sigmoid."""
    return Calibration(np.ones(num_labels), np.zeros(num_labels), {}, {})


def fit_calibration(logits: Logits, targets: Targets, seed: int = 0) -> Calibration:
    """Calibrate on validation scores.

    Args:
        logits: Fused logits.
        targets: 1, 0, or -1 (unknown, left out).
        seed: Of the folds.

    Raises:
        ValueError: No label has both positives and negatives.
    """
    known = targets >= 0
    y = (targets == 1).astype(np.float64)
    shared = _fit(logits[known], y[known], (1.0, 0.0), 0.0)
    folds = np.random.default_rng(seed).permutation(len(logits)) % FOLDS
    strength = _choose_strength(logits, targets, folds)
    count = logits.shape[1]
    slopes, offsets = np.full(count, shared[0]), np.full(count, shared[1])
    curves, notes = {}, {}
    for c in range(count):
        x, truth = logits[known[:, c], c], y[known[:, c], c]
        if reason := why_shared(truth, x):
            notes[c] = reason
            continue
        slopes[c], offsets[c] = _fit(x, truth, shared, strength)
        if truth.sum() >= MANY and _curve_wins(x, truth, folds[known[:, c]], shared, strength):
            curves[c] = _curve(x, truth)
    return Calibration(slopes, offsets, curves, notes)


def why_shared(truth: Float[np.ndarray, " n"], x: Float[np.ndarray, " n"]) -> str | None:
    """Why nothing can be learned from a label's own scores, or None."""
    if not truth.sum():
        return "no image is known to have it"
    if truth.all():
        return "no image is known to lack it"
    return "all scores are equal" if np.ptp(x) == 0 else None


def sigmoid(x: np.ndarray) -> np.ndarray:
    """``1 / (1 + exp(-x))``, without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * np.asarray(x, np.float64)))


def log_loss(p: np.ndarray, y: np.ndarray) -> float:
    """Mean negative log-likelihood, of probabilities kept away from 0 and 1."""
    p = p.clip(1e-6, 1 - 1e-6)
    return float(-np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)))


def _fit(
    x: np.ndarray, y: np.ndarray, towards: tuple[float, float], strength: float
) -> tuple[float, float]:
    """Slope and offset by Newton's method, with a Gaussian penalty on their distance."""
    target, theta = np.array(towards), np.array(towards, np.float64)
    design = np.stack((x, np.ones_like(x)), 1)
    ridge = (strength + 1e-3) * np.eye(2)

    def objective(t: np.ndarray) -> float:
        z = design @ t
        return float(np.sum(np.logaddexp(0, z) - y * z) + 0.5 * (t - target) @ ridge @ (t - target))

    value = objective(theta)
    for _ in range(50):
        p = sigmoid(design @ theta)
        gradient = design.T @ (p - y) + ridge @ (theta - target)
        hessian = design.T @ (design * (p * (1 - p))[:, None]) + ridge
        step, size = np.linalg.solve(hessian, gradient), 1.0
        while objective(theta - size * step) > value and size > 1e-4:
            size /= 2
        theta = theta - size * step
        before, value = value, objective(theta)
        if before - value < 1e-9 * (1 + abs(value)):
            break
    return max(float(theta[0]), 0.05 * max(towards[0], 1e-3)), float(theta[1])


def _choose_strength(logits: Logits, targets: Targets, folds: Int[np.ndarray, " n"]) -> float:
    losses = np.zeros(len(STRENGTHS))
    for fold in range(FOLDS):
        held_out = folds == fold
        known = (targets >= 0) & ~held_out[:, None]
        if not known.any() or not held_out.any():
            continue
        y = (targets == 1).astype(np.float64)
        shared = _fit(logits[known], y[known], (1.0, 0.0), 0.0)
        for c in range(logits.shape[1]):
            rows, test = known[:, c], (targets[:, c] >= 0) & held_out
            if why_shared(y[rows, c], logits[rows, c]) or not test.any():
                continue
            for i, strength in enumerate(STRENGTHS):
                slope, offset = _fit(logits[rows, c], y[rows, c], shared, strength)
                p = sigmoid(slope * logits[test, c] + offset)
                losses[i] += log_loss(p, y[test, c]) * test.sum()
    return STRENGTHS[int(losses.argmin())]


def _curve(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Knots of the isotonic curve, with both ends kept away from 0 and 1, and few of them."""
    knots, values = isotonic(x, y)
    values = values.clip(0.5 / (len(y) + 1), 1 - 0.5 / (y.sum() + 1))
    if len(knots) > MOST_KNOTS:
        chosen = np.unique(np.linspace(0, len(knots) - 1, MOST_KNOTS).round().astype(int))
        knots, values = knots[chosen], values[chosen]
    return knots, values


def _curve_wins(
    x: np.ndarray,
    y: np.ndarray,
    folds: np.ndarray,
    shared: tuple[float, float],
    strength: float,
) -> bool:
    """Whether a curve predicts held-out images better than the label's sigmoid."""
    of_curve, of_sigmoid = np.zeros(len(x)), np.zeros(len(x))
    for fold in range(FOLDS):
        rest, test = folds != fold, folds == fold
        if why_shared(y[rest], x[rest]):
            return False
        slope, offset = _fit(x[rest], y[rest], shared, strength)
        of_sigmoid[test] = sigmoid(slope * x[test] + offset)
        knots, values = _curve(x[rest], y[rest])
        curve = np.interp(x[test], knots, values)
        of_curve[test] = PLATT_SHARE * of_sigmoid[test] + (1 - PLATT_SHARE) * curve
    return log_loss(of_curve, y) < log_loss(of_sigmoid, y)
