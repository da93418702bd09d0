"""Label errors: labels that a head, which has not learned from the image, takes for wrong.

The suspicion of a label is 1 − the probability of what the table says of it: the complement of the
self-confidence of Kuan & Mueller (2022), which is cleanlab's score per class for multi-label data.
A test holds both equal.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from didvit.curation.heads import out_of_sample
from didvit.data.table import DataError
from didvit.decisions.calibration import sigmoid
from didvit.evaluation.report import labels_left_out

Kind = Literal["missing", "wrong"]


class Suspicion(NamedTuple):
    """A label of an image that is probably wrong.

    Attributes:
        image: Place of the image in the table.
        label: Place of the label.
        kind: ``missing``: the table says no, and the image seems to have it. ``wrong``: the table
            says yes, and it seems not to.
        suspicion: Probability that the table is wrong, by the head.
        score: Probability that the image has the label, by the head.
    """

    image: int
    label: int
    kind: Kind
    suspicion: float
    score: float


@dataclass(frozen=True)
class Audit:
    """All suspicions above one half, highest first.

    Attributes:
        suspicions: Of both kinds.
        left_out: Labels that cannot be audited, and why.
        num_images: Number of images that were audited.
    """

    suspicions: tuple[Suspicion, ...]
    left_out: dict[str, str]
    num_images: int


def audit(
    features: Float[np.ndarray, "n D"],
    targets: Int[np.ndarray, "n C"],
    labels: tuple[str, ...],
    folds: int = 5,
    seed: int = 0,
) -> Audit:
    """Find labels that are probably wrong.

    Args:
        features: Of the images, by a model that has not learned from these labels.
        targets: 1, 0, or -1 (unknown: never suspected).
        labels: Their names.
        folds: Number of parts of the images; each is scored by a head of the others.
        seed: Of the parts.

    Raises:
        DataError: There are fewer images than folds, or no label can be audited.
    """
    if len(features) < folds:
        raise DataError(
            f"{len(features)} images can be read, and the audit makes {folds} parts of them; "
            "expected more images, or fewer folds"
        )
    left_out = labels_left_out(labels, targets)
    for c, label in enumerate(labels):
        positives = int((targets[:, c] == 1).sum())
        if label not in left_out and positives < folds:
            left_out[label] = f"it has {positives} positives, fewer than the {folds} folds"
    if len(left_out) == len(labels):
        raise DataError(
            f"no label can be audited: {next(iter(left_out.values()))}; expected images that have "
            "a label, and images that lack it"
        )
    probabilities = sigmoid(out_of_sample(features, targets, folds, seed))
    suspicion = np.where(targets == 1, 1 - probabilities, probabilities)
    suspicion[targets < 0] = 0
    suspicion[:, [label in left_out for label in labels]] = 0
    places = np.argwhere(suspicion > 0.5)
    order = np.argsort(-suspicion[tuple(places.T)], kind="stable")
    found = tuple(
        Suspicion(
            i,
            c,
            "wrong" if targets[i, c] == 1 else "missing",
            float(suspicion[i, c]),
            float(probabilities[i, c]),
        )
        for i, c in places[order].tolist()
    )
    return Audit(found, left_out, len(features))
