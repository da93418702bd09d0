"""What makes labels of logits: probabilities, and a threshold for every label."""

from collections.abc import Mapping
from numbers import Real
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from didvit.config import ConfigError
from didvit.decisions.calibration import Calibration, identity
from didvit.decisions.store import Decisions

EVEN_ODDS = 0.5
"""Threshold of a model that has no decisions."""

Threshold = float | Mapping[str, float] | None
"""One for all labels, or some labels' own; None: the model's."""


class Cut(NamedTuple):
    """A label is found where its probability is at least its threshold."""

    calibration: Calibration
    thresholds: Float[np.ndarray, " C"]


def choose_cut(
    labels: tuple[str, ...],
    decisions: Decisions | None,
    threshold: Threshold = None,
    aim: str | None = None,
) -> Cut:
    """The model's calibration and thresholds, and what a user puts in their place.

    Args:
        labels: The model's labels.
        decisions: Those that the model was tuned to. None: probabilities are the sigmoid of logits,
            and thresholds 0.5.
        threshold: In place of the thresholds of all labels, or of some.
        aim: Which stored thresholds; None: those of the default aim.

    Raises:
        ConfigError: A threshold is no probability, a label is not the model's, or there are no
            thresholds for the aim.
    """
    if aim is not None and decisions is None:
        raise ConfigError(
            f"there are no thresholds for {aim}: the model is not tuned, or is run with another "
            "preset or top_n than its own, which it is not tuned for; leave them out, give "
            f"--threshold X, or tune it with 'didvit tune MODEL --data VAL --for {aim}'"
        )
    count = len(labels)
    calibration = decisions.calibration if decisions else identity(count)
    thresholds = decisions.thresholds(aim) if decisions else np.full(count, EVEN_ODDS)
    if isinstance(threshold, Mapping):
        for label, value in threshold.items():
            if label not in labels:
                raise ConfigError(f"threshold: {label!r} is no label of the model")
            thresholds[labels.index(label)] = _probability(value, f"threshold of {label}")
    elif threshold is not None:
        thresholds = np.full(count, _probability(threshold, "threshold"))
    return Cut(calibration, thresholds)


def _probability(value: object, name: str) -> float:
    if not isinstance(value, Real) or not 0 <= float(value) <= 1:
        raise ConfigError(f"{name} is {value!r}; expected a number in [0, 1]")
    return float(value)
