"""Score a model with every preset on the same images, and the paired differences.

    python benchmarks/presets.py --data coco40k/test.csv --scores scores \
        --output results/default-model.json

Scores are kept in the folder of ``--scores`` and used again; ``--presets`` makes those of some, for
two processes at once. The preset ``fast`` is the global branch of ``didvit``. The interval of a
difference is over images (paired bootstrap): the same draws for both presets.
"""

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from didvit.config import DiDConfig
from didvit.config.presets import PRESETS
from didvit.data.datasets import read_dataset
from didvit.data.table import Table
from didvit.environment import versions
from didvit.evaluation.evaluate import score
from didvit.evaluation.metrics import bootstrap_difference, mean_average_precision
from didvit.evaluation.report import report
from didvit.evaluation.scores import Scores
from didvit.files import whole_file, write_json
from didvit.inference.predictor import load

SCORED = ("didvit", "paper")
DIFFERENCES = (("didvit", "paper"), ("didvit", "fast"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="default")
    parser.add_argument("--data", required=True)
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--presets", nargs="+", choices=SCORED, default=SCORED)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--resamples", type=int, default=1000)
    options = parser.parse_args()
    labels = load(options.model, decide=False).labels
    table = read_dataset(options.data, labels)
    scores = {
        name: stored_scores(options.model, name, table, options.scores) for name in options.presets
    }
    if not options.output:
        return
    whole = scores["didvit"]
    scores["fast"] = replace(whole, local_logits=whole.global_logits)
    rows = []
    for name, preset in PRESETS.items():
        if name not in scores:
            continue
        result = report(scores[name], labels, options.resamples).to_dict()
        cost = {"settings": asdict(preset), "forward_passes": preset.forward_passes()}
        rows.append({"preset": name, **cost, **result})
        print(f"{name}: {result['fusions'][preset.fusion]['mAP']:.2f}", flush=True)
    pairs = [pair for pair in DIFFERENCES if scores.keys() >= set(pair)]
    differences = [difference(scores, pair, options.resamples) for pair in pairs]
    content = {"data": options.data, "model": options.model, "rows": rows}
    write_json(options.output, {**content, "differences": differences, "versions": versions()})


def stored_scores(model: str, name: str, table: Table, folder: Path) -> Scores:
    path = folder / f"{name}.npz"
    if not path.exists():
        predictor = load(model, "cpu", name, decide=False)  # pyright: ignore
        scores = score(predictor, table, workers=1)
        assert not scores.failures, scores.failures
        with whole_file(path) as temporary, temporary.open("wb") as file:
            np.savez(file, whole=scores.global_logits, local=scores.local_logits)
    with np.load(path) as arrays:
        count = np.arange(len(table))
        return Scores(count, arrays["whole"], arrays["local"], table.targets, ())


def difference(scores: dict[str, Scores], pair: tuple[str, str], resamples: int) -> dict[str, Any]:
    targets = scores[pair[0]].targets
    fused = [scores[name].fused(fusion_of(PRESETS[name])) for name in pair]  # pyright: ignore
    a, b = (100 * mean_average_precision(values, targets) for values in fused)
    interval = bootstrap_difference(*fused, targets, resamples)
    ends = [100 * end for end in interval]
    return {"rows": " - ".join(pair), "mAP": a - b, "interval": ends}


def fusion_of(preset: DiDConfig) -> str:
    return preset.fusion if preset.top_n else "global"


if __name__ == "__main__":
    main()
