"""Complete settings of training runs, as values. ``didvit train NAME`` takes one.

The command is ``didvit train NAME --data.root DIR``; options change the recipe. Its paths are
relative to DIR. Tests run a few steps of every recipe. None has been run to its end yet: the
expected numbers of those at the paper's scale are the paper's.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from didvit.config.model import ModelConfig
from didvit.config.training import DataConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from didvit.method.config import PAPER, DiDConfig


@dataclass(frozen=True)
class Recipe:
    """A complete training run.

    Attributes:
        config: All settings.
        summary: Description in one line.
        hardware: Hardware that it needs.
        expected: Result to expect.
    """

    config: TrainConfig
    summary: str
    hardware: str
    expected: str


PAPER_MODEL = ModelConfig(
    backbone="vit_base_patch16_224.augreg_in21k",
    weights="pretrained",
    image_size=(448, 448),
    method=PAPER,
)
"""ViT-B/16 from ImageNet-21k at 448, K = 4, λ = 0.6 (section 3.1)."""

VOC_2007 = TrainConfig(
    data=DataConfig(train=("VOC2007:trainval",), val="VOC2007:test"),
    output=Path("runs/voc2007"),
    model=PAPER_MODEL,
    schedule=ScheduleConfig(
        steps=2_000,
        batch_size=32,
        single_view_fraction=0.0,
        evaluate_every=500,
        save_every=500,
    ),
    optimizer=OptimizerConfig("sgd", learning_rate=0.05, weight_decay=1e-5, freeze_backbone=False),
    choose="last",  # the validation data are the test set, which may choose nothing
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
    # As in the authors' code: 82,081 images of train2014 and 40,137 of val2014 have a label.
    data=DataConfig(train=("coco:train2014",), val="coco:val2014", without_labels="drop"),
    output=Path("runs/coco2014"),
    schedule=replace(VOC_2007.schedule, steps=10_000, evaluate_every=2_500),
)

COCO_2014_AT_256 = replace(
    COCO_2014,
    output=Path("runs/coco2014-256"),
    model=replace(PAPER_MODEL, image_size=(256, 256)),
)

COCO_2014_RELEASED = replace(
    COCO_2014,
    output=Path("runs/coco2014-released"),
    model=replace(PAPER_MODEL, method=DiDConfig(normalization="row", crop_from="input")),
    schedule=replace(COCO_2014.schedule, steps=60_000, evaluate_every=10_000),
    optimizer=replace(COCO_2014.optimizer, clip_norm=5.0),
)

COCO_40K = TrainConfig(
    data=DataConfig(
        train=("train.csv",), val="val.csv", augmentation="random_resized_crop", workers=1
    ),
    output=Path("runs/coco40k"),
    model=ModelConfig(weights="pretrained"),
    schedule=ScheduleConfig(
        steps=11_500,
        batch_size=32,
        small_fraction=0.94,
        small_size=(128, 128),
        evaluate_every=2_300,
    ),
    optimizer=OptimizerConfig(
        learning_rate=5e-4,
        layer_decay=0.8,
        head_lr_scale=5.0,
        weight_decay=0.05,
        clip_norm=1.0,
        ema=0.998,
        freeze_backbone=False,
    ),
)
"""What two cores can do in 150 minutes: 346,000 images at 128 pixels, and 22,000 at 224."""

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
    "coco40k": Recipe(
        COCO_40K,
        "everything learns, on two CPU cores in about 150 minutes: 128 pixels first, then 224, "
        "whole images alone; train.csv and val.csv in DIR",
        "two CPU cores",
        "not run to its end; 48,000 images at 256 pixels on a GPU gave 60.7 mAP on coco40k",
    ),
}
"""Recipes by the name that ``didvit train`` takes."""
