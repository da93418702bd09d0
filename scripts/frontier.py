"""mAP against cost of a model: input sizes, views and fusions, on validation images.

    python scripts/frontier.py --models MODEL ... --data coco40k/val.csv --images 1000 \
        --scores scores --output results/frontier.json

A view's logits are stored in the folder of ``--scores`` and used again. Cost is counted in forward
passes over the input and in multiply-accumulates (MACs). Precision and recall are of all pairs of
image and label, at a probability of 0.5. ``precision_at_recall`` is the precision at the threshold
at which the fused score finds as much as the global score does at 0.5.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from didvit.config import DiDConfig
from didvit.data.datasets import read_dataset
from didvit.data.reading import read_in_order
from didvit.data.table import Table
from didvit.environment import versions
from didvit.evaluation.metrics import mean_average_precision, precision_recall
from didvit.evaluation.scoring import run_model
from didvit.files import whole_file, write_json
from didvit.method.model import FUSIONS, DiD
from didvit.modeling.checkpoint import load_checkpoint


class Views(NamedTuple):
    """A choice of views: the settings that score it, and the stored parts that it needs."""

    settings: DiDConfig
    parts: tuple[str, ...]


HALF = DiDConfig(view_scale=0.5, tiles=2)
VIEWS = {
    "single view": Views(DiDConfig(top_n=0), ()),
    "4 boxes at half": Views(replace(HALF, tiles=0), ("boxes",)),
    "4 boxes, 4 tiles at half": Views(HALF, ("boxes", "tiles")),
    "4 boxes at full": Views(DiDConfig(), ("boxes",)),
}
"""One forward pass, 2, 3 and 5."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--images", type=int, help="the first ones; all by default")
    parser.add_argument("--sizes", type=int, nargs="+", default=[224, 256, 288, 320, 384])
    parser.add_argument("--views", nargs="+", choices=list(VIEWS), default=list(VIEWS))
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--stored", action="store_true", help="only what is scored already")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    rows = []
    for name in arguments.models:
        checkpoint = load_checkpoint(name)
        table = read_dataset(arguments.data, checkpoint.labels)
        count = min(arguments.images or len(table), len(table))
        for size in arguments.sizes:
            for views in arguments.views:
                folder = arguments.scores / f"{Path(arguments.data).stem}-{count}" / Path(name).name
                settings = VIEWS[views].settings
                if arguments.stored and not path_of(folder, settings, size).exists():
                    continue
                model = load_checkpoint(name, settings).model
                scores = stored_scores(folder, model, table, count, size)
                for row in measured(scores, table.targets[:count], VIEWS[views]):
                    cost = {
                        "forward_passes": settings.forward_passes(),
                        "gigamacs": multiplications(model, size) / 1e9,
                    }
                    rows.append(
                        {"model": Path(name).name, "size": size, "views": views, **row, **cost}
                    )
                    print(line(rows[-1]), flush=True)
    if arguments.output:
        content = {"data": arguments.data, "images": count, "rows": rows, "versions": versions()}
        write_json(arguments.output, content)


def stored_scores(
    folder: Path, model: DiD, table: Table, count: int, size: int
) -> dict[str, np.ndarray]:
    """Logits of the whole images and of the best box and tile; computed where none are stored."""
    path = path_of(folder, model.config, size)
    if not path.exists():
        if path.stem.endswith("half"):  # tiles come with the boxes
            model.config = replace(model.config, tiles=2)
        scores = scored(model, table, count, size)
        with whole_file(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **scores)  # pyright: ignore[reportArgumentType]
    with np.load(path) as arrays:
        return dict(arrays)


def path_of(folder: Path, settings: DiDConfig, size: int) -> Path:
    """Where scores lie. Those of views hold the global view's too."""
    half = folder / f"{size}-half.npz"
    if settings.top_n == 0:
        return half if half.exists() else folder / f"{size}-single.npz"
    return half if settings.view_scale == 0.5 else folder / f"{size}-full.npz"


def scored(model: DiD, table: Table, count: int, size: int) -> dict[str, np.ndarray]:
    parts: dict[str, list[torch.Tensor]] = {"global": [], "boxes": [], "tiles": []}
    generator, device = torch.Generator().manual_seed(0), torch.device("cpu")
    for photographs in read_in_order(table.images[:count], 8):
        sources = [torch.from_numpy(pixels).permute(2, 0, 1) for pixels in photographs]
        output = run_model(model, sources, (size, size), device, generator)
        parts["global"].append(output.global_logits)
        boxes, tiles = output.view_logits.split(
            [output.boxes.shape[1], output.view_logits.shape[1] - output.boxes.shape[1]], dim=1
        )
        if boxes.shape[1]:
            parts["boxes"].append(boxes.amax(1))
        if tiles.shape[1]:
            parts["tiles"].append(tiles.amax(1))
    return {name: torch.cat(values).numpy() for name, values in parts.items() if values}


def measured(
    scores: dict[str, np.ndarray], targets: np.ndarray, views: Views
) -> Iterator[dict[str, Any]]:
    """Quality by fusion."""
    whole = scores["global"].astype(np.float64)
    recall = 100 * precision_recall(whole, targets, 0.0).OR
    local = whole
    if views.parts:
        local = np.maximum.reduce([scores[part] for part in views.parts]).astype(np.float64)
    for fusion in ("global",) if not views.parts else ("mean", "max", "local"):
        fused = FUSIONS[fusion](torch.from_numpy(whole), torch.from_numpy(local)).numpy()
        counts = precision_recall(fused, targets, 0.0)
        yield {
            "fusion": fusion,
            "mAP": 100 * mean_average_precision(fused, targets),
            "precision": 100 * counts.OP,
            "recall": 100 * counts.OR,
            "precision_at_recall": (at_recall := precision_at(recall, fused, targets))[0],
            "threshold_at_recall": at_recall[1],
        }


def precision_at(recall: float, logits: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """The highest threshold that finds at least this percentage: precision, and the threshold.

    The precision is in percent, and the threshold is a probability.
    """
    order = np.argsort(-logits, axis=None, kind="stable")
    found = np.cumsum(targets.ravel()[order] == 1)
    place = int(np.searchsorted(found, recall / 100 * found[-1] - 1e-9))
    threshold = 1 / (1 + np.exp(-logits.ravel()[order[place]]))
    return 100 * float(found[place]) / (place + 1), float(threshold)


def multiplications(model: DiD, size: int) -> int:
    """MACs of a prediction."""
    image = torch.zeros(1, 3, size, size)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(image)
    return counter.get_total_flops() // 2


def line(row: dict[str, Any]) -> str:
    return (
        f"{row['model']:12} {row['size']} {row['views']:25} {row['fusion']:6} "
        f"mAP {row['mAP']:.2f}  P {row['precision']:.1f}  R {row['recall']:.1f}  "
        f"P at global R {row['precision_at_recall']:.1f}  {row['gigamacs']:.2f} GMACs"
    )


if __name__ == "__main__":
    main()
