"""The compared systems, as heads over one backbone. Each file cites its paper.

A head turns patch tokens into a `HeadOutput`: one map and one logit per category. DiD passes the
global view and all local views through the same head, whichever it is. Each class says how many
blocks of the backbone it reads (``num_levels``), and whether it is built from statistics of the
labels (``needs_label_statistics``). `LabelStatistics` come from ``labels.py``. ``hcp.py`` is a
localizer, not a head: it turns instance maps into boxes.

Imports ``didvit.method`` alone. ``didvit.modeling`` builds the heads.
"""

from typing import Any

from didvit.heads.add_gcn import ADDGCNHead
from didvit.heads.csra import CSRAHead
from didvit.heads.labels import LabelStatistics
from didvit.heads.ml_decoder import MLDecoderHead
from didvit.heads.ml_gcn import MLGCNHead
from didvit.heads.ms_cma import MSCMAHead
from didvit.heads.multi_level_queries import MultiLevelQueriesHead
from didvit.heads.pooling import LogSumExpHead, TopPatchesHead
from didvit.heads.query2label import Query2LabelHead
from didvit.heads.ssgrl import SSGRLHead
from didvit.method.semantic import SemanticHead

HEADS: dict[str, Any] = {
    "baseline": SemanticHead,
    "csra": CSRAHead,
    "ml_gcn": MLGCNHead,
    "ssgrl": SSGRLHead,
    "add_gcn": ADDGCNHead,
    "ms_cma": MSCMAHead,
    "query2label": Query2LabelHead,
    "ml_decoder": MLDecoderHead,
    "multi_level_queries": MultiLevelQueriesHead,
    "log_sum_exp": LogSumExpHead,
    "top_patches": TopPatchesHead,
}
"""Head classes by name. The first argument is the width of a patch token. The second is the number
of categories, or a `LabelStatistics` where ``needs_label_statistics``."""

__all__ = ["HEADS", "LabelStatistics"]
