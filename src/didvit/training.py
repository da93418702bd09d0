"""The step loop: from a configuration to a run folder."""

import csv
import importlib.metadata
import math
import platform
from pathlib import Path

import torch
from torch import Tensor
from torch.optim import SGD, AdamW, Optimizer

from didvit.checkpoint import save_checkpoint
from didvit.config import ConfigError, TrainConfig, build_model, to_json
from didvit.data.stream import TrainingStream
from didvit.data.table import DataError, read_table
from didvit.evaluation import Report, report, score_table
from didvit.files import whole_file, write_json
from didvit.inference import choose_device
from didvit.method import DiD, multi_view_loss, resize_whole
from didvit.method.localization import NonFiniteMapError


class TrainingError(ValueError):
    """The run cannot go on; the message says where it stopped and what is likely to help."""


class TrainingObserver:
    """Is told how a run goes; this one does nothing with it."""

    def start(self, num_images: int, num_labels: int, num_validation: int) -> None:
        """The data are read; the first batch is next."""

    def step(self, step: int, loss: float, learning_rate: float, images: int) -> None:
        """A step is done: its number from 1, its loss, learning rate and images."""

    def evaluation(self, step: int, result: Report, best: bool) -> None:
        """The validation data were scored after a step; ``best`` of all so far."""

    def warn(self, message: str) -> None:
        """Something was passed over."""


def train(config: TrainConfig, observer: TrainingObserver | None = None) -> Path:
    """Train a model and write its run folder, a model folder with the run's records beside.

    ``config.json`` and ``model.safetensors`` hold the weights of the step that scored best on the
    validation data (mAP of the configured fusion; of equals, the first), ``train.json`` the
    settings and versions, ``history.csv`` loss and validation mAP over the steps, ``metrics.json``
    the validation report of the best step.

    Returns:
        The run folder.

    Raises:
        ConfigError: A setting is impossible, or the folder holds a model already.
        DataError: The tables cannot be used.
        TrainingError: The loss is no longer finite.
    """
    observer = observer or TrainingObserver()
    if config.output.exists() and not config.output.is_dir():
        raise ConfigError(f"output {config.output} is a file; expected a folder")
    if (config.output / "config.json").exists():
        raise ConfigError(f"output {config.output} holds a model already; choose another folder")
    table = read_table(config.data.train)
    validation = read_table(config.data.val, table.labels)
    if not validation.targets.any():
        raise DataError(f"{config.data.val}: no image has a label, so that nothing can be chosen")
    shared = set(map(Path.resolve, table.images)) & set(map(Path.resolve, validation.images))
    if shared:
        raise ConfigError(
            f"data.val shares {len(shared)} images with data.train, for example {min(shared)}; "
            "expected images that are not learned from"
        )
    torch.manual_seed(config.seed)
    device = choose_device(config.device)
    model = build_model(config.model, len(table.labels)).to(device)
    model.backbone.requires_grad_(not config.freeze_backbone)
    optimizer = build_optimizer(model, config)
    frozen_embedded = config.freeze_backbone and config.model.weights == "embedded"
    write_json(config.output / "train.json", to_json(config) | {"versions": versions()})

    observer.start(len(table), len(table.labels), len(validation))
    stream = TrainingStream(table, config.seed, config.train_transform == "multi_scale_crop")
    batches = stream.batches(0, config.steps, config.batch_size, config.data.workers)
    history: list[dict[str, float]] = []
    best, loss_sum, loss_steps = -math.inf, 0.0, 0
    for step, batch in enumerate(batches):
        for failure in batch.failures:
            observer.warn(f"{failure}; another image took its place")
        learning_rate = schedule(step, config)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        model.train()
        model.backbone.train(not config.freeze_backbone)
        try:
            loss = training_step(model, batch.sources, batch.targets, config, step)
        except NonFiniteMapError:
            loss = torch.tensor(math.nan)
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingError(
                f"the loss is {value} at step {step + 1}: lower learning_rate "
                f"(now {learning_rate:.2g}) or look at the images of this batch"
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        loss_sum, loss_steps = loss_sum + value, loss_steps + 1
        observer.step(step + 1, value, learning_rate, len(batch.sources))

        if (step + 1) % config.evaluate_every == 0 or step + 1 == config.steps:
            scores = score_table(model, validation, config.model.image_size, device)
            result = report(scores, table.labels)
            score = result.fusions[config.model.fusion].mAP
            is_best = score > best or not history
            if is_best:
                best = score
                save_checkpoint(
                    config.output, model, table.labels, config.model, not frozen_embedded
                )
                content = {"step": step + 1, **result.to_dict()}
                write_json(config.output / "metrics.json", content)
            row = {"step": step + 1, "loss": loss_sum / loss_steps, "learning_rate": learning_rate}
            history.append(row | {f"val_{k}": v.mAP for k, v in result.fusions.items()})
            _write_history(config.output / "history.csv", history)
            loss_sum, loss_steps = 0.0, 0
            observer.evaluation(step + 1, result, is_best)
    return config.output


def training_step(
    model: DiD, sources: list[Tensor], targets: Tensor, config: TrainConfig, step: int
) -> Tensor:
    """The loss of one batch, of both branches once the global steps are done.

    Random strategies draw from (seed, step).
    """
    device = next(model.parameters()).device
    sources = [source.to(device) for source in sources]
    generator = torch.Generator().manual_seed(config.seed * 2**32 + step)
    if step < config.global_steps:
        model = model.with_top_n(0)
    output = model(resize_whole(sources, config.model.image_size), sources, generator)
    return multi_view_loss(output, targets.to(device))


def peak_learning_rate(config: TrainConfig) -> float:
    """The configured rate, or the optimizer's usual one for what is trained."""
    if config.learning_rate is not None:
        return config.learning_rate
    if config.optimizer == "sgd":
        return 0.05
    return 1e-2 if config.freeze_backbone else 1e-4


def schedule(step: int, config: TrainConfig) -> float:
    """Learning rate of a step (from 0): linear warm-up, then cosine to 0."""
    peak = peak_learning_rate(config)
    warmup_steps = round(config.warmup * config.steps)
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(config.steps - warmup_steps, 1)
    return peak * (1 + math.cos(math.pi * done)) / 2


def build_optimizer(model: DiD, config: TrainConfig) -> Optimizer:
    """SGD with momentum (the paper's) or AdamW, over what is not frozen."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    rate = peak_learning_rate(config)
    if config.optimizer == "sgd":
        momentum = 0.9 if config.momentum is None else config.momentum
        return SGD(parameters, rate, momentum=momentum, weight_decay=config.weight_decay)
    return AdamW(parameters, rate, weight_decay=config.weight_decay)


def versions() -> dict[str, str]:
    """What a result depends on besides its settings."""
    packages = ("didvit", "torch", "torchvision", "timm", "numpy", "opencv-python-headless")
    return {
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        **{name: _version(name) for name in packages},
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed as such"  # another package may bring the same module


def _write_history(path: Path, history: list[dict[str, float]]) -> None:
    with whole_file(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(history[0]))
        writer.writeheader()
        writer.writerows(history)
