"""Figure 1: the whole of DiD, and the two-branch loss of section 3.1."""

import copy
import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Generator, Tensor, nn

from didvit.method.backbone import ViTBackbone, size_of
from didvit.method.localization import LOCALIZERS, Localizer
from didvit.method.reconstraint import RECONSTRAINTS, Reconstraint
from didvit.method.rollout import NORMALIZATIONS, ORDERS, Step, attention_rollout
from didvit.method.selection import SELECTORS, Selector
from didvit.method.views import Images, Size, crop_and_resize, pad_boxes, scale_boxes, tile_boxes

FUSIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean": lambda global_logits, local_logits: (global_logits + local_logits) / 2,
    "max": torch.maximum,
    "global": lambda global_logits, local_logits: global_logits,
    "local": lambda global_logits, local_logits: local_logits,
}
"""How global and local logits ``(B, C)`` become the prediction (the paper does not say)."""


class GlobalView(NamedTuple):
    """The first look, at the whole image."""

    semantic_maps: Float[Tensor, "B C h w"]
    global_logits: Float[Tensor, "B C"]
    spatial_map: Float[Tensor, "B h w"]
    instance_maps: Float[Tensor, "B C h w"]


class DiDOutput(NamedTuple):
    """What DiD makes of a batch of images.

    With ``top_n = 0`` (the baseline) nothing is looked at again: K is 0, the local logits are the
    global logits, so that every fusion is the baseline, and the attention is not computed: the
    spatial map is None and the instance maps are the semantic maps.

    Attributes:
        logits: The prediction, fused from the two below.
        global_logits: Of the whole image.
        local_logits: The maximum over the image's views.
        view_logits: Of every view: of the K boxes', then of the tiles' (V = K + ``tiles²``).
        categories: The category that each box was found for.
        boxes: ``[x0, y0, x1, y1)`` in pixels of the network's input.
        semantic_maps: One per category (A). Carries gradient.
        spatial_map: Attention rollout of the class token (V'). No gradient.
        instance_maps: The two combined (S). No gradient.
    """

    logits: Float[Tensor, "B C"]
    global_logits: Float[Tensor, "B C"]
    local_logits: Float[Tensor, "B C"]
    view_logits: Float[Tensor, "B V C"]
    categories: Int[Tensor, "B K"]
    boxes: Int[Tensor, "B K 4"]
    semantic_maps: Float[Tensor, "B C h w"]
    spatial_map: Float[Tensor, "B h w"] | None
    instance_maps: Float[Tensor, "B C h w"]


class DiD(nn.Module):
    """Diverse Instance Discovery: look at the image, find instances, look again at each.

    Args:
        backbone: Images to patch tokens and attention.
        head: Patch tokens to a `HeadOutput`; shared by the whole image and its views.
        top_n: K, the number of categories looked at again; 0 is the baseline.
        box_threshold: λ, the part of a map's range above which it is foreground; in (0, 1).
        selection: Which categories (a key of `SELECTORS`, or a function like them).
        normalization: Of the attention in the rollout (`NORMALIZATIONS`).
        reconstraint: How the spatial map acts on the semantic maps (`RECONSTRAINTS`).
        localization: How a map becomes a box (`LOCALIZERS`).
        crop_from: ``"raw"`` cuts views from the sources that `forward` is given, ``"input"`` always
            from the network's input, corner-aligned, as the authors' code does.
        fusion: How the two branches become the prediction (`FUSIONS`).
        rollout_order: Of the blocks in the rollout (`ORDERS`).
        box_padding: Part of its sides that a box grows outward (0, as in the paper, leaves it).
        view_scale: Sides of views, as a part of the input's, rounded to whole patches; the paper
            has 1.
        tiles: Rows, and columns, of overlapping tiles of the image that are looked at beside the
            boxes (`tile_boxes`); the paper has 0, none.

    Raises:
        ValueError: A setting is out of its range or unknown.
    """

    def __init__(
        self,
        backbone: ViTBackbone,
        head: nn.Module,
        top_n: int = 4,
        box_threshold: float = 0.6,
        selection: str | Selector = "descending",
        normalization: str | Step = "column",
        reconstraint: str | Reconstraint = "hadamard",
        localization: str | Localizer = "largest_component",
        crop_from: Literal["raw", "input"] = "raw",
        fusion: str | Callable[[Tensor, Tensor], Tensor] = "mean",
        rollout_order: str = "descending",
        box_padding: float = 0.0,
        view_scale: float = 1.0,
        tiles: int = 0,
    ):
        super().__init__()
        if top_n < 0:
            raise ValueError(f"top_n is {top_n}; expected 0 (the baseline) or more")
        if not 0 < box_threshold < 1:
            raise ValueError(f"box_threshold is {box_threshold}; expected a number in (0, 1)")
        if crop_from not in ("raw", "input"):
            raise ValueError(f"crop_from is {crop_from!r}; expected 'raw' or 'input'")
        if rollout_order not in ORDERS:
            raise ValueError(f"rollout_order is {rollout_order!r}; expected {' or '.join(ORDERS)}")
        if not 0 <= box_padding < math.inf:
            raise ValueError(f"box_padding is {box_padding}; expected 0 or more, and finite")
        if not 0 < view_scale < math.inf:
            raise ValueError(f"view_scale is {view_scale}; expected a finite number above 0")
        if tiles < 0:
            raise ValueError(f"tiles is {tiles}; expected 0 (none) or more")
        self.backbone = backbone
        self.head = head
        self.top_n = top_n
        self.box_threshold = box_threshold
        self.select = _look_up("selection", selection, SELECTORS)
        self.normalization = _look_up("normalization", normalization, NORMALIZATIONS)
        self.reconstrain = _look_up("reconstraint", reconstraint, RECONSTRAINTS)
        self.localize = _look_up("localization", localization, LOCALIZERS)
        self.crop_from = crop_from
        self.fuse = _look_up("fusion", fusion, FUSIONS)
        self.rollout_order = rollout_order
        self.box_padding = box_padding
        self.view_scale = view_scale
        self.tiles = tiles

    def forward(
        self,
        images: Float[Tensor, "B 3 H W"],
        sources: Images | None = None,
        generator: Generator | None = None,
    ) -> DiDOutput:
        """Recognize a batch of images.

        Args:
            images: The network's input, floats in [0, 1]; one or more, both sides whole numbers of
                patches.
            sources: The same images at their own resolution, each ``(3, height, width)`` of any
                size, uint8 or floats in [0, 1]: views are cut from them. None: from ``images``.
            generator: For random selection and localization (None: torch's own).

        Raises:
            ValueError: ``top_n`` exceeds the number of categories, the input's sides are not whole
                numbers of patches, ``images`` are no floats, or there is not one source per image.
            NonFiniteMapError: The weights are damaged, or training diverged.
        """
        if self.top_n == 0:
            return self._baseline(images)
        if sources is not None and len(sources) != len(images):
            raise ValueError(f"{len(images)} images came with {len(sources)} sources")

        semantic_maps, global_logits, spatial_map, instance_maps = self.look(images)
        num_categories = global_logits.shape[1]
        if self.top_n > num_categories:
            raise ValueError(f"top_n is {self.top_n}, but there are {num_categories} categories")

        categories = self.select(global_logits.detach(), self.top_n, generator)
        index = categories[..., None, None].expand(-1, -1, *instance_maps.shape[-2:])
        selected_maps = instance_maps.gather(1, index)  # B K h w
        input_size = size_of(images)
        boxes = self.find_boxes(selected_maps, input_size, generator)

        canvas = images if self.crop_from == "input" or sources is None else sources
        tiles = tile_boxes(self.tiles, input_size).to(boxes.device)
        canvas_boxes = torch.cat([boxes, tiles.expand(len(boxes), -1, -1)], dim=1)
        for i, image in enumerate(canvas):  # the same boxes, in pixels of each canvas
            canvas_boxes[i] = scale_boxes(canvas_boxes[i], input_size, size_of(image))
        view_logits = self._look_at_views(canvas, canvas_boxes, input_size, images.dtype)
        local_logits = view_logits.amax(1)
        return DiDOutput(
            self.fuse(global_logits, local_logits),
            global_logits,
            local_logits,
            view_logits,
            categories,
            boxes,
            semantic_maps,
            spatial_map,
            instance_maps,
        )

    def with_top_n(self, top_n: int) -> "DiD":
        """The same parts (not copies of them) under another number of looks; 0 is the baseline."""
        model = copy.copy(self)
        model.top_n = top_n
        return model

    def look(self, images: Float[Tensor, "B 3 H W"]) -> GlobalView:
        """The global view, up to the instance maps: tensors in, tensors out, compilable."""
        patch_tokens, attentions = self.backbone.forward_with_attention(images)
        semantic_maps, global_logits = self.head(patch_tokens)
        spatial_map = attention_rollout(
            attentions,
            size_of(patch_tokens),
            self.backbone.num_prefix_tokens,
            self.backbone.has_class_token,
            self.normalization,
            self.rollout_order,
        )
        # Localization steers what is looked at; it is not trained through.
        instance_maps = self.reconstrain(spatial_map, semantic_maps.detach())
        return GlobalView(semantic_maps, global_logits, spatial_map, instance_maps)

    def find_boxes(
        self,
        instance_maps: Float[Tensor, "B K h w"],
        input_size: Size,
        generator: Generator | None = None,
    ) -> Int[Tensor, "B K 4"]:
        """A box for each map, localized and padded, in pixels of the input."""
        patch_size = self.backbone.patch_size
        boxes = self.localize(instance_maps, input_size, self.box_threshold, patch_size, generator)
        return pad_boxes(boxes, self.box_padding, input_size)

    def _look_at_views(
        self, canvas: Images, boxes: Int[Tensor, "B V 4"], input_size: Size, dtype: torch.dtype
    ) -> Float[Tensor, "B V C"]:
        """Logits of the parts of the images within boxes, in pixels of each image."""
        view_size = self.backbone.scaled_size(input_size, self.view_scale)
        logits = []
        for some in boxes.split(self.views_at_once(input_size), dim=1):
            views = crop_and_resize(
                [image for image in canvas for _ in range(some.shape[1])],
                some.flatten(0, 1),
                view_size,
                align_corners=self.crop_from == "input",
            )
            logits.append(self.look_again(views.to(dtype)).unflatten(0, some.shape[:2]))
        return torch.cat(logits, dim=1)

    def views_at_once(self, input_size: Size) -> int:
        """How many views of every image make one batch: those with the pixels of its whole look.

        A batch then takes the memory of that look. On a CPU, more views at once are slower, and
        small ones one by one too.
        """
        view_size = self.backbone.scaled_size(input_size, self.view_scale)
        return max(1, math.prod(input_size) // math.prod(view_size))

    def look_again(self, views: Float[Tensor, "n 3 H W"]) -> Float[Tensor, "n C"]:
        """Logits of local views, by the same backbone and head: compilable."""
        return self.head(self.backbone(views)).logits

    def _baseline(self, images: Float[Tensor, "B 3 H W"]) -> DiDOutput:
        maps, logits = self.head(self.backbone(images))
        empty = torch.empty(len(images), 0, dtype=torch.int64, device=images.device)
        return DiDOutput(
            logits=self.fuse(logits, logits),
            global_logits=logits,
            local_logits=logits,
            view_logits=logits.new_empty(len(images), 0, logits.shape[1]),
            categories=empty,
            boxes=empty.new_empty(len(images), 0, 4),
            semantic_maps=maps,
            spatial_map=None,
            instance_maps=maps.detach(),
        )


def multi_view_loss(
    output: DiDOutput,
    targets: Shaped[Tensor, "B C"],
    loss: Callable[[Tensor, Tensor], Tensor] = F.multilabel_soft_margin_loss,
    global_weight: float = 1.0,
    local_weight: float = 1.0,
) -> Float[Tensor, ""]:
    """``loss(g, y) + loss(l, y)``, the loss of both branches (3.1).

    The baseline has one branch, and so one term.

    Args:
        output: Of `DiD.forward`.
        targets: 1 where the image has the category, 0 where it has not; what else may stand there
            is for ``loss`` to say.
        loss: Of a branch's logits and the targets; the paper's is the multi-label soft margin loss.
        global_weight: Of the global branch's loss.
        local_weight: Of the local branch's loss.
    """
    total = global_weight * loss(output.global_logits, targets)
    if output.view_logits.shape[1]:
        total = total + local_weight * loss(output.local_logits, targets)
    return total


def _look_up(setting: str, value, known: dict):
    """The function that a name stands for; a function stands for itself."""
    if callable(value):
        return value
    if value not in known:
        raise ValueError(f"{setting} is {value!r}; expected one of {', '.join(known)}")
    return known[value]
