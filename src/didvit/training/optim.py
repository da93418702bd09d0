"""What learns, how fast, and by which rule."""

import math
from typing import Any

from timm.optim import param_groups_layer_decay
from torch.optim import SGD, AdamW, Optimizer

from didvit.config import ConfigError, OptimizerConfig, TrainConfig
from didvit.method.model import DiD


def freeze(model: DiD, config: OptimizerConfig) -> None:
    """Turn off the gradient of the parameters that do not learn.

    Raises:
        ConfigError: ``freeze_blocks`` exceeds the backbone's number of blocks.
    """
    vit = model.backbone.vit
    if config.freeze_blocks > len(vit.blocks):
        raise ConfigError(
            f"freeze_blocks is {config.freeze_blocks}; expected at most {len(vit.blocks)}, "
            "the backbone's number of blocks"
        )
    model.backbone.requires_grad_(not config.freeze_backbone)
    if vit.attn_pool is not None:
        vit.attn_pool.requires_grad_(False)  # SigLIP's pooling, which nothing here runs
    if config.freeze_blocks:
        vit.requires_grad_(False)
        for part in (*vit.blocks[config.freeze_blocks :], vit.norm, vit.fc_norm):
            part.requires_grad_(True)


def build_optimizer(model: DiD, config: TrainConfig) -> Optimizer:
    """Build SGD with momentum (the paper's) or AdamW, over the parameters that learn.

    Every group of parameters has a ``lr_scale``: its learning rate as a multiple of the schedule's.
    """
    settings = config.optimizer
    rate = peak_learning_rate(settings)
    groups = parameter_groups(model, settings)
    if settings.name == "sgd":
        momentum = 0.9 if settings.momentum is None else settings.momentum
        return SGD(groups, rate, momentum=momentum, weight_decay=settings.weight_decay)
    # Fused, it passes over memory once; but it cannot work with gradients that fp16 has scaled.
    fused = config.runtime.precision != "fp16-mixed"
    return AdamW(groups, rate, weight_decay=settings.weight_decay, fused=fused)


def parameter_groups(model: DiD, config: OptimizerConfig) -> list[dict[str, Any]]:
    """Group the parameters that learn by layer, with each layer's learning-rate scale.

    The scale of the final norm and the last block is 1. Each block before has ``layer_decay`` times
    the scale of the next, down to the patch embedding. The head's scale is ``head_lr_scale``.
    AdamW does not decay biases, norms and tokens; SGD, as in the paper, decays all.
    """
    vit, weight_decay = model.backbone.vit, config.weight_decay
    head = [parameter for parameter in model.head.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = param_groups_layer_decay(
        vit,
        weight_decay=weight_decay,
        no_weight_decay_list=vit.no_weight_decay(),
        layer_decay=config.layer_decay,
    )
    for params, decay in (
        ([p for p in head if p.ndim > 1], weight_decay),
        ([p for p in head if p.ndim <= 1], 0.0),
    ):
        groups.append({"params": params, "lr_scale": config.head_lr_scale, "weight_decay": decay})
    if config.name == "sgd":
        groups = [group | {"weight_decay": weight_decay} for group in groups]
    return [group for group in groups if group["params"]]


def peak_learning_rate(config: OptimizerConfig) -> float:
    """Peak of the learning rate: the configured one, or the optimizer's default.

    >>> peak_learning_rate(OptimizerConfig("sgd"))
    0.05
    """
    if config.learning_rate is not None:
        return config.learning_rate
    if config.name == "sgd":
        return 0.05
    return 1e-2 if config.freeze_backbone else 3e-4


def learning_rate(step: int, config: TrainConfig) -> float:
    """Learning rate of a step (from 0): linear warm-up, then cosine to 0."""
    peak, steps = peak_learning_rate(config.optimizer), config.schedule.steps
    warmup_steps = round(config.schedule.warmup * steps)
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(steps - warmup_steps, 1)
    return peak * (1 + math.cos(math.pi * done)) / 2


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Set every group's learning rate to its multiple of the rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]
