"""From photographs and targets to the loss: what a run trains, and what it begins with."""

import math
from operator import attrgetter
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from didvit.checkpoint import load_checkpoint
from didvit.config import ConfigError, TrainConfig, build_model
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
        model = self.model.with_top_n(0) if step < config.global_steps else self.model
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
    """
    labels, model_config = table.labels, config.model
    knowledge = None
    if model_config.head in KNOWING_HEADS:
        source = model_config.label_embeddings or "sentence"
        knowledge = LabelKnowledge(
            co_occurrence_of(table.targets), label_embeddings(source, labels)
        )
    model = build_model(model_config, len(labels), config.start_from is None, knowledge)
    if config.start_from is None:
        return model
    start = load_checkpoint(config.start_from)
    if start.config.backbone != model_config.backbone:
        raise ConfigError(
            f"start_from {config.start_from} has the backbone {start.config.backbone}; "
            f"expected {model_config.backbone}, the configured one"
        )
    vit = start.model.backbone.vit
    vit.set_input_size(img_size=model_config.image_size)  # resamples the position embeddings
    model.backbone.load_state_dict(start.model.backbone.state_dict())
    of_head = attrgetter("head", "csra_heads")
    if start.labels == labels and of_head(start.config) == of_head(model_config):
        model.head.load_state_dict(start.model.head.state_dict())
    return model


def compile_backbone(model: DiD) -> None:
    """Compile the two ways through the backbone; names of weights stay as they are."""
    model.backbone.compile()
    compiled = torch.compile(type(model.backbone).forward_with_attention)
    object.__setattr__(
        model.backbone,
        "forward_with_attention",
        lambda images: compiled(model.backbone, images),
    )
