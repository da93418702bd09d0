"""Measure what leaving out views costs, on test scores, with what validation scores say.

    python scripts/passes.py --val val.npz --test test.npz --output results/passes.json

Scores are those of ``scripts/scores.py``, of a model with 4 regions and 4 tiles at half the input's
sides and the fusion "mean". Intervals are percentiles of a bootstrap over the test images.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from didvit.data.wording import counted
from didvit.decisions.aims import parse_aim
from didvit.decisions.store import Decisions, decide
from didvit.evaluation.metrics import (
    bootstrap_difference,
    mean_average_precision,
    precision_recall,
)
from didvit.files import write_json

RESAMPLES = 200
REGIONS, TILES, SHARE = 4, 4, 0.25
MOST = 1 + (REGIONS + TILES) * SHARE
BUDGETS = (1.0, 1.25, 1.5, 1.75, 2.0, 2.5)


@dataclass(frozen=True)
class Views:
    """Logits of whole images and of all their views."""

    whole: np.ndarray
    views: np.ndarray
    targets: np.ndarray

    def local(self, regions: int, tiles: int) -> np.ndarray:
        """Local logits with fewer views; those of the whole image where there are none."""
        if not regions + tiles:
            return self.whole
        kept = [*range(regions), *range(REGIONS, REGIONS + tiles)]
        return self.views[:, kept].max(1).astype(np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("val", "test", "output"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    options = parser.parse_args()
    val, test = read(options.val), read(options.test)
    rows = []
    for regions, tiles in ((0, 0), (1, 0), (2, 0), (4, 0), (0, 4), (1, 4), (2, 4), (4, 4)):
        name = name_of(regions, tiles)
        decisions = tuned(val, regions, tiles)
        fused = (test.whole + test.local(regions, tiles)) / 2
        passes = 1 + (regions + tiles) * SHARE
        rows.append(Row("fixed", name, passes, fused, decisions))
    for regions, tiles in ((4, 4), (2, 4)):
        decisions = tuned(val, regions, tiles)
        most = 1 + (regions + tiles) * SHARE
        for budget in (budget for budget in BUDGETS if budget < most):
            fused, share = saved(test, decisions, regions, tiles, budget, most)
            name = f"{name_of(regions, tiles)}; passes {budget:g}"
            rows.append(Row("adaptive", name, 1 + share * (most - 1), fused, decisions))
    decisions = tuned(val, REGIONS, TILES)
    for kept in (100.0, 99.0, 95.0):
        fused, share = by_range(val, test, decisions, kept)
        name = f"{kept:g} % of the range of each label"
        rows.append(Row("range", name, 1 + share * (MOST - 1), fused, decisions))
    content = report(rows, test.targets)
    write_json(options.output, content)
    for row in content["rows"]:
        print(row)


def name_of(regions: int, tiles: int) -> str:
    counts = counted(regions, "region"), counted(tiles, "tile")
    parts = [part for part in counts if not part.startswith("0 ")]
    return ", ".join(parts) or "no views"


def read(path: Path) -> Views:
    with np.load(path, allow_pickle=False) as arrays:
        whole, views, targets = (
            arrays[name] for name in ("global_logits", "view_logits", "targets")
        )
        return Views(whole, views, targets.astype(np.int64))


def tuned(val: Views, regions: int, tiles: int) -> Decisions:
    """Calibration, thresholds for F1 and the policy of a model with these views."""
    labels = tuple(map(str, range(val.whole.shape[1])))
    names = {"fusion": "mean", "weights": "", "data": "", "digest": ""}
    local = val.local(regions, tiles)
    return decide(val.whole, local, val.targets, labels, [parse_aim("f1")], **names)


def saved(
    test: Views, decisions: Decisions, regions: int, tiles: int, budget: float, most: float
) -> tuple[np.ndarray, float]:
    """Fused logits with a budget of passes, and the share of images that have views."""
    rule = decisions.view_budget(budget, most)
    assert rule is not None
    local = rule.estimated(test.whole)
    chosen = rule.needs_views((test.whole + local) / 2)
    local[chosen] = test.local(regions, tiles)[chosen]
    return (test.whole + local) / 2, float(chosen.mean())


def by_range(
    val: Views, test: Views, decisions: Decisions, kept: float
) -> tuple[np.ndarray, float]:
    """Views for images of which a label may cross its threshold.

    It may where the threshold lies within the range of (fused - global) that the label has on
    validation images, all of it (``kept`` 100) or its middle part.
    """
    change = (val.local(REGIONS, TILES) - val.whole) / 2
    low, high = np.percentile(change, ((100 - kept) / 2, 50 + kept / 2), axis=0)
    probability, thresholds = decisions.probabilities, decisions.thresholds()
    may_rise = probability(test.whole + high) >= thresholds
    may_stay = probability(test.whole + low) >= thresholds
    chosen = (may_rise & ~may_stay).any(1)
    local = np.where(chosen[:, None], test.local(REGIONS, TILES), test.whole)
    return (test.whole + local) / 2, float(chosen.mean())


@dataclass(frozen=True)
class Row:
    """A way to spend forward passes, and what it gives for the test images."""

    kind: str
    name: str
    passes: float
    fused: np.ndarray
    decisions: Decisions


def report(rows: list[Row], targets: np.ndarray) -> dict[str, Any]:
    """Figures of all rows, in percent; the change is from all views."""
    names = name_of(0, 0), name_of(REGIONS, TILES)
    whole, full = (next(row for row in rows if row.name == name) for name in names)
    least, most = (mean_average_precision(row.fused, targets) for row in (whole, full))
    result = []
    for row in rows:
        value = mean_average_precision(row.fused, targets)
        change = bootstrap_difference(row.fused, full.fused, targets, RESAMPLES)
        margins = row.decisions.probabilities(row.fused) - row.decisions.thresholds()
        decided = precision_recall(margins, targets, 0.0)
        figures = {
            "mAP": value,
            "mAP_change": value - most,
            "interval": list(change),
            "share_of_gain": (value - least) / (most - least),
            "OF1": decided.OF1,
            "CF1": decided.CF1,
        }
        percent = {name: (100 * np.array(value)).tolist() for name, value in figures.items()}
        result.append({"kind": row.kind, "name": row.name, "passes": row.passes, **percent})
    return {"images": len(targets), "resamples": RESAMPLES, "rows": result}


if __name__ == "__main__":
    main()
