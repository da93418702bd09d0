"""How far probabilities are what they say."""

import numpy as np
from jaxtyping import Float, Int

BINS = 15


def calibration_error(
    probabilities: Float[np.ndarray, "n C"], targets: Int[np.ndarray, "n C"], bins: int = BINS
) -> Float[np.ndarray, " C"]:
    """Expected calibration error of every label, with bins of equally many images.

    The images are sorted by probability and cut into bins. The error is the mean over images of the
    distance, in their bin, between the mean probability and the share that has the label (Naeini et
    al., AAAI 2015; equal-mass bins: Nixon et al., CVPR workshops 2019).

    Args:
        probabilities: In [0, 1].
        targets: 1, 0, or -1 (unknown, left out).
        bins: Number of bins; fewer where there are fewer images.

    Returns:
        In [0, 1]; NaN for a label of which nothing is known.

    >>> calibration_error(np.array([[0.9], [0.1]]), np.array([[1], [0]])).round(3).tolist()
    [0.1]
    """
    errors = []
    for p, y in zip(probabilities.T, targets.T, strict=True):
        known = y >= 0
        errors.append(_error(p[known], y[known], bins) if known.any() else np.nan)
    return np.array(errors)


def pooled_calibration_error(
    probabilities: Float[np.ndarray, "n C"], targets: Int[np.ndarray, "n C"], bins: int = BINS
) -> float:
    """`calibration_error` of all pairs of image and label together; NaN if none is known."""
    return float(calibration_error(probabilities.reshape(-1, 1), targets.reshape(-1, 1), bins)[0])


def brier_score(
    probabilities: Float[np.ndarray, "n C"], targets: Int[np.ndarray, "n C"]
) -> Float[np.ndarray, " C"]:
    """Mean squared distance between probability and truth, of every label (Brier, 1950).

    Unknown labels are left out; NaN for a label of which nothing is known.

    >>> brier_score(np.array([[0.9], [0.1]]), np.array([[1], [0]])).round(3).tolist()
    [0.01]
    """
    known = targets >= 0
    squares = np.where(known, (probabilities - (targets == 1)) ** 2, 0).sum(0)
    count = known.sum(0)
    return np.where(count > 0, squares / np.maximum(count, 1), np.nan)


def _error(p: np.ndarray, y: np.ndarray, bins: int) -> float:
    order = np.argsort(p, kind="stable")
    parts = np.array_split(order, min(bins, len(order)))
    return sum(abs(p[part].mean() - y[part].mean()) * len(part) for part in parts) / len(p)
