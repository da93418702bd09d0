"""How logits become probabilities, and probabilities decisions, as the page tells it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from didvit.decisions.store import Decisions
from didvit.inference.cut import EVEN_ODDS, choose_cut
from didvit.pages.markup import Html, joined, named


@dataclass(frozen=True)
class Rule:
    """Probabilities and thresholds in use.

    Attributes:
        probabilities: From fused logits ``(n, C)`` to probabilities ``(n, C)``.
        thresholds: Least probability of each label with which it is predicted.
        words: Where they come from, in sentences.
        notes: What to know of each label's threshold, or an empty text; empty where there is
            nothing to know of any.
        tuned_here: Whether they were tuned on the very data that they are measured on.
    """

    probabilities: Callable[[Float[np.ndarray, "n C"]], Float[np.ndarray, "n C"]]
    thresholds: Float[np.ndarray, " C"]
    words: str
    notes: tuple[str, ...] = ()
    tuned_here: bool = False


def rule_of(
    labels: tuple[str, ...], decisions: Decisions | None, data_digest: str, aim: str | None = None
) -> Rule:
    """What holds for a model: its decisions, or else the sigmoid, and 0.5 for every label.

    Args:
        labels: The model's labels.
        decisions: Its calibration and thresholds, if it has any.
        data_digest: `data_digest` of the data that are measured.
        aim: What the thresholds are for; None is the default of the decisions.

    Raises:
        ConfigError: There are no thresholds for the aim.
    """
    cut = choose_cut(labels, decisions, aim=aim)
    if decisions is None:
        words = (
            "A label is predicted where its probability, the sigmoid of its logit, reaches "
            f"{EVEN_ODDS:g}."
        )
        return Rule(cut.calibration.probabilities, cut.thresholds, words)
    return Rule(
        cut.calibration.probabilities,
        cut.thresholds,
        _words(decisions, decisions.default_aim if aim is None else aim),
        tuple(of_label.note for of_label in decisions.facts(aim)),
        decisions.data_digest == data_digest,
    )


def _words(decisions: Decisions, aim: str) -> Html:
    learned = (
        " The model learned from these images: the thresholds are too low or too high for others."
    )
    return joined(
        [
            f"Probabilities are calibrated, and every label has a threshold for {aim}, both tuned "
            f"on {decisions.num_images:,} images of ",
            named(decisions.data),
            f" on {decisions.date}.",
            learned if decisions.forced else "",
        ]
    )
