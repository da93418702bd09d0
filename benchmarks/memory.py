"""Memory of a prediction by each engine, beside one plain forward pass of the same backbone.

    python benchmarks/memory.py --photograph cat.jpg --output benchmarks/results/memory.json

Each contestant runs in a process of its own, on one thread: it loads the model, and predicts the
photograph three times. What is told is the highest memory of the process, and how much of it came
after the imports.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from didvit.environment import versions
from didvit.files import write_json

START = """
import json, resource, sys
def now():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 1e6
"""
END = """
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
print(json.dumps([peak, peak - before]))
"""
FLOOR = """
import torch
from didvit.modeling.checkpoint import load_checkpoint
torch.set_num_threads(1)
before = now()
backbone = load_checkpoint("default").model.backbone.eval()
image = torch.rand(1, 3, 288, 288)
with torch.inference_mode():
    for _ in range(3):
        backbone(image)
"""
OURS = """
from didvit.inference.predictor import load
import {module}
before = now()
predictor = load("default", engine="{engine}", precision={precision!r}, threads=1)
for _ in range(3):
    predictor.predict(sys.argv[1])
"""
CONTESTANTS = {
    "floor: one plain pass, PyTorch": FLOOR,
    "pytorch": OURS.format(
        module="torch, didvit.inference.engines.pytorch", engine="pytorch", precision="fp32"
    ),
    "onnx fp32": OURS.format(module="onnxruntime", engine="onnx", precision="fp32"),
    "onnx int8": OURS.format(module="onnxruntime", engine="onnx", precision="int8"),
    "openvino": OURS.format(module="openvino", engine="openvino", precision="fp32"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photograph", type=Path, required=True)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    rows = []
    for name, program in CONTESTANTS.items():
        command = [sys.executable, "-c", START + program + END, str(options.photograph)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peak, own = json.loads(done.stdout.splitlines()[-1])
        rows.append({"name": name, "peak_megabytes": peak, "own_megabytes": own})
        print(f"{name:32} {peak:7.0f} MB, {own:5.0f} MB after imports", flush=True)
    if options.output:
        write_json(options.output, {"rows": rows, "versions": versions()})


if __name__ == "__main__":
    main()
