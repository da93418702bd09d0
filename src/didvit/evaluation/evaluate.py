"""Evaluation of a model on a data set: what ``didvit.evaluate`` and ``didvit evaluate`` share."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from didvit.config import ConfigError
from didvit.config.presets import EngineName, Preset
from didvit.data.choices import Difficult, Meter, WithoutLabels
from didvit.data.datasets import read_dataset
from didvit.data.reading import read_in_order
from didvit.data.table import DataError, Table
from didvit.evaluation.report import Report, report
from didvit.evaluation.scores import Branches, Scores, collect
from didvit.inference.predictor import Predictor, load


def evaluate(
    model: str | Path | Predictor,
    data: str | Path | Table,
    *,
    preset: Preset | None = None,
    difficult: Difficult = "ignore",
    without_labels: WithoutLabels = "keep",
    meter: Meter = "known",
    resamples: int = 1000,
    batch_size: int = 8,
    workers: int = 0,
    device: Any = None,
    engine: EngineName | None = None,
    passes: float | None = None,
) -> Report:
    """Score a model on labeled images.

    >>> report = evaluate("default", "coco18/test.csv")  # doctest: +SKIP
    >>> report.fusions["mean"].mAP  # doctest: +SKIP
    76.5

    Args:
        model: ``"default"``, a folder that ``didvit train`` wrote, or a model from `load`.
        data: A data set as ``PATH`` or ``PATH:SPLIT``, or a table from `read_dataset` whose labels
            are the model's.
        preset: Settings of the method by name; None is the model's own.
        difficult: VOC's labels with difficult objects alone: unknown, present or absent.
        without_labels: Images without any label: kept or left out.
        meter: Convention of precision and recall: unknown labels do not count, or as in ML-GCN's
            code.
        resamples: Number of resamples of the bootstrap for the intervals of mAP; 0 leaves them out.
        batch_size: Number of images that the network takes at once.
        workers: Number of threads that read images; 0 reads in this one.
        device, engine: Where and by what the model is run, see `load`.
        passes: Forward passes per image, on average, see `Predictor.predict`. None: all views.

    Raises:
        ConfigError: A setting is impossible, or does not go with a model that is loaded already.
        DataError: The data set cannot be used, has other labels, or has no label at all.
        CheckpointError: There is no such model, or it is damaged.
    """
    if isinstance(model, Predictor):
        if preset is not None or device is not None or engine is not None:
            raise ConfigError(
                "the model is loaded already; expected preset, device and engine in 'load'"
            )
        predictor = model
    else:
        predictor = load(model, device, preset, engine)
    if isinstance(data, Table):
        if data.labels != predictor.labels:
            raise DataError(
                f"the table has {len(data.labels)} labels that are not the model's "
                f"{len(predictor.labels)} in their order; read it with read_dataset(data, "
                "model.labels)"
            )
        table, name = data, "the table"
    else:
        table = read_dataset(
            data, predictor.labels, difficult=difficult, without_labels=without_labels
        )
        name = str(data)
    check_labeled(table, name)
    scores = score(predictor, table, batch_size, workers, passes=passes)
    return report(scores, predictor.labels, resamples, meter)


def score(
    predictor: Predictor,
    table: Table,
    batch_size: int = 8,
    workers: int = 0,
    advance: Callable[[int], None] = lambda images: None,
    passes: float | None = None,
) -> Scores:
    """Logits and features of a loaded model on the images of a table.

    Args:
        predictor: The model.
        table: Images with the model's labels, in the model's order.
        batch_size: Number of images that the network takes at once.
        workers: Number of threads that read images; 0 reads in this one.
        advance: Called with the number of images that were just done.
        passes: Forward passes per image, on average, see `Predictor.predict`. None: all views.

    Raises:
        ConfigError: ``batch_size`` is less than 1, or ``passes`` is impossible.
        NonFiniteScoreError, NonFiniteMapError: The weights are damaged.
    """
    return _score(predictor, table.images, table.targets, batch_size, workers, advance, passes)


def score_images(
    predictor: Predictor,
    images: Sequence,
    batch_size: int = 8,
    workers: int = 0,
    advance: Callable[[int], None] = lambda images: None,
) -> Scores:
    """`score` of images of which no label is known: all targets are -1."""
    targets = np.full((len(images), len(predictor.labels)), -1, np.int8)
    return _score(predictor, images, targets, batch_size, workers, advance)


def _score(
    predictor: Predictor,
    images: Sequence,
    targets: np.ndarray,
    batch_size: int,
    workers: int,
    advance: Callable[[int], None],
    passes: float | None = None,
) -> Scores:
    if batch_size < 1:
        raise ConfigError(f"batch_size is {batch_size}; expected 1 or more")
    rng = np.random.default_rng(0)
    budget = predictor.view_budget(passes)

    def run(photographs: Sequence[np.ndarray]) -> Branches:
        output = predictor.run(photographs, rng, budget)
        branches = output.global_logits, output.local_logits
        return Branches(*branches, output.features, output.has_views)

    batches = read_in_order(images, batch_size, workers, predictor.least_size)
    return collect(run, batches, range(len(images)), targets, advance)


def is_labeled(table: Table) -> bool:
    """Whether it is known of any image that it has a label, or that it has it not."""
    return bool((table.targets >= 0).any())


def check_labeled(table: Table, name: str, mend: str = "") -> None:
    """Refuse a table of which nothing is known.

    Raises:
        DataError: No target is known; the message ends with ``mend``.
    """
    if not is_labeled(table):
        raise DataError(
            f"data {name} says of no label whether it is there, so that nothing can be measured"
            f"{mend}"
        )
