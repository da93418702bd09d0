"""The DiD method (Diverse Instance Discovery, ICME 2022), readable in one sitting.

Legend of dimensions, used in every shape of this folder:

    B images     C categories     K = top_n, the categories looked at again
    V            views of an image: K, and the tiles (of ours, none by default)
    H W          height and width of the network's input, in pixels
    h w          height and width of the patch grid; N = h * w
    D            embedding width
    L blocks     M heads
    T            tokens of a sequence: prefix tokens (class token, registers), then the N patches

Data flow. The *backbone* turns images into a map of patch tokens, and its attention into one
T x T matrix per block. The *head*, a 1x1 convolution, turns the tokens into one semantic map per
category, whose means are the global logits. The *rollout* of the class token through the
attention matrices gives one spatial map per image. *Re-constraint* combines the two into instance
maps. The K categories of highest logit are *selected*, and each one's instance map is *localized*:
one box. *Views* are cut at the boxes (and at tiles, if asked for), and the same backbone and head
look at them; the maximum over an image's views gives the local logits. *Fusion* of global and local
logits is the prediction.

    paper                                        file
    2.1    Vision Transformer, eqs. 1-2, 4       backbone.py
    2.2.1  semantic category-aware module, eq. 3 semantic.py
    2.2.1  selection of categories, table 5      selection.py
    2.2.2  spatial relationship-aware, eq. 5     rollout.py
    2.2.3  re-constraint, eqs. 6-8               reconstraint.py
    2.2.4  dynamic instance localization         localization.py, views.py
    2.2    figure 1: the whole; 3.1: the loss    model.py

Pixels are floats in [0, 1]; only the backbone normalizes them. Sources may be uint8.
Boxes are ``[x0, y0, x1, y1)`` in whole pixels, the end exclusive, of the image that is named.
Nothing here imports the rest of the package.
"""

from didvit.method.backbone import BackboneOutput, UnsupportedBackboneError, ViTBackbone
from didvit.method.localization import LOCALIZERS
from didvit.method.model import FUSIONS, DiD, DiDOutput, GlobalView, multi_view_loss
from didvit.method.reconstraint import RECONSTRAINTS
from didvit.method.rollout import NORMALIZATIONS, attention_rollout
from didvit.method.selection import SELECTORS
from didvit.method.semantic import HeadOutput, SemanticHead
from didvit.method.views import crop_and_resize, resize_whole, scale_boxes

__all__ = [
    "FUSIONS",
    "LOCALIZERS",
    "NORMALIZATIONS",
    "RECONSTRAINTS",
    "SELECTORS",
    "BackboneOutput",
    "DiD",
    "DiDOutput",
    "GlobalView",
    "HeadOutput",
    "SemanticHead",
    "UnsupportedBackboneError",
    "ViTBackbone",
    "attention_rollout",
    "crop_and_resize",
    "multi_view_loss",
    "resize_whole",
    "scale_boxes",
]
