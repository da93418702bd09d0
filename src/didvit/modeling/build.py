"""From a configuration to a model: the one place where the parts meet."""

from torch import nn

from didvit.config import ModelConfig
from didvit.heads import HEADS, LabelStatistics
from didvit.heads.hcp import LOCALIZERS
from didvit.method.model import DiD
from didvit.modeling.backbones import build_backbone


def build_model(
    config: ModelConfig,
    num_categories: int,
    pretrained: bool = True,
    statistics: LabelStatistics | None = None,
) -> DiD:
    """Build the model that a configuration describes, with a new head.

    Args:
        config: Configuration. Where there are fewer categories than ``top_n``, each gets a box.
        num_categories: Number of labels.
        pretrained: Load the weights that ``config.weights`` names. False leaves them random, for a
            caller that loads a checkpoint.
        statistics: Statistics of the labels, for heads that need them. Others ignore them.

    Raises:
        WeightsError, UnsupportedBackboneError: The backbone cannot be built.
    """
    weights = config.weights if pretrained else "random"
    levels = HEADS[config.head].num_levels
    backbone = build_backbone(config.backbone, weights, config.image_size, levels)
    head = _build_head(config, backbone.embed_dim, num_categories, statistics)
    model = DiD(backbone, head, config.method, localize=LOCALIZERS[config.method.localization])
    return model.with_top_n(min(config.method.top_n, num_categories))


def _build_head(
    config: ModelConfig, embed_dim: int, num_categories: int, statistics: LabelStatistics | None
) -> nn.Module:
    kind = HEADS[config.head]
    settings = {"num_heads": config.csra_heads, "attention_weight": config.csra_weight}
    chosen = {name: value for name, value in settings.items() if value is not None}
    if kind.needs_label_statistics:
        assert statistics is not None
        return kind(embed_dim, statistics, **chosen)
    return kind(embed_dim, num_categories, **chosen)
