"""Multi-label image recognition with Diverse Instance Discovery (DiD, ICME 2022).

>>> import didvit
>>> model = didvit.load("default")          # doctest: +SKIP
>>> print(model.predict("photo.jpg").labels)  # doctest: +SKIP

The names in ``__all__`` are the public API. Each is imported when it is first asked for: PyTorch
takes seconds, and ``didvit --help`` does not need it.

The packages, from the bottom up; a package imports only what stands below it:

    method                              the paper
    files, devices, environment         small things that every package may use
    data, heads                         data sets and images; the compared systems
    config                              settings of models and training runs
    modeling                            from settings to a model, to disk and back
    inference                           photographs in, predictions out
    evaluation                          metrics, reports, submissions
    training                            the loop around a model
    inspection, experiments             checks of data sets; the paper's tables
    cli                                 the command
"""

import importlib
import importlib.metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from didvit.config import (
        ConfigError,
        DataConfig,
        DiDConfig,
        LossConfig,
        ModelConfig,
        OptimizerConfig,
        RuntimeConfig,
        ScheduleConfig,
        TrainConfig,
    )
    from didvit.data.datasets import read_dataset
    from didvit.data.images import ImageError
    from didvit.data.table import DataError, Table
    from didvit.evaluation.evaluate import evaluate
    from didvit.evaluation.report import Report
    from didvit.inference.prediction import Failure, Label, Prediction, Region
    from didvit.inference.predictor import Predictor, load
    from didvit.method.model import DiD
    from didvit.modeling.backbones import WeightsError
    from didvit.modeling.checkpoint import CheckpointError
    from didvit.training.trainer import TrainingError, train

_HOMES = {
    "CheckpointError": "modeling.checkpoint",
    "ConfigError": "config",
    "DataConfig": "config",
    "DataError": "data.table",
    "DiD": "method.model",
    "DiDConfig": "config",
    "Failure": "inference.prediction",
    "ImageError": "data.images",
    "Label": "inference.prediction",
    "LossConfig": "config",
    "ModelConfig": "config",
    "OptimizerConfig": "config",
    "Prediction": "inference.prediction",
    "Predictor": "inference.predictor",
    "Region": "inference.prediction",
    "Report": "evaluation.report",
    "RuntimeConfig": "config",
    "ScheduleConfig": "config",
    "Table": "data.table",
    "TrainConfig": "config",
    "TrainingError": "training.trainer",
    "WeightsError": "modeling.backbones",
    "evaluate": "evaluation.evaluate",
    "load": "inference.predictor",
    "read_dataset": "data.datasets",
    "train": "training.trainer",
}

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataConfig",
    "DataError",
    "DiD",
    "DiDConfig",
    "Failure",
    "ImageError",
    "Label",
    "LossConfig",
    "ModelConfig",
    "OptimizerConfig",
    "Prediction",
    "Predictor",
    "Region",
    "Report",
    "RuntimeConfig",
    "ScheduleConfig",
    "Table",
    "TrainConfig",
    "TrainingError",
    "WeightsError",
    "evaluate",
    "load",
    "read_dataset",
    "train",
]


def __getattr__(name: str):
    if name == "__version__":
        return importlib.metadata.version("didvit")
    if name not in _HOMES:
        raise AttributeError(f"module 'didvit' has no attribute {name!r}")
    return getattr(importlib.import_module(f"didvit.{_HOMES[name]}"), name)
