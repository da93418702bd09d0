import dataclasses
import math
from pathlib import Path

import pytest

from didvit.config import (
    ConfigError,
    DataConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    RuntimeConfig,
    ScheduleConfig,
    TrainConfig,
)
from didvit.config.checks import expect

DATA = DataConfig(train=("a.csv",), val="b.csv")


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (ModelConfig, {"backbone": 5}, "backbone is 5; expected a text"),
        (ModelConfig, {"csra_heads": "4"}, "csra_heads is '4'; expected a whole number or none"),
        (ModelConfig, {"image_size": [9, 9]}, "[9, 9]; expected a tuple, of a whole number each"),
        (TrainConfig, {"data": DATA, "output": "runs/a"}, "output is 'runs/a'; expected a Path"),
        (TrainConfig, {"data": None, "output": Path("r")}, "data is None; expected a DataConfig"),
        (DataConfig, {"train": "train.csv", "val": "v"}, "train is 'train.csv'; expected a tuple"),
        (DataConfig, {"train": (1,), "val": "v"}, "train is (1,); expected a tuple, of a text"),
        (LossConfig, {"global_weight": None}, "global_weight is None; expected a finite number"),
        (LossConfig, {"global_weight": True}, "global_weight is True; expected a finite number"),
        (LossConfig, {"local_weight": math.inf}, "local_weight is inf; expected a finite number"),
        (LossConfig, {"local_weight": 10**400}, "000; expected a finite number"),
        (LossConfig, {"name": "hinge"}, "'hinge'; expected soft_margin or focal or asymmetric"),
        (ScheduleConfig, {"steps": 10.0}, "steps is 10.0; expected a whole number"),
        (ScheduleConfig, {"steps": True}, "steps is True; expected a whole number"),
        (ScheduleConfig, {"small_size": 56}, "small_size is 56; expected a tuple"),
        (OptimizerConfig, {"learning_rate": "0.1"}, "expected a finite number or none"),
        (OptimizerConfig, {"learning_rate": math.nan}, "learning_rate is nan; expected a finite"),
        (OptimizerConfig, {"freeze_backbone": 0}, "freeze_backbone is 0; expected a bool"),
        (RuntimeConfig, {"device": None}, "device is None; expected a text"),
    ],
)
def test_values_of_another_type(kind, settings, message):
    with pytest.raises(ConfigError) as caught:
        kind(**settings)
    assert message in str(caught.value)
    assert str(caught.value).split()[0] in settings


def test_whole_numbers_are_numbers():
    assert LossConfig(global_weight=2).global_weight == 2
    assert OptimizerConfig(learning_rate=None, clip_norm=1).clip_norm == 1


def test_a_condition_names_setting_value_and_what_was_expected():
    @dataclasses.dataclass
    class Config:
        speed: int = 9

    expect(True, Config(), "speed", "less")
    with pytest.raises(ConfigError, match=r"^speed is 9; expected less$"):
        expect(False, Config(), "speed", "less")
