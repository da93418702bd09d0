"""Time and memory of DiD inference, under each preset, against plain timm forward passes.

DiD makes a forward pass over the image and one over each of its views: K boxes, and tiles. It also
needs the attention of the first pass, a rollout, boxes and crops. What these cost is the ratio of
its time to that of plain forward passes over the same inputs, in the same batches. All are timed in
turn in one process; the reported ratio is the median over turns. Memory is the peak above the
loaded model, each measured in a process of its own. Weights are random: speed does not depend on
them.

    python benchmarks/inference.py --output benchmarks/results/inference.json
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from didvit.config import ModelConfig
from didvit.config.presets import PRESETS, Preset
from didvit.environment import versions
from didvit.modeling.build import build_model

CASES = (("vit_small_patch14_dinov2", 224), ("vit_base_patch16_224", 448))
BATCHES = (1, 8)
NUM_CATEGORIES = 80
SOURCE_SIZE = (480, 640)


class Runs(NamedTuple):
    """What is timed, on the same batch.

    Attributes:
        did: A prediction.
        plain: The backbone alone, on whole images.
        passes: The backbone alone, on whole images and on as many views as the prediction has.
        view_size: Height of a view in pixels.
    """

    did: Callable[[], object]
    plain: Callable[[], object]
    passes: Callable[[], object]
    view_size: int


def build(name: str, size: int, batch: int, preset: Preset) -> Runs:
    torch.manual_seed(0)
    method = PRESETS[preset]
    config = ModelConfig(name, weights="random", image_size=(size, size), method=method)
    model = build_model(config, NUM_CATEGORIES).eval()
    vit = model.backbone.vit
    sources = [torch.randint(0, 256, (3, *SOURCE_SIZE), dtype=torch.uint8) for _ in range(batch)]
    images = torch.rand(batch, 3, size, size)
    view_size = model.backbone.scaled_size((size, size), method.view_scale)
    num_views = method.top_n + method.tiles**2 if method.top_n else 0
    at_once = model.views_per_batch((size, size))
    views = torch.rand(batch * at_once, 3, *view_size)

    def passes() -> None:
        vit.forward_features(images)
        for start in range(0, num_views, at_once):
            vit.forward_features(views[: batch * min(at_once, num_views - start)])

    return Runs(
        lambda: model(images, sources),
        lambda: vit.forward_features(images),
        passes,
        view_size[0],
    )


@torch.inference_mode()
def time_presets(name: str, size: int, batch: int, repeats: int) -> list[dict]:
    """A row for each preset; all take turns."""
    runs = {preset: build(name, size, batch, preset) for preset in PRESETS}

    def seconds(run: Callable) -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    for run in runs.values():
        seconds(run.did)
        seconds(run.passes)
    turns = [
        {preset: (seconds(run.did), seconds(run.passes)) for preset, run in runs.items()}
        for _ in range(repeats)
    ]
    rows = []
    for preset, run in runs.items():
        ratios = [turn[preset][0] / turn[preset][1] for turn in turns]
        rows.append(
            {
                "backbone": name,
                "image_size": size,
                "batch": batch,
                "preset": preset,
                "top_n": PRESETS[preset].top_n,
                "tiles": PRESETS[preset].tiles,
                "view_size": run.view_size,
                "did_seconds": statistics.median(turn[preset][0] for turn in turns),
                "plain_seconds": statistics.median(turn[preset][1] for turn in turns),
                "ratio": statistics.median(ratios),
                "ratio_range": [min(ratios), max(ratios)],
                "over_paper": statistics.median(
                    turn[preset][0] / turn["paper"][0] for turn in turns
                ),
            }
        )
    return rows


@torch.inference_mode()
def peak_bytes(name: str, size: int, batch: int, preset: Preset, which: str) -> int:
    """Peak resident memory of one run above the loaded model (Linux)."""
    run = getattr(build(name, size, batch, preset), which)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _status("VmRSS")
    run()
    return _status("VmHWM") - before


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each case")
    parser.add_argument("--peak", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        name, size, batch, preset, which = arguments.peak
        print(peak_bytes(name, int(size), int(batch), preset, which))
        return

    rows = []
    for name, size in CASES:
        for batch in BATCHES:
            for row in time_presets(name, size, batch, arguments.repeats):
                for which in ("plain", "did"):
                    case = [name, str(size), str(batch), row["preset"], which]
                    command = [sys.executable, __file__, "--peak", *case]
                    row[f"{which}_peak_mb"] = int(subprocess.check_output(command)) / 2**20
                row["peak_ratio"] = row["did_peak_mb"] / row["plain_peak_mb"]
                rows.append(row)
                low, high = row["ratio_range"]
                print(
                    f"{name} at {size}, batch {batch}, {row['preset']}: {row['ratio']:.3f} x its "
                    f"forward passes ({row['did_seconds']:.2f} s; turns {low:.3f} to {high:.3f}), "
                    f"{row['over_paper']:.2f} x the paper's time, peak memory "
                    f"{row['peak_ratio']:.2f} x that of a plain forward pass "
                    f"({row['did_peak_mb']:.0f} MB)",
                    flush=True,
                )
    if arguments.output:
        content = {
            "command": "python benchmarks/inference.py",
            "repeats": arguments.repeats,
            "source_size": SOURCE_SIZE,
            "processor": _processor(),
            "cores": os.cpu_count(),
            "versions": versions(),
            "rows": rows,
        }
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(content, indent=2) + "\n")


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )


if __name__ == "__main__":
    main()
