"""From photographs and targets to the loss: what a run trains, and what it begins with."""

import math
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from didvit.build import build_model
from didvit.checkpoint import load_checkpoint
from didvit.config import ConfigError, ModelConfig, TrainConfig
from didvit.data.table import Table
from didvit.heads import KNOWING_HEADS, LabelKnowledge
from didvit.heads.labels import co_occurrence_of, label_embeddings
from didvit.losses import LOSSES, masked_mean
from didvit.method import DiD, multi_view_loss, resize_whole
from didvit.method.localization import NonFiniteMapError


class Learner(nn.Module):
    """From photographs and targets to the loss: what is trained, as one module.

    Args:
        model: The DiD.
        config: For the loss, the sizes and the steps at which they change.
        positive_weights: Of the loss; None is 1.
    """

    def __init__(self, model: DiD, config: TrainConfig, positive_weights: Tensor | None = None):
        super().__init__()
        self.model = model
        self.config = config
        self.register_buffer("positive_weights", positive_weights, persistent=False)

    def forward(self, sources: list[Tensor], targets: Tensor, step: int, part: int = 0) -> Tensor:
        """The loss of a batch, or a part of it; NaN where the maps are not finite.

        Random strategies draw from (seed, step, part).
        """
        config = self.config
        small = step < config.small_steps
        images = resize_whole(sources, config.small_size if small else config.model.image_size)
        generator = torch.Generator().manual_seed(seed_of(config.seed, 0, step, part))
        model = self.model.with_top_n(0) if step < config.num_global_steps else self.model
        try:
            output = model(images, sources, generator)
        except NonFiniteMapError:
            return images.new_tensor(math.nan)
        return multi_view_loss(
            output, targets, self.branch_loss, config.loss.global_weight, config.loss.local_weight
        )

    def branch_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The configured loss of one branch."""
        weights = cast("Tensor | None", self.positive_weights)
        return masked_mean(LOSSES[self.config.loss.name], logits, targets, weights)


def seed_of(*numbers: int) -> int:
    """A seed out of several numbers; torch's generator of the CPU looks at 32 bits alone."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def build_start(config: TrainConfig, table: Table) -> DiD:
    """A model with the configured weights, those of ``start_from`` where it is set.

    Args:
        config: Of the run.
        table: What it learns from; some heads are built from its labels.

    Raises:
        ConfigError: ``start_from`` has another backbone.
        CheckpointError, WeightsError, UnsupportedBackboneError, LabelEmbeddingError: Of what the
            configuration names.
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
    knowledge = None
    if model_config.head in KNOWING_HEADS:
        knowledge = _knowledge(model_config, table, head)
    model = build_model(model_config, len(labels), start is None, knowledge)
    if start:
        vit = start.model.backbone.vit
        vit.set_input_size(img_size=model_config.image_size)  # resamples the position embeddings
        model.backbone.load_state_dict(start.model.backbone.state_dict())
    if head:
        model.head.load_state_dict(head.state_dict())
    return model


def _head_of(config: ModelConfig) -> tuple:
    """What heads must share to have the same weights."""
    return config.head, config.csra_heads or 1, config.label_embeddings or "sentence"


def _knowledge(config: ModelConfig, table: Table, head: nn.Module | None) -> LabelKnowledge:
    """What is known of the labels: what the head that is taken over knows, or of the table."""
    if head:
        known = cast(Any, head)
        return LabelKnowledge(known.co_occurrence, known.label_embeddings)
    vectors = label_embeddings(config.label_embeddings or "sentence", table.labels)
    return LabelKnowledge(co_occurrence_of(table.targets), vectors)


def compile_backbone(model: DiD) -> None:
    """Compile the two ways through the backbone; names of weights stay as they are."""
    model.backbone.compile()
    compiled = torch.compile(type(model.backbone).forward_with_attention)
    object.__setattr__(
        model.backbone,
        "forward_with_attention",
        lambda images: compiled(model.backbone, images),
    )
