"""From photographs and targets to the loss, as one module."""

import math
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from didvit.config import TrainConfig
from didvit.method.localization import NonFiniteMapError
from didvit.method.model import DiD, multi_view_loss
from didvit.method.views import resize_whole
from didvit.modeling.checkpoint import Checkpoint
from didvit.training.losses import LOSSES, masked_mean


class Learner(nn.Module):
    """The loss of a batch of photographs: everything that is trained, as one module.

    Args:
        model: The model to train.
        config: Its loss, sizes, and the steps at which these change are used.
        positive_weights: Weight of each label's positives; None is 1.
        teacher: A trained model for distillation. It is no part of this module's state, and moves
            to the device of the images.
    """

    def __init__(
        self,
        model: DiD,
        config: TrainConfig,
        positive_weights: Tensor | None = None,
        teacher: Checkpoint | None = None,
    ):
        super().__init__()
        self.model = model
        self.config = config
        self.register_buffer("positive_weights", positive_weights, persistent=False)
        self._teacher = (teacher,)  # in a tuple, so that it is no submodule

    def forward(self, sources: list[Tensor], targets: Tensor, step: int, part: int = 0) -> Tensor:
        """Compute the loss of a batch, or of a part of it; NaN where the maps are not finite.

        Random selection and localization depend on (seed, step, part) alone.
        """
        config = self.config
        is_small = step < config.schedule.small_steps
        size = small_size(config, self.model) if is_small else config.model.image_size
        images = resize_whole(sources, size)
        generator = torch.Generator().manual_seed(seed_of(config.seed, 0, step, part))
        model = self.model.with_top_n(0) if step < config.schedule.single_view_steps else self.model
        try:
            output = model(images, sources, generator)
        except NonFiniteMapError:
            return images.new_tensor(math.nan)
        weights = config.loss.global_weight, config.loss.local_weight
        loss = multi_view_loss(output, targets, self.branch_loss, *weights)
        if self._teacher[0] is None:
            return loss
        share, hard = config.loss.teacher_weight, self.branch_loss(output.global_logits, targets)
        soft = self._soft_loss(output.global_logits, sources, generator)
        return loss + weights[0] * share * (soft - hard)

    def _soft_loss(
        self, logits: Tensor, sources: list[Tensor], generator: torch.Generator
    ) -> Tensor:
        """Cross-entropy with the teacher's fused prediction on the same images as the target."""
        teacher = cast(Checkpoint, self._teacher[0])
        model = teacher.model.to(logits.device)
        with torch.no_grad():
            images = resize_whole(sources, teacher.config.image_size)
            targets = model(images, sources, generator).logits.float().sigmoid()
        return F.binary_cross_entropy_with_logits(logits.float(), targets)

    def branch_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The configured loss of one branch."""
        weights = cast("Tensor | None", self.positive_weights)
        return masked_mean(LOSSES[self.config.loss.name], logits, targets, weights)


def small_size(config: TrainConfig, model: DiD) -> tuple[int, int]:
    """Height and width of the input in small steps: as configured, or half in whole patches."""
    return config.schedule.small_size or model.backbone.scaled_size(config.model.image_size, 0.5)


def seed_of(*numbers: int) -> int:
    """Mix several numbers into a seed of 32 bits, all that torch's CPU generator uses."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def compile_backbone(model: DiD) -> None:
    """Compile both forward passes of the backbone. Names of weights do not change."""
    model.backbone.compile()
    compiled = torch.compile(type(model.backbone).forward_with_attention)
    object.__setattr__(
        model.backbone,
        "forward_with_attention",
        lambda images: compiled(model.backbone, images),
    )
