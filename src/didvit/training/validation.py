"""Validation during a run: scores by all processes, and the choice of the best step."""

import math
from collections.abc import Sequence

from lightning_fabric import Fabric

from didvit.config import TrainConfig
from didvit.data.table import Table
from didvit.evaluation.scores import Scores, merge_scores
from didvit.evaluation.scoring import score_table
from didvit.method.model import DiD
from didvit.training.distributed import gathered


def score_validation(model: DiD, table: Table, config: TrainConfig, fabric: Fabric) -> Scores:
    """Score the validation data. Every process scores its share, and gets the scores of all."""
    rank, world_size = fabric.global_rank, fabric.world_size
    scores = score_table(
        model,
        table,
        config.model.image_size,
        fabric.device,
        workers=config.data.workers,
        part=(rank, world_size),
    )
    return scores if world_size == 1 else merge_scores(gathered(fabric, scores))


def best_step(config: TrainConfig, history: Sequence[dict[str, float]]) -> int:
    """Choose the step whose weights become the model, among those evaluated so far.

    Single-view steps compete by the mAP of whole images. As soon as a later step is evaluated, the
    later steps compete among themselves, by the mAP of the model's fusion. The first of equals
    wins; the newest step where mAP is NaN, as the validation data have nothing to measure.

    Args:
        config: Configuration of the run. With ``choose="last"`` the newest step wins.
        history: Rows of ``history.csv``, one or more.
    """
    newest, single_view_steps = int(history[-1]["step"]), config.schedule.single_view_steps
    if config.choose == "last":
        return newest
    is_single_view = newest <= single_view_steps
    fusion = "global" if is_single_view else config.model.method.fusion
    alike = [row for row in history if (row["step"] <= single_view_steps) == is_single_view]
    if math.isnan(history[-1][f"val_{fusion}"]):
        return newest
    return int(max(alike, key=lambda row: row[f"val_{fusion}"])["step"])
