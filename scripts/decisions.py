"""Measure a model's decisions: calibration and thresholds from validation scores, on test scores.

    python scripts/decisions.py --val val.npz --test test.npz --output results/decisions.json

Scores are arrays ``global_logits``, ``local_logits`` and ``targets``, as ``scripts/scores.py``
writes them. Intervals are percentiles of a bootstrap over the test images.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from didvit.decisions.aims import parse_aim
from didvit.decisions.calibration import fit_calibration, sigmoid
from didvit.decisions.thresholds import fit_thresholds
from didvit.evaluation.calibration import brier_score, calibration_error, pooled_calibration_error
from didvit.evaluation.metrics import precision_recall
from didvit.files import write_json

RESAMPLES = 1000
AIMS = ("f1", "precision=0.85", "precision=0.9", "recall=0.9", "count")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("val", "test", "output"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    options = parser.parse_args()
    val, val_targets = read(options.val)
    test, targets = read(options.test)
    calibration = fit_calibration(val, val_targets)
    before, after = sigmoid(test), calibration.probabilities(test)
    rng = np.random.default_rng(0)
    draws = [rng.integers(0, len(test), len(test)) for _ in range(RESAMPLES)]
    content: dict[str, Any] = {"images": {"val": len(val), "test": len(test)}}
    content["calibration"] = {
        name: {
            "before": interval(lambda rows, m=metric: m(before[rows], targets[rows]), draws[:200]),
            "after": interval(lambda rows, m=metric: m(after[rows], targets[rows]), draws[:200]),
        }
        for name, metric in (
            ("pooled_error", pooled_calibration_error),
            ("label_error", label_error),
            ("brier", lambda p, y: float(np.nanmean(brier_score(p, y)))),
        )
    }
    rows = [{"aim": "sigmoid, 0.5", **measured(before - 0.5, before - 0.5, targets, draws)}]
    for text in AIMS:
        aim = parse_aim(text)
        facts = fit_thresholds(calibration.probabilities(val), val_targets, aim)
        margins = after - np.array([label.threshold for label in facts])
        row = {"aim": text, **measured(margins, before - 0.5, targets, draws)}
        row["labels_with_a_note"] = sum(bool(label.note) for label in facts)
        if aim.value is not None:
            row["labels_reached"] = reached(margins, targets, aim.kind, aim.value)
        rows.append(row)
    content["aims"] = rows
    best = best_thresholds(test, targets)
    content["best"] = measured(test - best, before - 0.5, targets, draws[:1])
    write_json(options.output, content)
    print(content)


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Fused logits (mean of both branches) and targets."""
    with np.load(path, allow_pickle=False) as arrays:
        logits = (arrays["global_logits"] + arrays["local_logits"]) / 2
        return logits, arrays["targets"].astype(np.int64)


def label_error(p: np.ndarray, y: np.ndarray) -> float:
    return float(np.nanmean(calibration_error(p, y)))


def interval(metric: Callable[[Any], float], draws: list[np.ndarray]) -> dict[str, float]:
    low, high = np.percentile([metric(rows) for rows in draws], (2.5, 97.5))
    return {"value": metric(slice(None)), "low": float(low), "high": float(high)}


def measured(
    margins: np.ndarray, reference: np.ndarray, targets: np.ndarray, draws: list[np.ndarray]
) -> dict[str, Any]:
    """Precision, recall and F1 in percent, and the change of CF1 and OF1 from 0.5."""
    values = precision_recall(margins, targets, 0.0)._asdict()
    changes = {name: [] for name in ("CF1", "OF1")}
    for rows in draws:
        ours = precision_recall(margins[rows], targets[rows], 0.0)
        theirs = precision_recall(reference[rows], targets[rows], 0.0)
        for name, differences in changes.items():
            differences.append(100 * (getattr(ours, name) - getattr(theirs, name)))
    return {
        **{name: 100 * value for name, value in values.items()},
        "change": {
            name: np.percentile(differences, (2.5, 97.5)).tolist()
            for name, differences in changes.items()
        },
    }


def best_thresholds(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The thresholds of the highest F1 on these very images: what no choice can exceed."""
    result = []
    for x, y in zip(logits.T, (targets == 1).T, strict=True):
        order = np.argsort(-x)
        f1 = 2 * np.cumsum(y[order]) / (np.arange(1, len(x) + 1) + y.sum())
        result.append(x[order[f1.argmax()]])
    return np.array(result)


def reached(margins: np.ndarray, targets: np.ndarray, kind: str, value: float) -> dict[str, int]:
    """Labels that keep the floor on these images, of those where it can be counted."""
    chosen, true = margins >= 0, targets == 1
    correct = (chosen & true).sum(0)
    count = chosen.sum(0) if kind == "precision" else true.sum(0)
    share = correct[count > 0] / count[count > 0]
    return {"reached": int((share >= value).sum()), "counted": int((count > 0).sum())}


if __name__ == "__main__":
    main()
