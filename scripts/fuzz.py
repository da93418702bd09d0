"""Run the generators of tests/fuzzing.py for longer than the tests do, and count the outcomes.

    python scripts/fuzz.py --output results/fuzzing.json

It takes about two minutes on one core. Exit code 1 if an outcome is neither right nor a refusal in
one line; the input then stays in the folder that is printed.
"""

import argparse
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

import PIL
import torch

from didvit.config import ModelConfig, with_settings
from didvit.environment import versions
from didvit.files import write_json
from didvit.modeling.build import build_model
from didvit.modeling.checkpoint import save_checkpoint

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import fuzzing  # noqa: E402 - it is beside the tests

NUMBERS = {
    **{"image": 10_000, "csv": 800, "json lines": 300, "coco": 300, "voc": 300, "shards": 300},
    "model": 500,
}
"""Inputs by target: 10,000 images, 2,000 tables, 500 models."""

MOST_PIXELS = 1_000_000
"""Limit of an image's pixels: damaged headers may ask for gigabytes, which is allowed, and slow."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="file for the figures")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--part", type=float, default=1, help="part of the inputs to make")
    options = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["DIDVIT_MAX_PIXELS"] = str(MOST_PIXELS)
    work = Path(tempfile.mkdtemp(prefix="didvit-fuzz-"))
    os.environ[fuzzing.MODEL_VARIABLE] = str(save_model(work / "model"))
    targets, faults = {}, []
    for target, number in NUMBERS.items():
        start, outcomes = time.monotonic(), defaultdict(Counter)
        for i in range(round(number * options.part)):
            folder = work / f"{target} {i}".replace(" ", "-")
            folder.mkdir()
            try:
                case = fuzzing.fuzz(target, i, options.seed, folder)
            except fuzzing.FuzzError as error:
                faults.append(str(error))
                print(f"{error}; the input is in {folder}")
                continue
            outcomes[case.kind][case.outcome] += 1
            shutil.rmtree(folder)
        seconds = round(time.monotonic() - start, 1)
        targets[target] = {"seconds": seconds, "outcomes": outcomes}
        print(f"{target}: {sum(map(Counter.total, outcomes.values()))} inputs in {seconds} s")
    content = {
        "command": shlex.join(["python", *sys.argv]),
        "seed": options.seed,
        "most_pixels": MOST_PIXELS,
        "versions": versions() | {"pillow": PIL.__version__},
        "targets": targets,
        "faults": faults,
    }
    write_json(options.output, content)
    if not faults:
        shutil.rmtree(work)
    sys.exit(1 if faults else 0)


def save_model(folder: Path) -> Path:
    """A tiny random model of three labels that takes two regions."""
    torch.manual_seed(0)
    config = ModelConfig("test_vit", weights="random", image_size=(32, 48))
    config = with_settings(config, {"top_n": 2})
    labels = ("cat", "dog", "person")
    save_checkpoint(folder, build_model(config, len(labels)), labels, config)
    return folder


if __name__ == "__main__":
    main()
