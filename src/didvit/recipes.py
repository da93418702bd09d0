"""Complete settings of runs, as values. ``didvit train NAME`` takes one; options change it.

Every command below is ``didvit train NAME --data.root DIR``; the paths in a recipe are relative to
that folder. The paper-scale recipes are complete, and tests run steps of them on subsets of their
data; none has been run to its end by us yet: their expected numbers are the paper's.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from didvit.config import DataConfig, LossConfig, ModelConfig, TrainConfig
from didvit.presets import PAPER


@dataclass(frozen=True)
class Recipe:
    """A run.

    Attributes:
        config: Its settings.
        summary: What it is, in a line.
        hardware: What it needs.
        expected: What should come out.
    """

    config: TrainConfig
    summary: str
    hardware: str
    expected: str


PAPER_MODEL = ModelConfig(
    backbone="vit_base_patch16_224.augreg_in21k",
    weights="pretrained",
    image_size=(448, 448),
    **PAPER,
)
"""ViT-B/16 from ImageNet-21k at 448, K = 4, λ = 0.6 (section 3.1)."""

VOC_2007 = TrainConfig(
    data=DataConfig(train=("VOC2007:trainval",), val="VOC2007:test"),
    output=Path("runs/voc2007"),
    model=PAPER_MODEL,
    steps=2_000,
    global_steps=0,
    batch_size=32,
    optimizer="sgd",
    learning_rate=0.05,
    weight_decay=1e-5,
    freeze_backbone=False,
    choose="last",  # there is no part to choose on: the validation data are the test set
    evaluate_every=500,
    save_every=500,
    loss=LossConfig("soft_margin"),
)
"""Section 3.1: SGD with momentum 0.9, warm-up of 5 % and cosine, multi-scale crops."""

VOC_2012 = replace(
    VOC_2007,
    # The labels of VOC 2012's test set are not public; VOC 2007's shares no image with it.
    data=DataConfig(train=("VOC2012:trainval",), val="VOC2007:test"),
    output=Path("runs/voc2012"),
)

COCO_2014 = replace(
    VOC_2007,
    data=DataConfig(train=("coco:train2014",), val="coco:val2014"),
    output=Path("runs/coco2014"),
    steps=10_000,
    evaluate_every=2_500,
)

COCO_2014_AT_256 = replace(
    COCO_2014,
    output=Path("runs/coco2014-256"),
    model=replace(PAPER_MODEL, image_size=(256, 256)),
)

COCO_2014_RELEASED = replace(
    COCO_2014,
    output=Path("runs/coco2014-released"),
    model=replace(PAPER_MODEL, normalization="row", crop_from="input"),
    steps=60_000,
    clip_norm=5.0,
    evaluate_every=10_000,
)

CPU_SMALL = TrainConfig(
    data=DataConfig(train=("train.csv",), val="val.csv", workers=1),
    output=Path("runs/cpu-small"),
    steps=1_500,
    small_steps=1_300,
    batch_size=32,
    learning_rate=3e-4,
    layer_decay=0.8,
    weight_decay=0.05,
    clip_norm=1.0,
    ema=0.998,
    freeze_backbone=False,
    evaluate_every=500,
)

RECIPES: dict[str, Recipe] = {
    "voc2007": Recipe(
        VOC_2007,
        "the paper's VOC 2007 (table 2): trainval, scored on test; DIR is VOCdevkit",
        "a GPU",
        "96.2 mAP (the paper)",
    ),
    "voc2012": Recipe(
        VOC_2012,
        "the paper's VOC 2012 (table 2): trainval; 'didvit evaluate --submission' writes the files "
        "for the evaluation server; DIR is VOCdevkit",
        "a GPU",
        "96.8 mAP (the paper)",
    ),
    "coco2014": Recipe(
        COCO_2014,
        "the paper's COCO 2014 (table 1): train2014, scored on val2014; DIR holds the folder coco",
        "a GPU",
        "86.4 mAP (the paper)",
    ),
    "coco2014-256": Recipe(
        COCO_2014_AT_256,
        "COCO 2014 at 256 x 256, the size of the ablations (tables 3 to 5, figure 2)",
        "a GPU",
        "83.2 mAP (the paper)",
    ),
    "coco2014-released": Recipe(
        COCO_2014_RELEASED,
        "COCO 2014 as the authors' code has it: 60,000 steps, gradient clipped at 5.0, row "
        "normalization, views cut from the network's input",
        "a GPU",
        "86.4 mAP (the paper)",
    ),
    "cpu-small": Recipe(
        CPU_SMALL,
        "everything learns, on two CPU cores: 112 pixels first, then 224, whole images alone; "
        "train.csv and val.csv in DIR",
        "two CPU cores",
        "the default model's way; docs/results.md has its figures",
    ),
}
"""By the name that ``didvit train`` takes."""
