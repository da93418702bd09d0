"""Time and memory of DiD inference over the same number of plain timm forwards.

DiD with K views looks 1 + K times at an image. Beyond those looks it needs the attention of the
first, a rollout, K boxes and K crops: the ratio of its time to 1 + K plain forwards of the same
transformer, at the same batch, is what that costs. Both are timed in turn in one process, and the
median of the pairwise ratios is reported. Memory is the peak above the loaded model, each measured
in a process of its own. Weights are random: speed does not depend on them.

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

import timm
import torch

from didvit.method import DiD, SemanticHead, ViTBackbone
from didvit.run_folder import versions

CASES = (("vit_small_patch14_dinov2", 224), ("vit_base_patch16_224", 448))
BATCHES = (1, 8)
TOP_N, NUM_CATEGORIES = 4, 80
SOURCE_SIZE = (480, 640)


def build(name: str, size: int, batch: int) -> tuple[Callable, Callable]:
    """A function that runs one plain forward, and one that runs DiD on the same batch."""
    torch.manual_seed(0)
    vit = timm.create_model(name, num_classes=0, img_size=size, dynamic_img_size=True).eval()
    model = DiD(ViTBackbone(vit), SemanticHead(vit.embed_dim, NUM_CATEGORIES), top_n=TOP_N).eval()
    sources = [torch.randint(0, 256, (3, *SOURCE_SIZE), dtype=torch.uint8) for _ in range(batch)]
    images = torch.rand(batch, 3, size, size)
    return lambda: vit.forward_features(images), lambda: model(images, sources)


@torch.inference_mode()
def time_ratio(name: str, size: int, batch: int, repeats: int) -> dict:
    plain, did = build(name, size, batch)

    def seconds(run: Callable, times: int) -> float:
        start = time.perf_counter()
        for _ in range(times):
            run()
        return time.perf_counter() - start

    seconds(plain, 1)
    seconds(did, 1)
    pairs = [(seconds(did, 1), seconds(plain, 1 + TOP_N)) for _ in range(repeats)]
    ratios = [ours / theirs for ours, theirs in pairs]
    return {
        "did_seconds": statistics.median(ours for ours, _ in pairs),
        "plain_seconds": statistics.median(theirs for _, theirs in pairs),
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
    }


@torch.inference_mode()
def peak_bytes(name: str, size: int, batch: int, which: str) -> int:
    """Peak resident memory of one run above the loaded model (Linux)."""
    run = build(name, size, batch)[which == "did"]
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
    parser.add_argument("--repeats", type=int, default=5, help="pairs of each case")
    parser.add_argument("--peak", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        name, size, batch, which = arguments.peak
        print(peak_bytes(name, int(size), int(batch), which))
        return

    rows = []
    for name, size in CASES:
        for batch in BATCHES:
            row = {"backbone": name, "image_size": size, "batch": batch}
            row |= time_ratio(name, size, batch, arguments.repeats)
            for which in ("plain", "did"):
                command = [sys.executable, __file__, "--peak", name, str(size), str(batch), which]
                row[f"{which}_peak_mb"] = int(subprocess.check_output(command)) / 2**20
            row["peak_ratio"] = row["did_peak_mb"] / row["plain_peak_mb"]
            rows.append(row)
            print(
                f"{name} at {size}, batch {batch}: {row['ratio']:.3f} of {1 + TOP_N} plain passes "
                f"({row['did_seconds']:.2f} s; pairs {row['ratio_range'][0]:.3f} to "
                f"{row['ratio_range'][1]:.3f}), peak memory {row['peak_ratio']:.2f} of one "
                f"({row['did_peak_mb']:.0f} MB)",
                flush=True,
            )
    if arguments.output:
        content = {
            "command": "python benchmarks/inference.py",
            "top_n": TOP_N,
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
