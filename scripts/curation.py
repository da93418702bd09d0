"""Measure the audit of labels and the choice of what to label, on labels that are known.

    python scripts/curation.py --scores val.npz test.npz --output results/curation.json

Scores are those of ``scripts/scores.py``, of images that the model has not learned from.

Audit: of the present labels 3 % are taken away, and as many absent ones are added, both by a seed.
The precision of the first 200 suspicions is the share of them that were turned.

Choice: 100 images of the first file are labeled; 200 more are chosen from 1,100, by
`didvit.curation.rank` or at random, and a head on features that learned from all of them is scored
on the other 800. The model's own branches say how sure it is.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from didvit.curation.audit import audit
from didvit.curation.heads import fit_head
from didvit.curation.rank import rank
from didvit.decisions.calibration import sigmoid
from didvit.evaluation.metrics import mean_average_precision
from didvit.files import write_json

PART, FIRST, SEEDS = 0.03, 200, (0, 1, 2)
POOL, START, BUDGET = 1100, 100, 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", nargs="+", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    files = [dict(np.load(path, allow_pickle=False)) for path in options.scores]
    content = {
        "audit": [audited(files, seed) for seed in SEEDS],
        "choice": [chosen(files[0], seed) for seed in range(20)],
    }
    write_json(options.output, content)
    print(content)


def audited(files: list[dict[str, np.ndarray]], seed: int) -> dict[str, Any]:
    names = ("features", "local_logits")
    features = np.concatenate([np.concatenate([f[n] for n in names], 1) for f in files])
    targets = np.concatenate([f["targets"] for f in files]).astype(np.int64)
    given = turned(targets, seed)
    labels = tuple(map(str, range(targets.shape[1])))
    found = audit(features, given, labels, seed=seed).suspicions

    def precision(kind: str | None) -> float:
        first = [one for one in found if kind in (None, one.kind)][:FIRST]
        return float(np.mean([given[o.image, o.label] != targets[o.image, o.label] for o in first]))

    return {
        "seed": seed,
        "images": len(targets),
        "turned": int((given != targets).sum()),
        "all": precision(None),
        "missing": precision("missing"),
        "wrong": precision("wrong"),
    }


def turned(targets: np.ndarray, seed: int) -> np.ndarray:
    """Targets with 3 % of the present labels taken away, and as many absent ones added."""
    rng, given = np.random.default_rng(seed), targets.copy()
    present, absent = np.argwhere(targets == 1), np.argwhere(targets == 0)
    count = round(PART * len(present))
    given[tuple(present[rng.choice(len(present), count, False)].T)] = 0
    given[tuple(absent[rng.choice(len(absent), count, False)].T)] = 1
    return given


def chosen(scores: dict[str, np.ndarray], seed: int) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(scores["targets"]))
    pool, start, rest = order[:POOL], order[POOL : POOL + START], order[POOL + START :]
    features, targets = scores["features"], scores["targets"].astype(np.int64)
    branches = [scores[f"{name}_logits"][pool] for name in ("global", "local")]
    probabilities = sigmoid((branches[0] + branches[1]) / 2)
    both = (sigmoid(branch) for branch in branches)
    thresholds = np.full(targets.shape[1], 0.5)
    ranked = rank(probabilities, *both, thresholds, features[pool], BUDGET)
    choices = {
        "ranked": [one.image for one in ranked],
        "random": rng.permutation(POOL)[:BUDGET].tolist(),
    }
    result = {}
    for name, choice in choices.items():
        rows = np.concatenate([start, pool[choice]])
        head = fit_head(features[rows], targets[rows])
        result[name] = 100 * mean_average_precision(head.logits(features[rest]), targets[rest])
    return result


if __name__ == "__main__":
    main()
