"""The systems that DiD is compared with, as heads over one backbone; each file cites its paper.

A head makes a `HeadOutput`, maps and logits, of patch tokens. DiD's views work on top of any.
"""

from collections.abc import Callable

from torch import nn

from didvit.heads.add_gcn import ADDGCNHead
from didvit.heads.csra import CSRAHead
from didvit.heads.labels import LabelKnowledge
from didvit.heads.ml_decoder import MLDecoderHead
from didvit.heads.ml_gcn import MLGCNHead
from didvit.heads.ms_cma import MSCMAHead
from didvit.heads.query2label import Query2LabelHead
from didvit.heads.ssgrl import SSGRLHead
from didvit.method import SemanticHead

HEADS: dict[str, Callable[..., nn.Module]] = {
    "baseline": SemanticHead,
    "csra": CSRAHead,
    "add_gcn": ADDGCNHead,
    "query2label": Query2LabelHead,
    "ml_decoder": MLDecoderHead,
}
"""Heads that need to know the width of a patch token and the number of categories."""

KNOWING_HEADS: dict[str, Callable[..., nn.Module]] = {
    "ml_gcn": MLGCNHead,
    "ssgrl": SSGRLHead,
    "ms_cma": MSCMAHead,
}
"""Heads that need the width of a patch token and a `LabelKnowledge`."""

__all__ = ["HEADS", "KNOWING_HEADS", "LabelKnowledge"]
