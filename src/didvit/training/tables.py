"""The tables of a run, and the resolution that its photographs are read at."""

import math
from typing import Any, cast

from didvit.config import ConfigError, DataConfig, ModelConfig, TrainConfig
from didvit.data.datasets import read_datasets
from didvit.data.table import DataError, Table


def read_tables(data: DataConfig) -> tuple[Table, Table]:
    """Read the tables of training and validation, with the same labels.

    Raises:
        ConfigError: They share images.
        DataError: A data set cannot be used, or validation has no label at all.
    """
    specs = [str(data.root / spec) if data.root else spec for spec in (*data.train, data.val)]
    policies = {"difficult": data.difficult, "without_labels": data.without_labels}
    table = read_datasets(specs[:-1], **cast(Any, policies))
    validation = read_datasets(specs[-1:], table.labels, **cast(Any, policies))
    for name, of_name in ((", ".join(data.train), table), (data.val, validation)):
        if not (of_name.targets == 1).any():
            raise DataError(f"{name}: no image has a label")
    learned, scored = ({str(image.resolve()) for image in t.images} for t in (table, validation))
    shared = learned & scored
    if shared:
        raise ConfigError(
            f"data.val shares {len(shared)} images with data.train, for example {min(shared)}; "
            "expected images that are not learned from"
        )
    return table, validation


def least_source_size(config: TrainConfig, teacher: ModelConfig | None = None) -> tuple[int, int]:
    """Height and width that a photograph needs for its crops to fill the network's input.

    These are twice the input's, as crops have half a side or more. Where views are cut from the
    crops, they are twice that, times ``view_scale``. A teacher's input and views count too.
    """
    learns_views = config.schedule.single_view_steps < config.schedule.steps
    height, width = _source_size(config.model, learns_views)
    if teacher is None:
        return height, width
    of_teacher = _source_size(teacher, sees_views=True)
    return max(height, of_teacher[0]), max(width, of_teacher[1])


def _source_size(model: ModelConfig, sees_views: bool) -> tuple[int, int]:
    method = model.method
    cuts = sees_views and method.top_n and method.crop_from == "raw"
    factor = 2 * max(2 * method.view_scale, 1) if cuts else 2
    height, width = model.image_size
    return math.ceil(factor * height), math.ceil(factor * width)
