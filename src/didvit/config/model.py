"""The model: a backbone, a head, and the method between them."""

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from didvit.config.checks import check_types, expect
from didvit.method.config import DIDVIT, DiDConfig

HeadName = Literal[
    "baseline",
    "csra",
    "ml_gcn",
    "ssgrl",
    "add_gcn",
    "ms_cma",
    "query2label",
    "ml_decoder",
    "multi_level_queries",
    "log_sum_exp",
    "top_patches",
]


@dataclass(frozen=True)
class ModelConfig:
    """The model: backbone, head, and the settings of the method."""

    backbone: str = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    """Any plain Vision Transformer of timm, with or without the tag of its weights."""
    weights: str = "embedded"
    """First weights of the backbone: 'embedded' (the default model's), 'pretrained' (timm's, from
    the hub), 'random', or a .safetensors or original ViT .npz file. Pixels are normalized as timm
    does for the backbone's tag."""
    image_size: tuple[int, int] = (224, 224)
    """Height and width of the network's input, in pixels. Both are whole multiples of the patch."""
    head: HeadName = "baseline"
    """What turns patch tokens into maps and logits: the paper's 1x1 convolution, or the head of a
    compared system (see the documentation)."""
    csra_heads: int | None = None
    """For the csra head: number of its attention heads, 1, 2, 4, 6 or 8. Unset: 1."""
    csra_weight: float | None = None
    """For the csra head: weight of its attention (its λ). Unset: 0.1."""
    label_embeddings: str | None = None
    """For the ml_gcn, ssgrl and ms_cma heads: 'sentence' (a sentence model; needs didvit[labels]),
    'random', or a text file of word vectors in GloVe's format. Unset: 'sentence'."""
    method: Annotated[DiDConfig, tyro.conf.arg(name="")] = DIDVIT
    """The settings of DiD."""

    def __post_init__(self):
        check_types(self)
        if self.csra_heads is not None:
            expect(self.head == "csra", self, "csra_heads", f"none: the head is {self.head}")
            expect(self.csra_heads in (1, 2, 4, 6, 8), self, "csra_heads", "1, 2, 4, 6 or 8")
        if self.csra_weight is not None:
            expect(self.head == "csra", self, "csra_weight", f"none: the head is {self.head}")
            expect(self.csra_weight >= 0, self, "csra_weight", "0 or more")
        if self.label_embeddings is not None:
            uses_them = self.head in ("ml_gcn", "ssgrl", "ms_cma")
            expect(uses_them, self, "label_embeddings", f"none: the head is {self.head}")
        expect(len(self.image_size) == 2, self, "image_size", "a height and a width in pixels")
        expect(min(self.image_size) > 0, self, "image_size", "a height and a width in pixels")
