"""Write the graphs of the model that comes with the package anew, beside its weights.

    python scripts/default_graphs.py --data coco40k/val.csv

The first photographs of the data show which layers stay in float32 where products are in 8 bits.
"""

import argparse

from didvit.data.datasets import read_dataset
from didvit.export.folder import write_int8_graphs
from didvit.export.graphs import write_graphs
from didvit.modeling.checkpoint import load_checkpoint
from didvit.modeling.folder import find_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    options = parser.parse_args()
    folder, checkpoint = find_model("default"), load_checkpoint("default")
    table = read_dataset(options.data, checkpoint.labels)
    write_graphs(folder, checkpoint.model, checkpoint.config.image_size)
    write_int8_graphs(folder, table.images)


if __name__ == "__main__":
    main()
