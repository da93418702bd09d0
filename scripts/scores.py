"""Write a model's scores of a data set, for the scripts that measure what follows from them.

    python scripts/scores.py --data coco40k/test.csv --output test.npz

The file holds ``indices``, ``global_logits``, ``local_logits``, ``targets``, ``features`` and
``view_logits (n, V, C)``: first the regions, then the tiles.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from didvit.data.datasets import read_dataset
from didvit.evaluation.evaluate import score
from didvit.files import whole_file
from didvit.inference.pipeline import Output
from didvit.inference.predictor import load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="default")
    parser.add_argument("--engine")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--data", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    predictor = load(
        options.model,
        engine=options.engine,
        threads=options.threads,
        decide=False,
        precision=options.precision,
    )
    table = read_dataset(options.data, predictor.labels)
    views, run = [], predictor.run

    def run_and_keep(*arguments: Any) -> Output:
        output = run(*arguments)
        views.append(output.view_logits.astype(np.float32))
        return output

    predictor.run = run_and_keep
    scores = score(predictor, table)
    names = ("indices", "global_logits", "local_logits", "targets", "features")
    with whole_file(options.output) as path, path.open("wb") as file:
        arrays = {name: getattr(scores, name) for name in names}
        np.savez(file, **arrays, view_logits=np.concatenate(views))


if __name__ == "__main__":
    main()
