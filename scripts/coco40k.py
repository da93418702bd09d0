"""Build ``coco40k`` from COCO train2014: the photographs, their labels, and the split.

    python scripts/coco40k.py coco coco40k

``coco`` holds ``train2014/`` and ``annotations/instances_train2014.json``, as COCO's site packs
them. ``coco40k`` receives ``images/``, ``train.csv``, ``val.csv`` and ``test.csv``, with 29,803,
2,000 and 4,000 photographs. Each photograph is made smaller, to a long side of 320 pixels. The
photographs of our runs were made smaller elsewhere, so pixels differ slightly, and figures by
rounding or a little more. A second call completes what is missing.
"""

import argparse
import csv
import gzip
import json
from collections import defaultdict
from pathlib import Path

from PIL import Image

from didvit.files import whole_file

IDS = Path(__file__).parents[1] / "results" / "coco40k-ids.json.gz"
LONG_SIDE = 320


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("coco", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    names = labels_of(arguments.coco / "annotations" / "instances_train2014.json")
    for split, ids in json.loads(gzip.decompress(IDS.read_bytes())).items():
        rows = []
        for identifier in ids:
            image = f"images/{identifier}.jpg"
            source = arguments.coco / "train2014" / f"COCO_train2014_{identifier:012d}.jpg"
            shrink(source, arguments.output / image)
            rows.append((image, identifier, "|".join(names[identifier])))
        with whole_file(arguments.output / f"{split}.csv") as path, path.open("w", newline="") as f:
            csv.writer(f, lineterminator="\n").writerows([("image", "coco_id", "labels"), *rows])
        print(f"{split}.csv: {len(rows):,} photographs")


def labels_of(annotations: Path) -> dict[int, list[str]]:
    """Labels of every image of COCO's file, in the order of their ids, each once."""
    content = json.loads(annotations.read_text(encoding="utf-8"))
    category = {entry["id"]: entry["name"] for entry in content["categories"]}
    found: dict[int, set[int]] = defaultdict(set)
    for entry in content["annotations"]:
        found[entry["image_id"]].add(entry["category_id"])
    return {image: [category[i] for i in sorted(ids)] for image, ids in found.items()}


def shrink(source: Path, target: Path) -> None:
    """Write a photograph with a long side of at most `LONG_SIDE` pixels, unless it exists."""
    if target.exists():
        return
    with Image.open(source) as photograph:
        photograph.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.LANCZOS)
        with whole_file(target) as path:
            photograph.convert("RGB").save(path, quality=90)


if __name__ == "__main__":
    main()
