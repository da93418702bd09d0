"""What a score does not say of a model: tags where there is nothing to tag, and time.

    python scripts/check_default.py --nothing FOLDER ... --data VAL.csv --old FOLDER \
        --output results/default-check.json

``--nothing`` are folders of photographs without any of the model's labels. ``--equal-recall`` is
the threshold at which the fused score finds as much as the global score does at 0.5 (frontier.py
prints it). ``--old`` is another model, whose time for a photograph is measured beside the model's
own, in turns, on one thread. PyTorch computes, as the other model may have no graphs; scores are
sigmoids, as thresholds are compared here.
"""

import argparse
import time
from pathlib import Path
from statistics import median
from typing import Any

from didvit.config.presets import PRESETS, Preset
from didvit.data.datasets import read_dataset
from didvit.data.images import read_image
from didvit.environment import versions
from didvit.files import write_json
from didvit.inference.paths import find_images
from didvit.inference.predictor import Predictor, load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="default")
    parser.add_argument("--nothing", type=Path, nargs="+", default=[])
    parser.add_argument("--equal-recall", type=float, default=0.5)
    parser.add_argument("--data", help="photographs to measure the time on")
    parser.add_argument("--old", help="a model folder")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    content: dict[str, Any] = {
        "nothing": [
            false_tags(options.model, folder, options.equal_recall) for folder in options.nothing
        ],
        "equal_recall": options.equal_recall,
    }
    if options.data:
        content["times"] = times(options.model, options.old, options.data, options.rounds)
    write_json(options.output, {**content, "versions": versions()})


def predictor(model: str, preset: Preset | None = None) -> Predictor:
    return load(model, "cpu", preset, engine="pytorch", threads=1, decide=False)


def false_tags(model: str, folder: Path, equal_recall: float) -> dict[str, Any]:
    """Tags that the global score gives, and that it gives with the views, at two thresholds."""
    images = find_images([folder])
    scores = {
        "global": ("global_score", 0.5),
        "mean": ("score", 0.5),
        "mean at equal recall": ("score", equal_recall),
    }
    tags, tagged = dict.fromkeys(scores, 0), dict.fromkeys(scores, 0)
    for result in predictor(model).stream(images, threshold=0.0):
        for name, (field, threshold) in scores.items():
            found = sum(getattr(label, field) >= threshold for label in result.labels)
            tags[name] += found
            tagged[name] += found > 0
    return {"data": folder.name, "images": len(images), "tags": tags, "tagged_images": tagged}


def times(model: str, old: str | None, data: str, rounds: int) -> list[dict[str, Any]]:
    """CPU seconds for a photograph that is in memory, each round by every model in turn."""
    models: dict[str, Predictor] = {name: predictor(model, name) for name in PRESETS}
    paths = read_dataset(data, predictor(model).labels).images[: 4 * rounds]
    photographs = [read_image(path) for path in paths]
    if old:
        models["former default"] = predictor(old)
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for own in models.values():
        own.predict(photographs[:1])
    for start in range(0, len(photographs), 4):
        for name, own in models.items():
            begun = time.process_time()
            own.predict(photographs[start : start + 4], batch_size=1)
            seconds[name].append((time.process_time() - begun) / 4)
    return [
        {
            "name": name,
            "seconds": median(values),
            "range": [min(values), max(values)],
            "over_former": median(
                value / before
                for value, before in zip(values, seconds.get("former default", values), strict=True)
            ),
        }
        for name, values in seconds.items()
    ]


if __name__ == "__main__":
    main()
