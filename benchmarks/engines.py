"""Time of a prediction by each engine, against plain forward passes of the same backbone.

    python benchmarks/engines.py --photographs photos --output benchmarks/results/engines.json

Photographs are decoded before. All contestants take each photograph in turn, in one process, on one
thread; a ratio is the median over photographs of the ratios of CPU seconds, and with a budget of
passes, where some photographs take longer than others, the ratio of the sums. The floor is what the
network alone costs in PyTorch: one pass over the whole image, and one over each view's size.
``--jpeg FILE`` adds predictions of a file, and reading it alone.
``--export NAME=DIR`` adds exports; ``--old PYTHON SRC`` times an older version of this repository
in a process of its own, on the same photographs.
"""

import argparse
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from didvit.data.images import read_image, read_photograph
from didvit.environment import versions
from didvit.files import write_json
from didvit.inference.engines.graphs import view_size
from didvit.inference.engines.pytorch import PyTorchEngine
from didvit.inference.paths import find_images
from didvit.inference.predictor import load
from didvit.method.views import resize_whole

OLD = """
import statistics, sys, time, torch
torch.set_num_threads(1)
import didvit
model = didvit.load("default")
from PIL import Image
images = [Image.open(path).convert("RGB") for path in sys.argv[1:]]
model.predict(images[0])
times = []
for image in images:
    start = time.process_time()
    model.predict(image)
    times.append(time.process_time() - start)
print(statistics.median(times))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photographs", required=True)
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--export", action="append", default=[], metavar="NAME=DIR")
    parser.add_argument("--jpeg", type=Path)
    parser.add_argument("--old", nargs=2, metavar=("PYTHON", "SRC"))
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    paths = find_images([options.photographs])[: options.count]
    photographs = [read_image(path) for path in paths]
    contestants = contestants_of(dict(pair.split("=", 1) for pair in options.export), options.jpeg)
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for pixels in [photographs[0], *photographs]:  # the first is a trial
        for name, run in contestants.items():
            start = time.process_time()
            run(pixels)
            times[name].append(time.process_time() - start)
    rows = []
    for name, values in times.items():
        values, floor = values[1:], times["floor"][1:]
        ratios = [value / least for value, least in zip(values, floor, strict=True)]
        seconds, ratio = statistics.median(values), statistics.median(ratios)
        if "passes" in name:
            seconds, ratio = statistics.fmean(values), sum(values) / sum(floor)
        rows.append({"name": name, "seconds": seconds, "ratio": ratio})
    if options.old:
        python, source = options.old
        command = [python, "-c", OLD, *map(str, paths)]
        environment = {"PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
        result = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True
        )
        seconds = float(result.stdout.split()[-1])
        floor = statistics.median(times["floor"][1:])
        rows.append({"name": "version 0.1", "seconds": seconds, "ratio": seconds / floor})
    for row in rows:
        print(f"{row['name']:24} {1000 * row['seconds']:7.1f} ms  {row['ratio']:.2f}", flush=True)
    if options.output:
        method = load("default", threads=1).method
        content = {"photographs": len(paths), "rows": rows, "processor": processor()}
        content["passes"] = method.forward_passes()
        write_json(options.output, {**content, "versions": versions()})


def contestants_of(
    exports: dict[str, str], jpeg: Path | None
) -> dict[str, Callable[[np.ndarray], object]]:
    """What is timed, by name: a function of a photograph's pixels."""
    pytorch = load("default", engine="pytorch", threads=1)
    assert isinstance(pytorch.engine, PyTorchEngine)
    model, method = pytorch.engine.model, pytorch.method
    size = view_size(method, pytorch.image_size, pytorch.engine.patch_size)
    whole = torch.rand(1, 3, *pytorch.image_size)
    per_batch = model.views_per_batch(pytorch.image_size)
    count = method.top_n + method.tiles**2
    views = [torch.rand(per_batch, 3, *size) for _ in range(count // per_batch)]

    @torch.inference_mode()
    def floor(pixels: np.ndarray) -> None:
        for batch in (whole, *views):
            model.backbone(batch)

    @torch.inference_mode()
    def published(pixels: np.ndarray) -> None:
        source = torch.from_numpy(pixels).permute(2, 0, 1)
        model(resize_whole([source], pytorch.image_size), [source])

    runs: dict[str, Callable[[np.ndarray], object]] = {"floor": floor, "DiD.forward": published}
    default = load("default", threads=1, precision="int8")
    predictors = {
        "pytorch": pytorch,
        "onnx fp32": load("default", threads=1, precision="fp32"),
        "onnx int8": default,
    }
    predictors["openvino"] = load("default", engine="openvino", threads=1)
    for name, folder in exports.items():
        predictors[name] = load(
            folder, threads=1, engine="openvino" if "openvino" in name else None
        )
    for name, predictor in predictors.items():
        runs[name] = lambda pixels, predictor=predictor: predictor.run([pixels])
    for passes in (1.0, 1.5, 2.0):
        budget = default.view_budget(passes)
        name = f"onnx int8, passes {passes:g}"
        runs[name] = lambda pixels, budget=budget: default.run([pixels], budget=budget)
    if jpeg:
        runs["reading the JPEG file"] = lambda pixels: read_photograph(jpeg, default.least_size)
        runs["predicting the JPEG file"] = lambda pixels: default.predict(jpeg)
    return runs


def processor() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(": ")[2]
    return platform.processor()


if __name__ == "__main__":
    main()
