"""DiD on one photograph, view by view: an oracle of prediction, whatever computes the network.

The network is PyTorch's. What lies around it is done anew, slowly: Pillow cuts and resizes one view
after another, and every view is a batch of its own.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from didvit.method.boxes import scale_boxes, tile_boxes
from didvit.method.localization import localize_largest_component
from didvit.method.model import DiD


@dataclass
class Seen:
    """Logits ``(C,)``, those of views ``(V, C)``, and maps ``(C, h, w)`` of all categories."""

    global_logits: np.ndarray
    local_logits: np.ndarray
    view_logits: np.ndarray
    categories: list[int]
    boxes: np.ndarray
    semantic_maps: np.ndarray
    instance_maps: np.ndarray
    spatial_map: np.ndarray

    @property
    def mean_logits(self) -> np.ndarray:
        return (self.global_logits + self.local_logits) / 2


@torch.inference_mode()
def see(model: DiD, array: np.ndarray, size: tuple[int, int]) -> Seen:
    """The K categories of highest logit get a box: ``selection`` and ``localization`` by default.

    Args:
        model: In evaluation mode, on the CPU.
        array: Pixels ``(H, W, 3)``.
        size: Height and width of the network's input.
    """
    config = model.config
    image = Image.fromarray(np.ascontiguousarray(array))
    whole = shrunk(image, size)
    view = model.global_view(as_input(whole))
    logits, maps = view.logits[0].numpy(), view.instance_maps[0].numpy()
    categories = sorted(range(len(logits)), key=lambda c: -logits[c])[: config.top_n]
    boxes = localize_largest_component(
        maps[None, categories], size, config.box_threshold, model.backbone.patch_size
    )[0]
    rows = []
    if config.top_n:
        canvas = whole if config.crop_from == "input" else image
        view_size = model.backbone.scaled_size(size, config.view_scale)
        all_boxes = np.concatenate([boxes, tile_boxes(config.tiles, size)])
        for box in scale_boxes(all_boxes, size, (canvas.height, canvas.width)).tolist():
            part = canvas.crop(tuple(box))
            if config.crop_from == "input":
                seen = F.interpolate(as_input(part), view_size, mode="bilinear", align_corners=True)
            else:
                seen = as_input(shrunk(part, view_size))
            rows.append(model.head(model.backbone(seen)).logits[0].numpy())
    views = np.array(rows).reshape(len(rows), len(logits))
    local = views.max(0) if rows else logits
    semantic, spatial = view.semantic_maps[0].numpy(), view.spatial_map[0].numpy()
    return Seen(logits, local, views, categories, boxes, semantic, maps, spatial)


def shrunk(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    height, width = size
    return image.resize((width, height), Image.Resampling.BILINEAR)


def as_input(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255
