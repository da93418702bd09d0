"""Settings as frozen values, checked when they are made; `build_model` is where the parts meet."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

if TYPE_CHECKING:
    from didvit.method import DiD


class ConfigError(ValueError):
    """A setting is impossible; the message names it and says what was expected."""


def _expect(holds: bool, config: Any, name: str, expected: str) -> None:
    if not holds:
        raise ConfigError(f"{name} is {getattr(config, name)}; expected {expected}")


def _check_choices(config: Any) -> None:
    """Refuse values outside their ``Literal`` types, which Python itself does not check."""
    for field in dataclasses.fields(config):
        if get_origin(field.type) is Literal:
            choices = get_args(field.type)
            _expect(
                getattr(config, field.name) in choices, config, field.name, " or ".join(choices)
            )


@dataclass(frozen=True)
class ModelConfig:
    """The model: backbone, and the settings of the method."""

    backbone: str = "vit_small_patch14_dinov2"
    """Any plain Vision Transformer of timm, with or without the tag of its weights."""
    weights: str = "embedded"
    """Where the backbone starts from: 'embedded' (comes with the installation), 'pretrained' (the
    hub), 'random', or a .safetensors or original ViT .npz file. Pixels are normalized as timm does
    for the backbone's tag."""
    image_size: tuple[int, int] = (224, 224)
    """Height and width of the network's input, in pixels; whole multiples of the patch."""
    top_n: int = 4
    """Categories looked at again (K); 0 is the single-view baseline."""
    box_threshold: float = 0.6
    """Part of a map's range above which it is foreground (λ), in (0, 1)."""
    selection: Literal["descending", "ascending", "random"] = "descending"
    """Which categories are looked at again, by their global logits."""
    normalization: Literal["column", "row"] = "column"
    """Of the attention matrices in the rollout: the paper's text, or its authors' code."""
    reconstraint: Literal["hadamard", "sum", "none"] = "hadamard"
    """How the spatial map acts on the semantic maps."""
    localization: Literal["largest_component", "mcar", "random"] = "largest_component"
    """How an instance map becomes a box."""
    crop_from: Literal["raw", "input"] = "raw"
    """Cut views from the photograph at its own resolution, or from the network's input."""
    fusion: Literal["mean", "max", "global", "local"] = "mean"
    """How global and local logits become the prediction."""

    def __post_init__(self):
        _check_choices(self)
        _expect(self.top_n >= 0, self, "top_n", "0 (the baseline) or more")
        _expect(0 < self.box_threshold < 1, self, "box_threshold", "a number in (0, 1)")
        _expect(len(self.image_size) == 2, self, "image_size", "a height and a width in pixels")
        _expect(min(self.image_size) > 0, self, "image_size", "a height and a width in pixels")


@dataclass(frozen=True)
class DataConfig:
    """Where the images are: CSV files with the columns 'image' (a path relative to the file's own
    folder) and 'labels' (joined by a vertical bar)."""

    train: tuple[Path, ...]
    """One or more CSV files to learn from."""
    val: Path
    """The CSV file that settings are chosen on: the weights kept are those that score best here."""
    workers: int = 2
    """Processes that read images beside the training; 0 reads in the training's own."""

    def __post_init__(self):
        _expect(len(self.train) > 0, self, "train", "at least one CSV file")
        _expect(self.workers >= 0, self, "workers", "0 or more")


@dataclass(frozen=True)
class TrainConfig:
    """Train a model from image-level labels."""

    data: DataConfig
    output: Path
    """The run folder: configuration, metrics, and weights."""
    model: ModelConfig = ModelConfig()
    steps: int = 500
    """Batches to learn from."""
    global_steps: int = 0
    """The first of these steps look at whole images alone: each costs 1 forward pass in place of
    1 + top_n, and later steps start from boxes that mean something."""
    batch_size: int = 32
    """Images in a batch."""
    optimizer: Literal["sgd", "adamw"] = "adamw"
    """The paper's SGD, or AdamW."""
    learning_rate: float | None = None
    """Peak of the schedule: linear warm-up, then cosine to 0. Unset: 0.05 for sgd; for adamw 0.01
    where the backbone is frozen, else 0.0001."""
    momentum: float | None = None
    """Of sgd alone. Unset: 0.9."""
    weight_decay: float = 1e-5
    """Of the weights, per step and learning rate."""
    warmup: float = 0.05
    """Part of the steps over which the learning rate rises, in [0, 1)."""
    train_transform: Literal["multi_scale_crop", "resize"] = "multi_scale_crop"
    """The paper's random crops and flips, or whole images."""
    freeze_backbone: bool = True
    """Train the head alone (fast on a CPU), or everything."""
    evaluate_every: int = 100
    """Steps between evaluations on the validation data; the last step always has one."""
    seed: int = 0
    """Of the head's first weights, the order of the images, crops and flips."""
    device: str = "auto"
    """'auto' takes a CUDA GPU where there is one; or a torch device such as 'cpu' or 'mps'."""

    def __post_init__(self):
        _check_choices(self)
        for name in ("steps", "batch_size", "evaluate_every"):
            _expect(getattr(self, name) > 0, self, name, "1 or more")
        _expect(0 <= self.global_steps <= self.steps, self, "global_steps", "0 to steps")
        if self.global_steps:
            _expect(
                self.model.top_n > 0, self, "global_steps", "0: the baseline has no other steps"
            )
        _expect(self.learning_rate is None or self.learning_rate > 0, self, "learning_rate", "> 0")
        _expect(self.weight_decay >= 0, self, "weight_decay", "0 or more")
        _expect(0 <= self.warmup < 1, self, "warmup", "a number in [0, 1)")
        _expect(0 <= self.seed < 2**31, self, "seed", "0 to 2147483647")
        if self.momentum is not None:
            _expect(self.optimizer == "sgd", self, "momentum", "none: adamw has no momentum")
            _expect(0 <= self.momentum < 1, self, "momentum", "a number in [0, 1)")


def build_model(config: ModelConfig, num_categories: int, pretrained: bool = True) -> "DiD":
    """The model that a configuration describes, with a new head.

    Args:
        config: Backbone and method.
        num_categories: Labels that the head tells apart.
        pretrained: Load the weights that ``config.weights`` names; False leaves them random, for a
            caller that loads a checkpoint.

    Raises:
        ConfigError: ``top_n`` exceeds the number of labels.
        WeightsError, UnsupportedBackboneError: Of the backbone.
    """
    from didvit.method import DiD, SemanticHead
    from didvit.weights import build_backbone

    if config.top_n > num_categories:
        raise ConfigError(
            f"top_n is {config.top_n}, but there are only {num_categories} labels; "
            f"expected at most {num_categories}"
        )
    weights = config.weights if pretrained else "random"
    backbone = build_backbone(config.backbone, weights, config.image_size)
    return DiD(
        backbone,
        SemanticHead(backbone.embed_dim, num_categories),
        top_n=config.top_n,
        box_threshold=config.box_threshold,
        selection=config.selection,
        normalization=config.normalization,
        reconstraint=config.reconstraint,
        localization=config.localization,
        crop_from=config.crop_from,
        fusion=config.fusion,
    )


def to_json(config: Any) -> dict[str, Any]:
    """A configuration as JSON values: paths as strings, tuples as lists."""
    return {
        field.name: _json_value(getattr(config, field.name)) for field in dataclasses.fields(config)
    }


def model_config_from_json(values: dict[str, Any]) -> ModelConfig:
    """The inverse of `to_json` for a `ModelConfig`.

    Raises:
        ConfigError: A setting is unknown, missing, or impossible.
    """
    names = {field.name for field in dataclasses.fields(ModelConfig)}
    if values.keys() != names:
        unknown, missing = sorted(values.keys() - names), sorted(names - values.keys())
        raise ConfigError(
            f"settings do not fit this version: unknown {', '.join(unknown) or 'none'}; "
            f"missing {', '.join(missing) or 'none'}"
        )
    return ModelConfig(**{**values, "image_size": tuple(values["image_size"])})


def _json_value(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_json(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return [_json_value(item) for item in value]
    return value
