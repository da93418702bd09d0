"""Where the parts meet: a configuration becomes a model."""

from torch import nn

from didvit.config import ModelConfig
from didvit.heads import HEADS, KNOWING_HEADS, LabelKnowledge
from didvit.hypotheses import LOCALIZERS
from didvit.method import DiD
from didvit.weights import build_backbone

MS_CMA_LEVELS = 3
"""Blocks of the backbone that the ms_cma head looks at."""


def build_model(
    config: ModelConfig,
    num_categories: int,
    pretrained: bool = True,
    knowledge: LabelKnowledge | None = None,
) -> DiD:
    """The model that a configuration describes, with a new head.

    Args:
        config: Backbone and method; of ``top_n`` categories, no more than there are.
        num_categories: Labels that the head tells apart.
        pretrained: Load the weights that ``config.weights`` names; False leaves them random, for a
            caller that loads a checkpoint.
        knowledge: Of the labels, for the heads in `KNOWING_HEADS`; the others ignore it.

    Raises:
        WeightsError, UnsupportedBackboneError: Of the backbone.
    """
    weights = config.weights if pretrained else "random"
    levels = MS_CMA_LEVELS if config.head == "ms_cma" else 1
    backbone = build_backbone(config.backbone, weights, config.image_size, levels)
    return DiD(
        backbone,
        _build_head(config, backbone.embed_dim, num_categories, knowledge),
        top_n=min(config.top_n, num_categories),
        box_threshold=config.box_threshold,
        selection=config.selection,
        normalization=config.normalization,
        reconstraint=config.reconstraint,
        localization=LOCALIZERS[config.localization],
        crop_from=config.crop_from,
        fusion=config.fusion,
        rollout_order=config.rollout_order,
        box_padding=config.box_padding,
        view_scale=config.view_scale,
        tiles=config.tiles,
    )


def _build_head(
    config: ModelConfig, embed_dim: int, num_categories: int, knowledge: LabelKnowledge | None
) -> nn.Module:
    if config.head in KNOWING_HEADS:
        assert knowledge is not None
        settings = {"num_scales": MS_CMA_LEVELS} if config.head == "ms_cma" else {}
        return KNOWING_HEADS[config.head](embed_dim, knowledge, **settings)
    settings = {"num_heads": config.csra_heads, "attention_weight": config.csra_weight}
    chosen = {name: value for name, value in settings.items() if value is not None}
    return HEADS[config.head](embed_dim, num_categories, **chosen)
