"""Measure what products in 8 bits change: two files of scores of the same images.

    python scripts/scores.py --data coco40k/test.csv --output fp32.npz
    python scripts/scores.py --data coco40k/test.csv --precision int8 --output int8.npz
    python scripts/precision.py --fp32 fp32.npz --int8 int8.npz --output results/int8.json

Thresholds are the default model's. The interval is of a bootstrap over images.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from didvit.evaluation.metrics import (
    bootstrap_difference,
    mean_average_precision,
    precision_recall,
)
from didvit.files import write_json
from didvit.inference.predictor import load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("fp32", "int8", "output"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    options = parser.parse_args()
    decisions = load("default").decisions
    assert decisions is not None
    (one, targets), (other, _) = read(options.fp32), read(options.int8)
    change = bootstrap_difference(other, one, targets, 200)
    content: dict[str, Any] = {
        "images": len(one),
        "mAP": {
            name: 100 * mean_average_precision(logits, targets)
            for name, logits in (("fp32", one), ("int8", other))
        },
        "interval": [100 * change.low, 100 * change.high],
        "aims": {},
    }
    probabilities = [decisions.probabilities(logits) for logits in (one, other)]
    for aim in decisions.aims:
        thresholds = decisions.thresholds(aim)
        found = [values >= thresholds for values in probabilities]
        content["aims"][aim] = {
            "tags": int(found[0].sum()),
            "changed": int((found[0] != found[1]).sum()),
            "precision_and_recall": [
                {
                    name: 100 * value
                    for name, value in precision_recall(values - thresholds, targets, 0.0)
                    ._asdict()
                    .items()
                }
                for values in probabilities
            ],
        }
    write_json(options.output, content)
    print(content)


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Fused logits (mean of both branches) and targets."""
    with np.load(path, allow_pickle=False) as arrays:
        logits = (arrays["global_logits"] + arrays["local_logits"]) / 2
        return logits, arrays["targets"].astype(np.int64)


if __name__ == "__main__":
    main()
