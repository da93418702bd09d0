"""Make the ten mistakes that a new user makes most likely, and write what the command says.

    python scripts/mistakes.py

The transcript goes to results/mistakes.md. Every command is run, in a folder of small inputs.
"""

import os
import shlex
import sys
import tempfile
from pathlib import Path

from PIL import Image

from didvit.files import whole_file

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from fuzzing import run_command  # noqa: E402 - it is beside the tests

TRANSCRIPT = ROOT / "results" / "mistakes.md"

TABLES = {
    "good.csv": "image,labels\nphotos/0.jpg,cat|dog\nphotos/1.jpg,dog\nphotos/2.jpg,\n",
    "other-header.csv": "photo,tags\nphotos/0.jpg,cat\n",
    "commas.csv": "image,labels\nphotos/0.jpg,cat,dog\n",
    "labels/moved.csv": "image,labels\nphotos/0.jpg,cat\nphotos/1.jpg,dog\n",
    "spaniels.csv": "image,labels\nphotos/0.jpg,spaniel\nphotos/1.jpg,dog\n",
}
"""Tables beside the folder of photographs, by name."""

MISTAKES = {
    "An option is misspelled": "predict photos --treshold 0.3",
    "A threshold is given in percent": "predict photos --threshold 80",
    "A folder is misspelled": "predict fotos",
    "Pictures are to go among the photographs": "predict photos --output photos",
    "The columns of a CSV file have other names": "data check other-header.csv",
    "Labels are joined by commas, without quotes": "data check commas.csv",
    "Paths are relative to another folder": "data check labels/moved.csv",
    "The length of training is given in epochs": (
        "train --data.train good.csv --data.val val.csv --output run --epochs 10"
    ),
    "The same photographs are learned from and scored": (
        "train --data.train good.csv --data.val good.csv --output run"
    ),
    "The model has not learned the labels of the data": "evaluate --data spaniels.csv",
}


def main() -> None:
    with whole_file(TRANSCRIPT) as path:
        path.write_text(transcript(), encoding="utf-8")


def transcript() -> str:
    """Every mistake, the command, its exit code and what it says."""
    parts = [
        "# Ten likely mistakes\n\nThis page shows what `didvit` says to a new user's ten most "
        "likely mistakes.\nIt is made by `python scripts/mistakes.py`, which runs each command."
    ]
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            write_inputs()
            for number, (title, command) in enumerate(MISTAKES.items(), 1):
                code, out, err = run_command(*shlex.split(command))
                text = f"$ didvit {command}\n{out}{err}(exit code {code})"
                parts.append(f"## {number}. {title}\n\n```text\n{text}\n```")
        finally:
            os.chdir(before)
    return "\n\n".join(parts).replace(folder, "") + "\n"


def write_inputs() -> None:
    """Three photographs and the tables, in the current folder."""
    Path("photos").mkdir()
    for i in range(3):
        Image.new("RGB", (64, 48), (80 * i, 90, 120)).save(f"photos/{i}.jpg")
    for name, text in (TABLES | {"val.csv": TABLES["good.csv"]}).items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(text)


if __name__ == "__main__":
    main()
