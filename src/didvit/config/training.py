"""The training configuration, in groups: data, model, loss, schedule, optimizer, runtime."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tyro

from didvit.config.checks import ConfigError, check_types, expect
from didvit.config.model import ModelConfig
from didvit.data.choices import Augmentation, Difficult, WithoutLabels

Config = TypeVar("Config")
LossName = Literal["soft_margin", "focal", "asymmetric"]
Precision = Literal["fp32", "bf16-mixed", "fp16-mixed"]


@dataclass(frozen=True)
class DataConfig:
    """The data sets. Each is a path, with ':SPLIT' behind it where the format has splits (VOC,
    COCO, ...). The documentation lists the formats."""

    train: tuple[str, ...]
    """One or more data sets to learn from."""
    val: str
    """The data set that evaluations score. With --choose best, it chooses the weights."""
    root: Path | None = None
    """The folder that the paths above are relative to."""
    difficult: Difficult = "ignore"
    """VOC labels of which an image has difficult objects alone: unknown, present or absent."""
    without_labels: WithoutLabels = "keep"
    """Images without any label (COCO has some): kept or left out."""
    augmentation: Augmentation = "multi_scale_crop"
    """How training images vary: the paper's crops and flips; crops of any size and shape, and
    flips; the same with RandAugment and color; or no variation."""
    workers: int = 2
    """Processes that read images beside the training. 0 reads in the training process."""

    def __post_init__(self):
        check_types(self)
        expect(len(self.train) > 0, self, "train", "at least one data set")
        expect(self.workers >= 0, self, "workers", "0 or more")


@dataclass(frozen=True)
class LossConfig:
    """The loss. It is computed in float32, whatever precision the model runs in."""

    name: LossName = "soft_margin"
    """The paper's multi-label soft margin loss, the focal loss (gamma 2), or the asymmetric loss
    (gamma 0 and 4, margin 0.05)."""
    positive_weights: Literal["none", "balanced"] = "none"
    """'balanced' weighs a label's positives by its negatives per positive in the training data."""
    global_weight: float = 1.0
    """Weight of the global branch's loss."""
    local_weight: float = 1.0
    """Weight of the local branch's loss."""
    teacher: str | None = None
    """Distillation: a trained model with the same labels ('default', or a run folder). Its fused
    prediction for each training image is a soft target for the global branch. Unset: none."""
    teacher_weight: float = 0.5
    """With --loss.teacher: the soft targets' share of the global branch's loss, above 0, up to
    1."""

    def __post_init__(self):
        check_types(self)
        for name in ("global_weight", "local_weight"):
            expect(getattr(self, name) >= 0, self, name, "0 or more")
        learns = self.global_weight > 0 or self.local_weight > 0
        expect(learns, self, "global_weight", "> 0, as local_weight is 0: nothing would learn")
        expect(0 < self.teacher_weight <= 1, self, "teacher_weight", "a number in (0, 1]")
        if self.teacher is None:
            expect(self.teacher_weight == 0.5, self, "teacher_weight", "0.5: there is no teacher")
        else:
            expect(self.global_weight > 0, self, "global_weight", "> 0, as there is a teacher")


@dataclass(frozen=True)
class ScheduleConfig:
    """How many steps there are, and what each of them sees."""

    steps: int = 500
    """Number of batches to learn from."""
    batch_size: int = 32
    """Images per step, over all processes and parts."""
    single_view_fraction: float = 1.0
    """Single-view steps: this fraction of the steps, the first ones, learns from whole images
    alone. The others learn from views too, for 1 + (top_n + tiles²) x view_scale² forward passes
    instead of 1. The paper has 0. Why the default is 1: docs/results/."""
    small_fraction: float = 0.0
    """Fraction of the steps, the first ones, that see images of small_size. They are quicker, and
    most is learned there."""
    small_size: tuple[int, int] | None = None
    """Height and width of the network's input in those steps. Unset: half of model.image_size,
    rounded to whole patches."""
    warmup: float = 0.05
    """Fraction of the steps over which the learning rate rises, below 1. It then falls to 0 along a
    cosine."""
    evaluate_every: int = 100
    """Steps between evaluations on the validation data. The last step always has one."""
    save_every: int = 100
    """Steps between the checkpoints that --resume continues from."""

    def __post_init__(self):
        check_types(self)
        for name in ("steps", "batch_size", "evaluate_every", "save_every"):
            expect(getattr(self, name) > 0, self, name, "1 or more")
        for name in ("single_view_fraction", "small_fraction"):
            expect(0 <= getattr(self, name) <= 1, self, name, "a number from 0 to 1")
        expect(0 <= self.warmup < 1, self, "warmup", "a number in [0, 1)")
        if self.small_size is not None:
            expected = "a height and a width in pixels"
            expect(len(self.small_size) == 2, self, "small_size", expected)
            expect(min(self.small_size) > 0, self, "small_size", expected)
            expect(self.small_fraction > 0, self, "small_size", "none, as small_fraction is 0")

    @property
    def single_view_steps(self) -> int:
        """Number of steps that learn from whole images alone."""
        return round(self.single_view_fraction * self.steps)

    @property
    def small_steps(self) -> int:
        """Number of steps that see images of ``small_size``."""
        return round(self.small_fraction * self.steps)


@dataclass(frozen=True)
class OptimizerConfig:
    """What learns, how fast, and by which rule."""

    name: Annotated[Literal["sgd", "adamw"], tyro.conf.arg(name="optimizer")] = "adamw"
    """The paper's SGD, or AdamW (without weight decay on biases and norms)."""
    learning_rate: Annotated[float | None, tyro.conf.arg(aliases=("--lr",))] = None
    """Peak of the learning rate. Unset: 0.05 for sgd; for adamw 0.01 where the backbone is frozen,
    else 0.0003."""
    layer_decay: float = 1.0
    """Layer-wise learning-rate decay: each block's rate is this factor times the next block's."""
    head_lr_scale: float = 1.0
    """Learning-rate scale of the head. A new head may need more than a trained backbone."""
    momentum: float | None = None
    """Momentum, for sgd only. Unset: 0.9."""
    weight_decay: float = 1e-5
    """Weight decay per step, relative to the learning rate."""
    clip_norm: float | None = None
    """Greatest norm of the gradient. Unset: no limit."""
    ema: float = 0.0
    """Decay of a moving average of the weights (smaller in the first steps). The average is what is
    evaluated, and what becomes the model. 0 keeps none."""
    freeze_backbone: bool = True
    """Whether the head alone learns (fast on a CPU); with --no-freeze-backbone, everything does."""
    freeze_blocks: int = 0
    """With --no-freeze-backbone: this many first blocks, and the patch embedding, stay as they
    are."""

    def __post_init__(self):
        check_types(self)
        expect(self.learning_rate is None or self.learning_rate > 0, self, "learning_rate", "> 0")
        expect(0 < self.layer_decay <= 1, self, "layer_decay", "a number in (0, 1]")
        expect(self.head_lr_scale > 0, self, "head_lr_scale", "> 0")
        expect(self.weight_decay >= 0, self, "weight_decay", "0 or more")
        expect(self.clip_norm is None or self.clip_norm > 0, self, "clip_norm", "> 0, or unset")
        expect(0 <= self.ema < 1, self, "ema", "a number in [0, 1)")
        expect(self.freeze_blocks >= 0, self, "freeze_blocks", "0 or more")
        if self.freeze_backbone:
            frozen = "as the whole backbone is frozen (no_freeze_backbone frees it)"
            expect(self.freeze_blocks == 0, self, "freeze_blocks", f"0, {frozen}")
            for name in ("layer_decay", "head_lr_scale"):
                expect(getattr(self, name) == 1, self, name, f"1, {frozen}")
        if self.momentum is not None:
            expect(self.name == "sgd", self, "momentum", "none: adamw has no momentum")
            expect(0 <= self.momentum < 1, self, "momentum", "a number in [0, 1)")


@dataclass(frozen=True)
class RuntimeConfig:
    """Where and how the run computes. None of it is meant to change the result."""

    device: str = "auto"
    """'auto' takes CUDA GPUs where there are any. Or a torch device, such as 'cpu' or 'mps'."""
    devices: int = 1
    """Processes, each with a GPU or a share of the CPU. They divide batch_size among them."""
    num_nodes: int = 1
    """Machines with that many devices each, started by torchrun or SLURM."""
    precision: Precision = "fp32"
    """Precision of the forward and backward pass. Weights and loss are always fp32."""
    accumulate: int = 1
    """Parts that a process cuts its share of a batch into, one after the other, to need less
    memory."""
    activation_checkpointing: bool = False
    """Compute activations twice instead of keeping them: less memory, more time."""
    compile: bool = False
    """Compile the network with torch.compile, which takes up to minutes at the start."""
    deterministic: bool = False
    """Use deterministic algorithms only, and stop where there is none. A CPU does not need it."""

    def __post_init__(self):
        check_types(self)
        for name in ("devices", "num_nodes", "accumulate"):
            expect(getattr(self, name) > 0, self, name, "1 or more")


@dataclass(frozen=True)
class TrainConfig:
    """Train a model from image-level labels."""

    data: DataConfig
    output: Path
    """The run folder: the model, its metrics, and what --resume needs."""
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    start_from: str | None = None
    """Begin with the weights of a trained model: 'default', or a run folder. Its head is kept where
    labels and head settings are the same. model.weights then plays no part."""
    schedule: Annotated[ScheduleConfig, tyro.conf.arg(name="")] = ScheduleConfig()
    optimizer: Annotated[OptimizerConfig, tyro.conf.arg(name="")] = OptimizerConfig()
    choose: Literal["best", "last"] = "best"
    """The model that the run folder holds in the end: the weights that scored best on the
    validation data, or the last ones."""
    resume: bool = False
    """Continue the run in the output folder, or start it if there is none."""
    seed: int = 0
    """Seed of the head's first weights, the order of the images, crops and flips."""
    init_seed: int | None = None
    """Seed of the head's first weights alone, to vary only the rest by seed. Unset: seed."""
    runtime: Annotated[RuntimeConfig, tyro.conf.arg(name="")] = RuntimeConfig()

    def __post_init__(self):
        check_types(self)
        schedule, runtime, method = self.schedule, self.runtime, self.model.method
        parts = runtime.accumulate * runtime.devices * runtime.num_nodes
        expected = f"a multiple of {parts} (accumulate x devices x num_nodes)"
        expect(schedule.batch_size % parts == 0, schedule, "batch_size", expected)
        if method.top_n == 0:
            expected = "0 or 1: the baseline (top_n 0) has no other steps"
            is_allowed = schedule.single_view_fraction in (0, 1)
            expect(is_allowed, schedule, "single_view_fraction", expected)
        single_view = schedule.single_view_steps
        if self.loss.global_weight == 0 and single_view < schedule.steps:
            expected = "> 0 in single-view steps (single_view_fraction 0 has none)"
            expect(single_view == 0, self.loss, "global_weight", expected)
        if method.top_n == 0 or single_view == schedule.steps:
            mend = "" if method.top_n == 0 else " (with single_view_fraction 0 all steps do)"
            for name in ("global_weight", "local_weight"):
                expected = f"1, as no step learns from views{mend}"
                expect(getattr(self.loss, name) == 1, self.loss, name, expected)
        expect(0 <= self.seed < 2**31, self, "seed", "0 to 2147483647")
        if self.init_seed is not None:
            expect(0 <= self.init_seed < 2**31, self, "init_seed", "0 to 2147483647")
        if self.choose == "best":
            self._check_validation()

    def scores_views(self, step: int) -> bool:
        """Whether the evaluation after a step scores views too.

        Single-view steps score whole images alone, which takes a fraction of the time. The last
        evaluation always scores the model as it will be used.
        """
        return step > self.schedule.single_view_steps or step == self.schedule.steps

    def _check_validation(self) -> None:
        """Refuse to choose weights on a data set that calls itself a test set."""
        name = Path(self.data.val)
        if "test" in re.split(r"[^a-z]+", f"{name.stem} {name.name.rpartition(':')[2]}".lower()):
            raise ConfigError(
                f"val is {self.data.val}, which its name says is a test set; expected other data "
                "to choose the weights on, or choose = last, which chooses nothing"
            )


def with_settings(config: Config, changes: Mapping[str, Any]) -> Config:
    """A configuration with some settings replaced, in whatever group they stand.

    Args:
        config: Any configuration.
        changes: New values by the setting's own name, without the names of its groups.

    Raises:
        ConfigError: No group has such a setting, several have it, or its value is impossible.

    >>> with_settings(ModelConfig(), {"top_n": 2}).method.top_n
    2
    """
    counts = Counter(_setting_names(config))
    for name in changes:
        if counts[name] != 1:
            found = "no group has" if counts[name] == 0 else f"{counts[name]} groups have"
            raise ConfigError(f"{name} is no single setting: {found} it{_mend(config, name)}")
    return _replaced(config, changes)


def _mend(config: Any, name: str) -> str:
    is_group = is_dataclass(getattr(config, name, None))
    return "; it is a group: expected names of the settings in it" if is_group else ""


def _setting_names(config: Any) -> Iterator[str]:
    for field in fields(config):
        value = getattr(config, field.name)
        if is_dataclass(value):
            yield from _setting_names(value)
        else:
            yield field.name


def _replaced(config: Any, changes: Mapping[str, Any]) -> Any:
    values = {field.name: getattr(config, field.name) for field in fields(config)}
    new = {
        name: _replaced(value, changes) if is_dataclass(value) else changes.get(name, value)
        for name, value in values.items()
    }
    return replace(config, **new)
