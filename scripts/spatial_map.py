"""What the spatial map looks at, and what the re-constraint does to boxes, on images with boxes.

    python scripts/spatial_map.py --root data --output results/spatial-map.json

Nothing is trained. The default model sees every image once.
"""

import argparse
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from didvit.data.boxes import AnnotatedImage, read_boxes
from didvit.data.images import read_image
from didvit.environment import versions
from didvit.evaluation.box_metrics import iou
from didvit.experiments.boxes import SMALL_DATA
from didvit.files import write_json
from didvit.method.reconstraint import RECONSTRAINTS
from didvit.method.rollout import NORMALIZATIONS, attention_rollout
from didvit.method.views import resize_whole
from didvit.modeling.checkpoint import Checkpoint, load_checkpoint

TOP = 3
"""Number of patches that count as the map's peaks: about 1 % of 256."""

MOST_LIKELY = 8
"""Number of labels whose maps are measured, the most likely ones."""

ROLLOUTS = {
    "column": ("column", 0, "descending"),
    "column, first block first": ("column", 0, "ascending"),
    "row": ("row", 0, "descending"),
    "row, without the first block": ("row", 1, "descending"),
    "row, last 4 blocks": ("row", -4, "descending"),
}
"""Normalization, the first block that takes part, and the order; the paper's text can be read as
either of the first two, and its authors' code has the third."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--model", default="default")
    arguments = parser.parse_args()
    checkpoint = load_checkpoint(arguments.model)
    images = [
        image
        for data in SMALL_DATA
        for image in read_boxes(f"{arguments.root}/{data}", checkpoint.labels)
    ]
    with torch.inference_mode():
        measured = [measure(image, checkpoint) for image in images]
    maps = [row for image in measured for row in image["maps"]]
    write_json(
        arguments.output,
        {
            "model": arguments.model,
            "num_images": len(images),
            "num_maps": len(maps),
            "negative_maps": fmean(row["negative"] for row in maps),
            "objects": fmean(image["objects"] for image in measured),
            "norm_peak": fmean(image["norm_peak"] for image in measured),
            "received_by_block": mean_of([image["received_by_block"] for image in measured]),
            "spatial": {
                name: {
                    key: fmean(image[name][key] for image in measured) for key in measured[0][name]
                }
                for name in ROLLOUTS
            },
            "boxes": [
                {
                    "normalization": name,
                    "reconstraint": strategy,
                    "maps": "negative" if negative else "others",
                    **{
                        key: fmean(
                            row[name, strategy][key] for row in maps if row["negative"] == negative
                        )
                        for key in ("iou_with_none", "area")
                    },
                }
                for name in NORMALIZATIONS
                for strategy in RECONSTRAINTS
                for negative in (False, True)
            ],
            "versions": versions(),
        },
    )


def measure(image: AnnotatedImage, checkpoint: Checkpoint) -> dict:
    """What is measured on one image."""
    model, size = checkpoint.model, checkpoint.config.image_size
    norms: list[Tensor] = []
    hook = model.backbone.vit.norm.register_forward_pre_hook(
        lambda _, tokens: norms.append(tokens[0].norm(dim=-1))
    )
    tokens, attentions = model.backbone.forward_with_attention(
        resize_whole([torch.from_numpy(read_image(image.image)).permute(2, 0, 1)], size)
    )
    hook.remove()
    first_patch = model.backbone.num_prefix_tokens
    norm = norms[0][0, first_patch:]
    semantic_maps, logits = model.head(tokens)
    grid = tuple(tokens.shape[-2:])
    inside = object_patches(image, grid).flatten()
    chosen = logits[0].argsort(descending=True)[:MOST_LIKELY]
    received = torch.cat([attention[:, :, first_patch:].mean(1) for attention in attentions])
    results = {
        "objects": inside.double().mean().item(),
        "norm_peak": (norm.max() / norm.median()).item(),
        "received_by_block": (received.amax(1) / received.mean(1)).tolist(),
        "maps": [{"negative": bool(semantic_maps[0, c].max() < 0)} for c in chosen],
    }
    for name, (normalization, start, order) in ROLLOUTS.items():
        spatial = attention_rollout(
            attentions[start:],
            grid,
            first_patch,
            model.backbone.has_class_token,
            NORMALIZATIONS[normalization],
            order,
        )
        results[name] = spatial_measures(spatial.flatten(), norm, received, inside)
        if name not in NORMALIZATIONS:
            continue
        boxes = {
            strategy: model.find_boxes(act(spatial, semantic_maps), chosen[None], size)[0].double()
            for strategy, act in RECONSTRAINTS.items()
        }
        for k, row in enumerate(results["maps"]):
            for strategy, of_strategy in boxes.items():
                x0, y0, x1, y1 = box = of_strategy[k]
                overlap = iou(box[None].numpy(), boxes["none"][k][None].numpy())
                row[name, strategy] = {
                    "iou_with_none": float(overlap[0, 0]),
                    "area": float((x1 - x0) * (y1 - y0)) / (size[0] * size[1]),
                }
    return results


def spatial_measures(
    spatial: Tensor, norm: Tensor, received: Tensor, inside: Tensor
) -> dict[str, float]:
    """How peaked a spatial map is, and what its peaks are.

    Args:
        spatial: The map ``(N,)``.
        norm: Norms of the patch tokens after the last block ``(N,)``.
        received: Attention that patches receive from all tokens in every block ``(L, N)``.
        inside: Whether a patch lies in an object ``(N,)``.
    """
    peaks = spatial.topk(TOP).indices
    return {
        "max_over_mean": (spatial.max() / spatial.mean()).item(),
        "mass_of_peaks": (spatial[peaks].sum() / spatial.sum()).item(),
        "peaks_in_objects": inside[peaks].double().mean().item(),
        "mass_in_objects": (spatial[inside].sum() / spatial.sum()).item(),
        "peaks_of_largest_norm": shared(peaks, norm),
        "peaks_of_first_block": shared(peaks, received[0]),
        "peaks_of_last_block": shared(peaks, received[-1]),
    }


def shared(peaks: Tensor, values: Tensor) -> float:
    """Fraction of the peaks that are peaks of the values too."""
    return torch.isin(peaks, values.topk(TOP).indices).double().mean().item()


def mean_of(rows: list[list[float]]) -> list[float]:
    """Mean of each column."""
    return [fmean(column) for column in zip(*rows, strict=True)]


def object_patches(image: AnnotatedImage, grid: tuple[int, int]) -> Tensor:
    """Patches ``(h, w)`` whose center lies in the box of an object."""
    height, width = image.size
    inside = torch.zeros(grid, dtype=torch.bool)
    y = (torch.arange(grid[0]) + 0.5) * height / grid[0]
    x = (torch.arange(grid[1]) + 0.5) * width / grid[1]
    for x0, y0, x1, y1 in image.boxes:
        inside |= ((y >= y0) & (y < y1))[:, None] & ((x >= x0) & (x < x1))
    return inside


if __name__ == "__main__":
    main()
