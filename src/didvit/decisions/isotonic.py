"""Isotonic regression: the monotone curve that is nearest to the targets."""

import numpy as np
from jaxtyping import Float


def isotonic(
    x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """The nondecreasing function of ``x`` with the least squared error, as knots.

    By pooling adjacent violators (Ayer et al., 1955). A block of equal values becomes a knot at the
    mean of its ``x``; `numpy.interp` between knots is the curve.

    Args:
        x: One value or more.
        y: Targets.
    """
    points, place, counts = np.unique(x, return_inverse=True, return_counts=True)
    totals = np.bincount(place, weights=y)
    sums: list[tuple[float, float, float]] = []  # of y, of x, and the count, by block
    for point, total, count in zip(points.tolist(), totals.tolist(), counts.tolist(), strict=True):
        block = total, point * count, float(count)
        while sums and sums[-1][0] * block[2] >= block[0] * sums[-1][2]:
            before = sums.pop()
            block = before[0] + block[0], before[1] + block[1], before[2] + block[2]
        sums.append(block)
    blocks = np.array(sums)
    return blocks[:, 1] / blocks[:, 2], blocks[:, 0] / blocks[:, 2]
