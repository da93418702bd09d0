"""The model that a training run begins with."""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn

from didvit.config import ConfigError, ModelConfig, TrainConfig
from didvit.data.table import Table
from didvit.heads import HEADS, LabelStatistics
from didvit.heads.labels import co_occurrence_of, label_embeddings
from didvit.method.model import DiD
from didvit.modeling.build import build_model
from didvit.modeling.checkpoint import Checkpoint, load_checkpoint


def build_start(
    config: TrainConfig, table: Table, note: Callable[[str], None] = lambda message: None
) -> DiD:
    """A model with the configured weights, or those of ``start_from`` where it is set.

    Args:
        config: Configuration of the run.
        table: Training data. Some heads are built from statistics of its labels.
        note: Told what of ``start_from`` is kept.

    Raises:
        ConfigError: ``start_from`` has another backbone.
        CheckpointError: ``start_from`` cannot be loaded.
        WeightsError, UnsupportedBackboneError: The backbone cannot be built.
        LabelEmbeddingError: There are no word vectors for the labels.
    """
    labels, model_config = table.labels, config.model
    with torch.random.fork_rng(devices=[]):  # loading draws weights, to throw them away
        start = load_checkpoint(config.start_from) if config.start_from else None
    if start and start.config.backbone != model_config.backbone:
        raise ConfigError(
            f"start_from {config.start_from} has the backbone {start.config.backbone}; "
            f"expected {model_config.backbone}, the configured one"
        )
    head = start.model.head if start and start.labels == labels else None
    if start and _head_of(start.config) != _head_of(model_config):
        head = None
    statistics = None
    if HEADS[model_config.head].needs_label_statistics:
        statistics = _statistics(model_config, table, head)
    model = build_model(model_config, len(labels), start is None, statistics)
    if start:
        vit = start.model.backbone.vit
        vit.set_input_size(img_size=model_config.image_size)  # resamples the position embeddings
        model.backbone.load_state_dict(start.model.backbone.state_dict())
        note(f"start_from {config.start_from}: {_kept(start, labels, head)}")
    if head:
        model.head.load_state_dict(head.state_dict())
    return model


def load_teacher(config: TrainConfig, labels: tuple[str, ...]) -> Checkpoint | None:
    """The teacher of a distillation, where there is one.

    Raises:
        ConfigError: Its labels are not the training data's.
        CheckpointError: It cannot be loaded.
    """
    if config.loss.teacher is None:
        return None
    with torch.random.fork_rng(devices=[]):
        teacher = load_checkpoint(config.loss.teacher)
    if teacher.labels != labels:
        raise ConfigError(
            f"teacher {config.loss.teacher} has other labels than the training data "
            f"({len(teacher.labels)} and {len(labels)}); expected the same, in the same order"
        )
    return teacher


def _kept(start: Checkpoint, labels: tuple[str, ...], head: nn.Module | None) -> str:
    """What of a trained model a run begins with, in words."""
    if head:
        return f"backbone and head are kept, with the same {len(labels)} labels"
    if start.labels == labels:
        return "the backbone is kept, and the head is new, as head settings differ"
    shared = len(set(labels) & set(start.labels))
    return (
        f"the backbone is kept, and the head is new, as labels differ: {len(start.labels)} before, "
        f"{len(labels)} now, {shared} of them the same (the same labels in another order count as "
        "different)"
    )


def _head_of(config: ModelConfig) -> tuple:
    """Settings that two heads must share to have the same weights."""
    return config.head, config.csra_heads or 1, config.label_embeddings or "sentence"


def _statistics(config: ModelConfig, table: Table, head: nn.Module | None) -> LabelStatistics:
    """Statistics of the labels, from the head that is kept, or else from the table."""
    if head:
        kept = cast(Any, head)
        return LabelStatistics(kept.co_occurrence, kept.label_embeddings)
    vectors = label_embeddings(config.label_embeddings or "sentence", table.labels)
    return LabelStatistics(co_occurrence_of(table.targets), vectors)
