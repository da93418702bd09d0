"""The default installation, which has no PyTorch, and the engines beside one another."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import didvit
from didvit.inference.prediction import Prediction

ROOT = Path(__file__).parents[2]
EXAMPLES = {"astronaut": "person", "cat": "cat", "coffee": "cup"}

ABSENT = {"torch", "torchvision", "timm", "scipy", "safetensors", "lightning_fabric", "matplotlib"}
HIDE = f"""
import sys

class Hiding:
    '''A finder that does not find what the default installation lacks.'''

    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in {ABSENT}:
            return self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = map(Hiding, sys.meta_path)
"""
MAIN = "from didvit.cli.main import main; main()"


def light(code, *arguments) -> subprocess.CompletedProcess:
    """Run a program where the absent modules are not found."""
    command = [sys.executable, "-c", HIDE + code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", cwd=ROOT)


def test_the_absent_modules_are_absent():
    for module in sorted(ABSENT):
        done = light(f"import {module}")
        assert f"No module named '{module}'" in done.stderr


def test_a_cat_is_found_in_python():
    done = light(
        "import didvit, json\n"
        "found = didvit.load('default').predict('examples/cat.jpg')\n"
        "print(json.dumps(found.to_dict()))\n"
        "print(*found.plot().size, 'torch' in sys.modules)"
    )
    assert done.returncode == 0, done.stderr
    line, picture = done.stdout.splitlines()
    assert json.loads(line)["labels"][0]["label"] == "cat"
    assert picture.endswith("False")


def test_photographs_are_tagged_by_the_command(tmp_path):
    lines, pictures = tmp_path / "out.jsonl", tmp_path / "pics"
    done = light(MAIN, "predict", "examples", "--json", lines, "--output", pictures)
    assert done.returncode == 0, done.stderr
    found = {}
    for line in map(json.loads, lines.read_text().splitlines()):
        found[Path(line["image"]).stem] = {label["label"] for label in line["labels"]}
        with Image.open(line["picture"]) as picture:
            picture.load()
    assert found.keys() == EXAMPLES.keys()
    assert all(EXAMPLES[name] in labels for name, labels in found.items())


def test_a_table_is_scored_by_the_command(tmp_path):
    with (tmp_path / "table.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("image", "labels"))
        rows.writerows((ROOT / f"examples/{name}.jpg", label) for name, label in EXAMPLES.items())
    metrics = tmp_path / "metrics.json"
    arguments = "--data", tmp_path / "table.csv", "--json", metrics, "--resamples", 0
    done = light(MAIN, "evaluate", *arguments)
    assert done.returncode == 0, done.stderr
    report = json.loads(metrics.read_text())
    assert report["num_images"] == 3
    for label in EXAMPLES.values():
        assert report["fusions"]["mean"]["AP"][label] == 100


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(f"image,labels\n{ROOT}/examples/cat.jpg,cat\n{ROOT}/examples/coffee.jpg,cup\n")
    return path


def one_line(done: subprocess.CompletedProcess) -> str:
    (line,) = done.stderr.splitlines()
    return line.removeprefix("didvit: error: ")


@pytest.mark.parametrize("command", ["train", "models", "pack"])
def test_a_command_that_needs_pytorch_says_what_installs_it(table, tmp_path, command):
    arguments = {
        "train": ("--output", tmp_path / "run", "--data.train", table, "--data.val", table),
        "models": ("dino",),
        "pack": ("default", "--output", tmp_path / "packed"),
    }
    done = light(MAIN, command, *arguments[command])
    assert (done.returncode, done.stdout) == (1, "")
    assert one_line(done) == "this command needs PyTorch: pip install 'didvit[train]'"
    assert list(tmp_path.iterdir()) == [table]


def test_a_picture_that_needs_matplotlib_says_what_installs_it(table, tmp_path):
    arguments = "check", table, "--workers", 0, "--picture", tmp_path / "picture.png"
    done = light(MAIN, "data", *arguments)
    assert done.returncode == 1
    assert one_line(done) == "this command needs matplotlib: pip install 'didvit[report]'"


@pytest.mark.parametrize("options", [("--engine", "pytorch"), ("--device", "cuda")])
def test_what_only_pytorch_can_do_says_what_installs_it(options):
    done = light(MAIN, "predict", "examples", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert one_line(done).endswith(": pip install 'didvit[train]'")


def test_a_trained_folder_without_graphs_says_what_installs_pytorch(model_folder):
    done = light(MAIN, "predict", "examples", "--model", model_folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no global.onnx" in one_line(done)
    assert "pip install 'didvit[train]'" in one_line(done)
    done = light("import didvit\ndidvit.load(sys.argv[1])", model_folder)
    assert "pip install 'didvit[train]'" in done.stderr.splitlines()[-1]


def test_another_missing_module_is_no_matter_of_an_extra():
    code = "import didvit.cli.main as cli\ndef fail(arguments): import nowhere\ncli._run = fail\n"
    done = light(code + "cli.main()")
    assert done.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'nowhere'"


# Engines


@pytest.fixture(scope="module")
def by_engine() -> dict[str, list[Prediction]]:
    paths = [ROOT / "examples" / f"{name}.jpg" for name in EXAMPLES]
    return {
        engine: didvit.load("default", "cpu", engine=engine, precision="fp32").predict(
            paths, threshold=0
        )
        for engine in ("onnx", "pytorch")
    }


def test_engines_agree_on_the_examples(by_engine):
    for ours, theirs in zip(*by_engine.values(), strict=True):
        assert [region.label for region in ours.regions] == [r.label for r in theirs.regions]
        assert [region.box for region in ours.regions] == [r.box for r in theirs.regions]
        assert tuple(ours.scores) == tuple(theirs.scores)
        scores, expected = (np.array(list(one.scores.values())) for one in (ours, theirs))
        assert abs(scores - expected).max() < 1e-3
        branches = [
            {label.label: (label.global_score, label.local_score) for label in one.labels}
            for one in (ours, theirs)
        ]
        for label, pair in branches[0].items():
            assert pair == pytest.approx(branches[1][label], abs=1e-3)
        for one, other in zip(ours.maps, theirs.maps, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-3 * abs(other).max())


def test_both_engines_find_what_the_examples_show(by_engine):
    for predictions in by_engine.values():
        for found, label in zip(predictions, EXAMPLES.values(), strict=True):
            assert found.scores[label] > 0.5
