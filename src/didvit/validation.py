"""The validation data along a run: what is scored, by all processes, and what is best."""

from collections.abc import Sequence
from typing import Any

import torch
from lightning_fabric import Fabric

from didvit.config import TrainConfig
from didvit.data.table import Table
from didvit.evaluation import Scores, merge_scores, score_table
from didvit.method import DiD


def score_validation(model: DiD, table: Table, config: TrainConfig, fabric: Fabric) -> Scores:
    """Every process scores its share of the images; each gets the scores of all."""
    rank, world_size = fabric.global_rank, fabric.world_size
    scores = score_table(
        model,
        table,
        config.model.image_size,
        fabric.device,
        workers=config.data.workers,
        part=(rank, world_size),
    )
    if world_size == 1:
        return scores
    parts: list[Any] = [None] * world_size
    torch.distributed.all_gather_object(parts, scores)
    return merge_scores(parts)


def best_step(config: TrainConfig, history: Sequence[dict[str, float]]) -> int:
    """The step whose weights are the run's model, of those evaluated so far.

    The global steps compete by the score of whole images; the steps after them, if there are any,
    by that of the model's own fusion, and among themselves: they look at regions too. The first of
    equals is the best.

    Args:
        config: Of the run; its ``choose`` may say that the last step is the best.
        history: One evaluation or more, as ``history.csv`` has them.
    """
    newest = int(history[-1]["step"])
    if config.choose == "last":
        return newest
    learned_globally = newest <= config.num_global_steps
    fusion = "global" if learned_globally else config.model.fusion
    alike = [row for row in history if (row["step"] <= config.num_global_steps) == learned_globally]
    return int(max(alike, key=lambda row: row[f"val_{fusion}"])["step"])
