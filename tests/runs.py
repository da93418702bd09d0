"""What the tests of training ask of a run, and of its folder."""

import csv
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import safetensors.torch
import torch

from didvit.config import (
    PAPER,
    DataConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    RuntimeConfig,
    ScheduleConfig,
    TrainConfig,
    with_settings,
)
from didvit.data.datasets import read_dataset
from didvit.data.stream import TrainingStream
from didvit.modeling.build import build_model
from didvit.training.observer import TrainingObserver

RESULTS = (
    *("model.safetensors", "config.json", "metrics.json", "last/model.safetensors"),
    *("last/metrics.json", "history.csv", "steps.csv"),
)
"""The files of a run folder that depend on the settings alone."""

MODEL = ModelConfig(
    "test_vit", weights="random", image_size=(32, 48), method=replace(PAPER, top_n=1)
)

Weights = dict[str, torch.Tensor]


GROUPS = ("model", "loss", "schedule", "optimizer", "runtime", "data")

SCHEDULE = ScheduleConfig(steps=4, batch_size=6, single_view_fraction=0.0, evaluate_every=2)


def tiny_config(folder: Path, train: Path, val: Path, workers: int = 0, **settings) -> TrainConfig:
    """A few steps of a tiny model.

    Settings are whole groups (``loss=LossConfig("focal")``), or single ones by name (``steps=2``).
    Those of the head and the method count too; ``optimizer="sgd"`` names the optimizer.
    """
    data = DataConfig((str(train),), str(val), workers=workers)
    groups = {
        **{"data": data, "model": MODEL, "schedule": SCHEDULE},
        **{"runtime": RuntimeConfig(device="cpu")},
    }
    if isinstance(settings.get("optimizer"), str):
        groups["optimizer"] = OptimizerConfig(settings.pop("optimizer"))
    groups |= {name: settings.pop(name) for name in GROUPS if name in settings}
    top = {name: settings.pop(name) for name in TOP if name in settings}
    parts = {"schedule": SCHEDULE, "optimizer": OptimizerConfig(), "loss": LossConfig()} | groups
    for name, part in parts.items():
        own = {field for field in settings if field in setting_names(part)}
        groups[name] = with_settings(part, {field: settings.pop(field) for field in own})
    assert not settings, settings
    return TrainConfig(output=folder, **groups, **top)


def changed(config: TrainConfig, **settings) -> TrainConfig:
    """A configuration with other groups, or single settings by name."""
    groups = {name: settings.pop(name) for name in GROUPS if name in settings}
    return with_settings(replace(config, **groups), settings)


TOP = ("start_from", "choose", "resume", "seed", "init_seed")


def setting_names(config) -> set[str]:
    """Names of all single settings of a configuration."""
    values = {field.name: getattr(config, field.name) for field in fields(config)}
    groups = [value for value in values.values() if is_dataclass(value)]
    return {*values}.union(*map(setting_names, groups))


class Record(TrainingObserver):
    """Everything that an observer is told."""

    def __init__(self):
        self.calls = []

    def start(self, num_images, num_labels, num_validation, step):
        self.calls.append(("start", num_images, num_labels, num_validation, step))

    def step(self, step, loss, learning_rate, images):
        self.calls.append(("step", step, loss, learning_rate, images))

    def evaluation(self, step, result, best):
        self.calls.append(("evaluation", step, result, best))

    def note(self, message):
        self.calls.append(("note", message))

    def warn(self, message):
        self.calls.append(("warn", message))

    def of(self, kind):
        return [call[1:] for call in self.calls if call[0] == kind]

    @property
    def losses(self):
        return [loss for _, loss, *_ in self.of("step")]


def results_of(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in RESULTS}


def weights_of(folder: Path) -> Weights:
    return safetensors.torch.load_file(folder / "model.safetensors")


def start_weights(config: TrainConfig, num_labels: int = 3) -> Weights:
    torch.manual_seed(config.seed)
    return build_model(config.model, num_labels).state_dict()


def equal(a: Weights, b: Weights) -> bool:
    assert a.keys() == b.keys()
    return all(torch.equal(a[name], b[name]) for name in a)


def assert_near(a: Weights, b: Weights, atol: float) -> None:
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], atol=atol, rtol=0, msg=name)


def distance_from_head(name: str, depth: int) -> int:
    """Blocks between a parameter of `DiD` and the head; the last block is beside it."""
    part = name.removeprefix("backbone.vit.")
    if part.startswith("blocks."):
        return depth - 1 - int(part.split(".")[1])
    return 0 if part.startswith(("head.", "norm.", "fc_norm.")) else depth


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_table(path: Path, *rows: str, header: str = "image,labels") -> Path:
    path.write_text("\n".join((header, *rows)) + "\n")
    return path


def first_batch(config: TrainConfig) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Images and targets of the first batch, read without the stream's loader."""
    table = read_dataset(Path(config.data.train[0]))
    stream = TrainingStream(table, config.seed, config.data.augmentation)
    items = [stream[position] for position in range(config.schedule.batch_size)]
    return [source for source, *_ in items], torch.stack([target for _, target, *_ in items])
