"""Data sets are read and checked where PyTorch and its kin are not installed."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

ABSENT = ("torch", "torchvision", "timm", "scipy", "safetensors", "lightning", "lightning_fabric")
BLOCK = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""


@pytest.fixture
def table(tmp_path):
    """A CSV file with four images, of which two are one and one cannot be read."""
    for i in range(4):
        coarse = np.random.default_rng(i % 3).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((90, 60)).save(tmp_path / f"{i}.png")
    (tmp_path / "2.png").write_bytes(b"no image")
    path = tmp_path / "table.csv"
    path.write_text("image,labels\n0.png,cat\n1.png,cat|dog\n2.png,dog\n3.png,\n")
    return path


def run(code, *arguments):
    """Standard output of a program without the absent modules."""
    command = [sys.executable, "-c", BLOCK + code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_data_set_is_read_and_checked(table):
    report = run(
        """
import json
import didvit.data.images, didvit.data.reading, didvit.inspection.report
from didvit.data.datasets import read_dataset
from didvit.data.reading import read_in_order
from didvit.inspection import inspect, inspection_tables

table = read_dataset(sys.argv[1])
shapes = [item if isinstance(item, str) else item.shape
          for batch in read_in_order(table.images, 3, workers=2) for item in batch]
report = inspect({"train": table}, workers=2)
assert inspection_tables(report)
print(json.dumps({"shapes": shapes, "targets": table.targets.tolist(), **report.to_dict()}))
""",
        table,
    )
    report = json.loads(report)
    bad = str(table.with_name("2.png"))
    reason = "not an image, or of a kind that Pillow cannot read"
    assert report["shapes"] == [[60, 90, 3], [60, 90, 3], f"{bad}: {reason}", [60, 90, 3]]
    assert report["targets"] == [[1, 0], [1, 1], [0, 1], [0, 0]]
    assert report["overall"]["bad_files"] == {bad: reason}
    assert report["overall"]["positives"] == {"cat": 2, "dog": 2}
    assert report["cooccurrence"] == [{"labels": ["cat", "dog"], "num_images": 1}]
    (duplicates,) = report["duplicates"]
    images = [image["image"] for image in duplicates["images"]]
    assert images == [str(table.with_name(f"{i}.png")) for i in (0, 3)]


def test_the_command_checks_it(table):
    code = """
sys.modules["matplotlib"] = None  # needed for a picture alone
from didvit.cli.main import main

sys.argv[:1] = ["didvit", "data", "check"]
try:
    main()
except SystemExit as end:
    print("code", end.code)
"""
    output = run(code, table, "--json", table.with_name("report.json"))
    assert "4 images in 1 data set with 2 labels: 1 unreadable image, 1 problem" in output
    assert output.endswith("code 3\n")
    report = json.loads(table.with_name("report.json").read_text())
    assert list(report["overall"]["bad_files"]) == [str(table.with_name("2.png"))]


def test_only_the_stream_of_training_needs_pytorch(table):
    """The modules of data and inspection are imported one by one."""
    output = run(
        """
import importlib, pkgutil
import didvit.data, didvit.inspection

for package in (didvit.data, didvit.inspection):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        try:
            importlib.import_module(module.name)
        except ImportError:
            print(module.name)
"""
    )
    assert output.split() == [f"didvit.data.{name}" for name in ("stream", "transforms", "workers")]
