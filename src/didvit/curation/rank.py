"""Photographs whose labels would teach the most.

First the photographs of which the model is least sure: the entropy of its probabilities, summed
over the labels, and the disagreement of its two branches. Of these, those that differ most from one
another in feature space: each next one is the farthest from all chosen ones (greedy k-center, Sener
& Savarese, ICLR 2018), so that two pictures of one scene are not both chosen.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

DISAGREEMENT_WEIGHT = 0.5
"""Weight of the disagreement beside the uncertainty, each divided by its mean."""

CANDIDATES = 5
"""Candidates of the choice by distance, as a multiple of the budget."""

MOST_DOUBTS = 5
"""Labels in doubt that are named."""


class Ranked(NamedTuple):
    """A photograph to label.

    Attributes:
        image: Its place among those given.
        priority: Uncertainty and disagreement together; 1.5 on average.
        uncertainty: Entropy of the probabilities, summed over the labels, in nats.
        disagreement: Distance of the branches' probabilities, summed over the labels.
        novelty: Distance in feature space from the nearest photograph that was chosen before; of
            the first one, 0.
        doubts: Places of the labels nearest to their thresholds, nearest first.
    """

    image: int
    priority: float
    uncertainty: float
    disagreement: float
    novelty: float
    doubts: tuple[int, ...]


def rank(
    probabilities: Float[np.ndarray, "n C"],
    global_probabilities: Float[np.ndarray, "n C"],
    local_probabilities: Float[np.ndarray, "n C"],
    thresholds: Float[np.ndarray, " C"],
    features: Float[np.ndarray, "n D"],
    budget: int,
) -> list[Ranked]:
    """Choose photographs to label, in the order in which to label them.

    Args:
        probabilities: Of the fused logits.
        global_probabilities, local_probabilities: Of the two branches.
        thresholds: Of the labels.
        features: Of the photographs.
        budget: How many; all are ranked if there are fewer.
    """
    if not len(probabilities) or budget < 1:
        return []
    uncertainty = _entropy(probabilities).sum(1)
    disagreement = np.abs(global_probabilities - local_probabilities).sum(1)
    priority = uncertainty / max(uncertainty.mean(), 1e-12)
    priority += DISAGREEMENT_WEIGHT * disagreement / max(disagreement.mean(), 1e-12)
    candidates = np.argsort(-priority, kind="stable")[: CANDIDATES * budget]
    scaled = (features - features.mean(0)) / (features.std(0) + 1e-6)
    chosen, novelty = _spread(scaled[candidates], min(budget, len(candidates)))
    distance = np.abs(_logit(probabilities) - _logit(thresholds))
    doubts = np.argsort(distance, axis=1, kind="stable")[:, :MOST_DOUBTS]
    return [
        Ranked(
            int(i),
            float(priority[i]),
            float(uncertainty[i]),
            float(disagreement[i]),
            float(new),
            tuple(doubts[i].tolist()),
        )
        for i, new in zip(candidates[chosen], novelty, strict=True)
    ]


def _spread(features: Float[np.ndarray, "n D"], count: int) -> tuple[list[int], list[float]]:
    """Rows from the first on, each the farthest from all before; and how far it was."""
    chosen, novelty = [0], [0.0]
    nearest = np.linalg.norm(features - features[0], axis=1)
    nearest[0] = -1
    while len(chosen) < count:
        row = int(nearest.argmax())
        chosen.append(row)
        novelty.append(float(nearest[row]))
        nearest = np.minimum(nearest, np.linalg.norm(features - features[row], axis=1))
        nearest[chosen] = -1
    return chosen, novelty


def _entropy(p: np.ndarray) -> np.ndarray:
    p = p.clip(1e-9, 1 - 1e-9)
    return -(p * np.log(p) + (1 - p) * np.log(1 - p))


def _logit(p: np.ndarray) -> np.ndarray:
    p = p.clip(1e-9, 1 - 1e-9)
    return np.log(p / (1 - p))
