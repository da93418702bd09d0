"""Every choice is written once as a `Literal`, and names what a dict holds."""

from typing import get_args

import pytest

from didvit.config.model import HeadName
from didvit.config.presets import PRESETS, Preset
from didvit.config.training import LossName, Precision
from didvit.data.choices import Augmentation
from didvit.data.transforms import TRAIN_TRANSFORMS
from didvit.heads import HEADS
from didvit.heads.hcp import LOCALIZERS
from didvit.method.config import (
    Fusion,
    Localization,
    Normalization,
    ReconstraintName,
    RolloutOrder,
    Selection,
)
from didvit.method.model import FUSIONS
from didvit.method.reconstraint import RECONSTRAINTS
from didvit.method.rollout import NORMALIZATIONS, ORDERS
from didvit.method.selection import SELECTORS
from didvit.training.distributed import FABRIC_PRECISIONS
from didvit.training.losses import LOSSES


@pytest.mark.parametrize(
    ("literal", "values"),
    [
        (Selection, SELECTORS),
        (Normalization, NORMALIZATIONS),
        (RolloutOrder, ORDERS),
        (ReconstraintName, RECONSTRAINTS),
        (Localization, LOCALIZERS),
        (Fusion, FUSIONS),
        (HeadName, HEADS),
        (LossName, LOSSES),
        (Augmentation, TRAIN_TRANSFORMS),
        (Precision, FABRIC_PRECISIONS),
        (Preset, PRESETS),
    ],
)
def test_choices_are_the_keys(literal, values):
    assert sorted(get_args(literal)) == sorted(values)
