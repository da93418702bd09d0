"""Multi-label image recognition with Diverse Instance Discovery (DiD, ICME 2022).

>>> import didvit
>>> model = didvit.load("default")          # doctest: +SKIP
>>> print(model.predict("photo.jpg").labels)  # doctest: +SKIP
"""

import importlib
import importlib.metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from didvit.config import ConfigError, DataConfig, LossConfig, ModelConfig, TrainConfig
    from didvit.data.images import ImageError
    from didvit.data.table import DataError
    from didvit.inference import Predictor, load
    from didvit.prediction import Failure, Label, Prediction, Region
    from didvit.training import train

__all__ = [
    "ConfigError",
    "DataConfig",
    "DataError",
    "Failure",
    "ImageError",
    "Label",
    "LossConfig",
    "ModelConfig",
    "Prediction",
    "Predictor",
    "Region",
    "TrainConfig",
    "load",
    "train",
]

_HOMES = {
    "ConfigError": "config",
    "DataConfig": "config",
    "DataError": "data.table",
    "ImageError": "data.images",
    "LossConfig": "config",
    "ModelConfig": "config",
    "Predictor": "inference",
    "TrainConfig": "config",
    "load": "inference",
    "train": "training",
}


def __getattr__(name: str):
    if name == "__version__":
        return importlib.metadata.version("didvit")
    # Imported when first asked for: torch takes seconds, and 'didvit --help' does not need it.
    if name not in __all__:
        raise AttributeError(f"module 'didvit' has no attribute {name!r}")
    return getattr(importlib.import_module(f"didvit.{_HOMES.get(name, 'prediction')}"), name)
