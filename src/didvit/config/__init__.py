"""Configurations: frozen values that are checked when they are made.

    model.py          the model: backbone, head, and the method's `DiDConfig`
    training.py       a training run, in groups
    presets.py        settings of the method by name
    recipes.py        complete training runs by name
    checks.py         checks of types and ranges, for every configuration
    serialization.py  to JSON values and back

A configuration comes from a recipe, the command line (flags and help come from these classes) or a
``config.json``. ``didvit.modeling`` builds a model from it, ``didvit.training`` runs it, and every
model and run folder keeps it.

Imports ``didvit.method.config`` and ``didvit.data.choices`` alone, and no PyTorch.
"""

from didvit.config.model import HeadName, ModelConfig
from didvit.config.training import (
    DataConfig,
    LossConfig,
    OptimizerConfig,
    RuntimeConfig,
    ScheduleConfig,
    TrainConfig,
    with_settings,
)
from didvit.method.config import DIDVIT, PAPER, ConfigError, DiDConfig

__all__ = [
    "DIDVIT",
    "PAPER",
    "ConfigError",
    "DataConfig",
    "DiDConfig",
    "HeadName",
    "LossConfig",
    "ModelConfig",
    "OptimizerConfig",
    "RuntimeConfig",
    "ScheduleConfig",
    "TrainConfig",
    "with_settings",
]
