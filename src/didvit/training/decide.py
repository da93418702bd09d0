"""The end of a run: the model's probabilities are calibrated, and get thresholds."""

from pathlib import Path

from didvit.config import TrainConfig
from didvit.data.table import Table
from didvit.decisions.aims import parse_aim
from didvit.decisions.store import data_digest, decide, weights_digest, write_decisions
from didvit.evaluation.scores import Scores
from didvit.modeling.folder import WEIGHTS

AIMS = ("f1", "precision=0.85")
"""What thresholds are made for; the first are used where a user asks for none."""


def tune_folder(
    folder: Path, scores: Scores, labels: tuple[str, ...], config: TrainConfig, validation: Table
) -> None:
    """Write the decisions of a run folder's model.

    Args:
        folder: The run folder, with the model.
        scores: The model's scores of the validation data.
        labels: Its labels.
        config: Configuration of the run.
        validation: The validation data.

    Raises:
        ConfigError: No label has both images that have it and images that lack it.
        OSError: The file cannot be written.
    """
    fusion = config.model.method.fusion
    decisions = decide(
        scores.global_logits,
        scores.local_logits,
        scores.targets,
        labels,
        [parse_aim(aim) for aim in AIMS],
        fusion=fusion,
        weights=weights_digest(folder / WEIGHTS),
        data=config.data.val,
        digest=data_digest(validation.images, validation.targets),
    )
    write_decisions(folder, decisions)
