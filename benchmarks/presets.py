"""A model under every preset on the same images: mAP, and what one adds to the other.

    python benchmarks/presets.py --data coco18/val.csv --output results/presets-val.json

The interval of a difference is over images (paired bootstrap): the same draws for both presets.
"""

import argparse
from pathlib import Path

from didvit.checkpoint import load_checkpoint
from didvit.data.datasets import read_dataset
from didvit.evaluation import report, score_table
from didvit.files import write_json
from didvit.inference import choose_device
from didvit.metrics import bootstrap_difference, mean_average_precision
from didvit.presets import PRESETS
from didvit.run_folder import versions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="default")
    parser.add_argument("--data", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--resamples", type=int, default=1000)
    arguments = parser.parse_args()
    rows, scored = [], {}
    for name, preset in PRESETS.items():
        checkpoint = load_checkpoint(arguments.model, preset)
        table = read_dataset(arguments.data, checkpoint.labels)
        scores = score_table(
            checkpoint.model, table, checkpoint.config.image_size, choose_device("cpu"), workers=1
        )
        scored[name], targets = scores.fused(checkpoint.config.fusion), scores.targets
        result = report(scores, checkpoint.labels, arguments.resamples).to_dict()
        print(f"{name}: {result['fusions'][checkpoint.config.fusion]['mAP']:.2f}", flush=True)
        rows.append(
            {
                "preset": name,
                "settings": dict(preset),
                "looks": checkpoint.config.looks(),
                **result,
            }
        )
    ours, papers = scored["didvit"], scored["paper"]
    gain = mean_average_precision(ours, targets) - mean_average_precision(papers, targets)
    interval = bootstrap_difference(ours, papers, targets, arguments.resamples)
    write_json(
        arguments.output,
        {
            "data": arguments.data,
            "model": arguments.model,
            "rows": rows,
            "didvit_less_paper": {
                "mAP": 100 * gain,
                "interval": [100 * end for end in interval],
            },
            "versions": versions(),
        },
    )


if __name__ == "__main__":
    main()
