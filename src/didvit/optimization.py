"""What learns, how fast, and by which rule."""

import math
from typing import Any

from timm.optim._param_groups import param_groups_layer_decay
from torch.optim import SGD, AdamW, Optimizer

from didvit.config import ConfigError, TrainConfig
from didvit.method import DiD


def freeze(model: DiD, config: TrainConfig) -> None:
    """Stop the gradient of what stays as it is.

    Raises:
        ConfigError: More blocks are to be frozen than there are.
    """
    vit = model.backbone.vit
    if config.freeze_blocks > len(vit.blocks):
        raise ConfigError(
            f"freeze_blocks is {config.freeze_blocks}; expected at most {len(vit.blocks)}, "
            "the backbone's number of blocks"
        )
    model.backbone.requires_grad_(not config.freeze_backbone)
    if vit.attn_pool is not None:
        vit.attn_pool.requires_grad_(False)  # of SigLIP's: nothing here runs it
    if config.freeze_blocks:
        vit.requires_grad_(False)
        for part in (*vit.blocks[config.freeze_blocks :], vit.norm, vit.fc_norm):
            part.requires_grad_(True)


def build_optimizer(model: DiD, config: TrainConfig) -> Optimizer:
    """SGD with momentum (the paper's) or AdamW, over what is not frozen.

    Every group of parameters has a ``lr_scale``: its learning rate as a part of the schedule's.
    """
    rate = peak_learning_rate(config)
    groups = parameter_groups(model, config)
    if config.optimizer == "sgd":
        momentum = 0.9 if config.momentum is None else config.momentum
        return SGD(groups, rate, momentum=momentum, weight_decay=config.weight_decay)
    # Fused, it passes over memory once; but it cannot work with gradients that fp16 has scaled.
    fused = config.precision != "fp16-mixed"
    return AdamW(groups, rate, weight_decay=config.weight_decay, fused=fused)


def parameter_groups(model: DiD, config: TrainConfig) -> list[dict[str, Any]]:
    """What is not frozen, by layer, with the part of the learning rate that each layer gets.

    The final norm's and the last block's part is 1, that of the block before is ``layer_decay``, of
    the one before that ``layer_decay²``, down to the patch embedding; the head's is ``head_rate``.
    AdamW does not decay biases, norms and tokens; SGD, as the paper has it, decays all.
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
        groups.append({"params": params, "lr_scale": config.head_rate, "weight_decay": decay})
    if config.optimizer == "sgd":
        groups = [group | {"weight_decay": weight_decay} for group in groups]
    return [group for group in groups if group["params"]]


def peak_learning_rate(config: TrainConfig) -> float:
    """The configured rate, or the optimizer's usual one for what is trained."""
    if config.learning_rate is not None:
        return config.learning_rate
    if config.optimizer == "sgd":
        return 0.05
    return 1e-2 if config.freeze_backbone else 3e-4


def schedule(step: int, config: TrainConfig) -> float:
    """Learning rate of a step (from 0): linear warm-up, then cosine to 0."""
    peak = peak_learning_rate(config)
    warmup_steps = round(config.warmup * config.steps)
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(config.steps - warmup_steps, 1)
    return peak * (1 + math.cos(math.pi * done)) / 2


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Give every group its part of the rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]
