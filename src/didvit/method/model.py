"""Figure 1: the whole of DiD, and the two-branch loss of section 3.1."""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Generator, Tensor, nn

from didvit.method.backbone import ViTBackbone, size_of
from didvit.method.boxes import Size, scale_boxes, tile_boxes
from didvit.method.config import PAPER, ConfigError, DiDConfig
from didvit.method.localization import LOCALIZERS, Localizer
from didvit.method.reconstraint import RECONSTRAINTS, Reconstraint
from didvit.method.rollout import NORMALIZATIONS, Step, attention_rollout
from didvit.method.selection import SELECTORS, Selector
from didvit.method.views import Images, crop_and_resize

Fuse = Callable[[Tensor, Tensor], Tensor]

FUSIONS: dict[str, Fuse] = {
    "mean": lambda global_logits, local_logits: (global_logits + local_logits) / 2,
    "max": torch.maximum,
    "global": lambda global_logits, local_logits: global_logits,
    "local": lambda global_logits, local_logits: local_logits,
}
"""From global and local logits ``(B, C)`` to the prediction. The paper does not say which."""


class GlobalView(NamedTuple):
    """Result of the first forward pass, over the whole image. Features are mean patch tokens."""

    features: Float[Tensor, "B D"]
    semantic_maps: Float[Tensor, "B C h w"]
    logits: Float[Tensor, "B C"]
    spatial_map: Float[Tensor, "B h w"]
    instance_maps: Float[Tensor, "B C h w"]


class DiDOutput(NamedTuple):
    """Result of DiD on a batch of images.

    ``logits`` is the prediction, fused from the global logits and the local ones, which are the
    maximum over the views: the K boxes, then the tiles. ``categories`` are those that the boxes
    were found for; boxes are in pixels of the network's input. Semantic maps (A) carry gradient;
    the spatial map (V') and the instance maps (S) do not. The baseline (``top_n = 0``) has no
    views: K and V are 0, the local logits are the global logits, the spatial map is None, and the
    instance maps are the semantic maps.
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
    """Diverse Instance Discovery: find instances in the image, and recognize each one again.

    Args:
        backbone: Turns images into patch tokens and attention.
        head: Turns patch tokens into a `HeadOutput`. The global view and all views share it.
        config: The settings; the paper's by default.
        select, normalize, reconstrain, localize, fuse: Your own functions instead of those that
            ``config`` names in `SELECTORS`, `NORMALIZATIONS`, `RECONSTRAINTS`, `LOCALIZERS` and
            `FUSIONS`.

    Raises:
        ConfigError: The localization is HCP's ``"hypotheses"``, and ``localize`` is not given.
    """

    def __init__(
        self,
        backbone: ViTBackbone,
        head: nn.Module,
        config: DiDConfig = PAPER,
        *,
        select: Selector | None = None,
        normalize: Step | None = None,
        reconstrain: Reconstraint | None = None,
        localize: Localizer | None = None,
        fuse: Fuse | None = None,
    ):
        super().__init__()
        self.backbone, self.head, self.config = backbone, head, config
        self.select: Selector = select or SELECTORS[config.selection]
        self.normalize: Step = normalize or NORMALIZATIONS[config.normalization]
        self.reconstrain: Reconstraint = reconstrain or RECONSTRAINTS[config.reconstraint]
        self.localize: Localizer = localize or _localizer(config.localization)
        self.fuse: Fuse = fuse or FUSIONS[config.fusion]

    def forward(
        self,
        images: Float[Tensor, "B 3 H W"],
        sources: Images | None = None,
        generator: Generator | None = None,
    ) -> DiDOutput:
        """Recognize a batch of images.

        Args:
            images: The network's input, floats in [0, 1]; one or more; sides are whole patches.
            sources: The same images at their own resolution, each ``(3, height, width)`` of any
                size, uint8 or floats in [0, 1]. Views are cut from them. None: from ``images``.
            generator: For random selection and localization (None: torch's own).

        Raises:
            ValueError: The shape or type of ``images`` is wrong, there is not one source per image,
                or ``top_n`` exceeds the number of categories.
            NonFiniteMapError: The weights are damaged, or training diverged.
        """
        if images.ndim != 4 or images.shape[1] != 3 or not len(images):
            raise ValueError(f"images are {tuple(images.shape)}; expected (B, 3, H, W) with B > 0")
        if self.config.top_n == 0:
            return self._baseline(images)
        if sources is not None and len(sources) != len(images):
            raise ValueError(f"{len(images)} images came with {len(sources)} sources")

        _, semantic_maps, global_logits, spatial_map, instance_maps = self.global_view(images)
        categories = self.select_categories(global_logits, generator)
        boxes = self.find_boxes(instance_maps, categories, size_of(images), generator)
        view_logits = self.view_logits(images, sources, boxes)
        local_logits = view_logits.amax(1)
        logits = self.fuse(global_logits, local_logits)
        branches = (global_logits, local_logits, view_logits)
        maps = (semantic_maps, spatial_map, instance_maps)
        return DiDOutput(logits, *branches, categories, boxes, *maps)

    def with_top_n(self, top_n: int) -> "DiD":
        """A model with the same parts (no copies) and another number of boxes; 0: the baseline."""
        model = copy.copy(self)
        model.config = replace(self.config, top_n=top_n)
        return model

    def global_view(self, images: Float[Tensor, "B 3 H W"]) -> GlobalView:
        """The forward pass over whole images, up to the instance maps. It can be compiled."""
        patch_tokens, attentions = self.backbone.forward_with_attention(images)
        semantic_maps, logits = self.head(patch_tokens)
        prefix = self.backbone.num_prefix_tokens, self.backbone.has_class_token
        settings = self.normalize, self.config.rollout_order
        spatial_map = attention_rollout(attentions, size_of(patch_tokens), *prefix, *settings)
        # Localization steers the views; no gradient passes through it.
        instance_maps = self.reconstrain(spatial_map, semantic_maps.detach())
        features = patch_tokens.mean((-2, -1))
        return GlobalView(features, semantic_maps, logits, spatial_map, instance_maps)

    def select_categories(
        self, logits: Float[Tensor, "B C"], generator: Generator | None = None
    ) -> Int[Tensor, "B K"]:
        """The categories that get a box."""
        top_n, num_categories = self.config.top_n, logits.shape[1]
        if top_n > num_categories:
            raise ValueError(f"top_n is {top_n}, but there are {num_categories} categories")
        rng = _rng(generator) if self.config.selection == "random" else None
        chosen = self.select(_array(logits), top_n, rng)
        return torch.from_numpy(chosen.astype(np.int64)).to(logits.device)

    def find_boxes(
        self,
        instance_maps: Float[Tensor, "B C h w"],
        categories: Int[Tensor, "B K"],
        input_size: Size,
        generator: Generator | None = None,
    ) -> Int[Tensor, "B K 4"]:
        """A box for each selected category, in pixels of the network's input."""
        index = categories[..., None, None].expand(-1, -1, *instance_maps.shape[-2:])
        maps = instance_maps.gather(1, index)  # B K h w
        threshold, patch_size = self.config.box_threshold, self.backbone.patch_size
        rng = _rng(generator) if self.config.localization == "random" else None
        boxes = self.localize(_array(maps), input_size, threshold, patch_size, rng)
        return torch.from_numpy(boxes).to(maps.device)

    def view_logits(
        self,
        images: Float[Tensor, "B 3 H W"],
        sources: Images | None,
        boxes: Int[Tensor, "B K 4"],
    ) -> Float[Tensor, "B V C"]:
        """Logits of the views at the boxes, and at the tiles, by the same backbone and head."""
        input_size, from_input = size_of(images), self.config.crop_from == "input"
        view_size = self.backbone.scaled_size(input_size, self.config.view_scale)
        canvas = images if from_input or sources is None else sources
        tiles = tile_boxes(self.config.tiles, input_size)
        all_boxes = np.stack(
            [  # B V 4, in pixels of each canvas
                scale_boxes(np.concatenate([of_image, tiles]), input_size, size_of(image))
                for of_image, image in zip(boxes.cpu().numpy(), canvas, strict=True)
            ]
        )
        logits, count = [], self.views_per_batch(input_size)
        for start in range(0, all_boxes.shape[1], count):
            part = all_boxes[:, start : start + count]
            copies = [image for image in canvas for _ in range(part.shape[1])]
            views = crop_and_resize(
                copies, part.reshape(-1, 4), view_size, align_corners=from_input
            )
            part_logits = self.head(self.backbone(views.to(images))).logits
            logits.append(part_logits.unflatten(0, part.shape[:2]))
        return torch.cat(logits, dim=1)

    def views_per_batch(self, input_size: Size) -> int:
        """Number of views of each image in one forward pass: as many as fill the input's area."""
        # The memory of the global view. On a CPU, larger and smaller batches are slower.
        view_size = self.backbone.scaled_size(input_size, self.config.view_scale)
        return max(1, math.prod(input_size) // math.prod(view_size))

    def _baseline(self, images: Float[Tensor, "B 3 H W"]) -> DiDOutput:
        maps, logits = self.head(self.backbone(images))
        empty = torch.empty(len(images), 0, dtype=torch.int64, device=images.device)
        branches = logits, logits, logits.new_empty(len(images), 0, logits.shape[1])
        boxes = empty.new_empty(len(images), 0, 4)
        return DiDOutput(
            self.fuse(logits, logits), *branches, empty, boxes, maps, None, maps.detach()
        )


def multi_view_loss(
    output: DiDOutput,
    targets: Shaped[Tensor, "B C"],
    loss: Callable[[Tensor, Tensor], Tensor] = F.multilabel_soft_margin_loss,
    global_weight: float = 1.0,
    local_weight: float = 1.0,
) -> Float[Tensor, ""]:
    """``loss(g, y) + loss(l, y)``, the loss of both branches (3.1). The baseline has one term.

    Args:
        output: Result of `DiD.forward`.
        targets: 1 where the image has the category, 0 where it has not. ``loss`` may define more.
        loss: From a branch's logits and the targets to a number.
        global_weight, local_weight: Weights of the two losses.
    """
    total: Any = global_weight * loss(output.global_logits, targets)
    if output.view_logits.shape[1]:
        total = total + local_weight * loss(output.local_logits, targets)
    return total


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()


def _rng(generator: Generator | None) -> np.random.Generator:
    """NumPy's generator, seeded by PyTorch's, with which a run resumes exactly."""
    return np.random.default_rng(int(torch.randint(2**63 - 1, (), generator=generator)))


def _localizer(name: str) -> Localizer:
    if name not in LOCALIZERS:
        known = ", ".join(LOCALIZERS)
        raise ConfigError(f"localization is {name!r}; expected {known}, or a function as localize")
    return LOCALIZERS[name]
