"""The scripts that make and measure the default model, and what its card says."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from didvit.config import DIDVIT
from didvit.modeling.checkpoint import load_checkpoint

ROOT = Path(__file__).parents[2]


def script(path: str):
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def training():
    return script("scripts/train_default.py")


def test_the_shipped_model():
    checkpoint = load_checkpoint("default")
    assert len(checkpoint.labels) == 80
    assert checkpoint.labels == tuple(sorted(checkpoint.labels))
    assert checkpoint.config.method == DIDVIT
    assert (ROOT / "src/didvit/models/default/model.safetensors").stat().st_size < 6.5e6


def test_steps_of_every_phase_run(training, squares, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.csv").write_text(
        squares[0].read_text().replace("\n", f"\n{squares[0].parent}/").rsplit("\n", 1)[0]
    )
    arguments = ["--data", tmp_path / "data", "--output", tmp_path / "run", "--weights", "random"]
    arguments += ["--device", "cpu", "--images", 4, "--batch-size", 2, "--steps-per-phase", 1]
    monkeypatch.setattr(sys, "argv", ["train_default", *map(str, arguments)])
    training.main()
    checkpoint = load_checkpoint(tmp_path / "run")
    assert checkpoint.labels == ("blue", "green", "red")
    assert checkpoint.config.image_size == (288, 288)


def test_a_whole_image_is_resampled_to_itself(training):
    pixels = torch.randint(0, 256, (2, 3, training.SIDE, training.SIDE), dtype=torch.uint8)
    box = torch.tensor([[0.0, 0, training.SIDE, training.SIDE]]).expand(2, -1)
    flip = torch.tensor([False, True])
    same, mirrored = training.resample(pixels, box, training.SIDE, flip)
    torch.testing.assert_close(same, pixels[0] / 255)
    torch.testing.assert_close(mirrored, pixels[1].flip(-1) / 255)


def test_a_box_is_around_the_peak(training):
    maps = torch.zeros(1, 2, 8, 8)
    maps[0, 0, 2:4, 5:7] = 1
    maps[0, 0, 7, 0] = 0.9  # another region
    maps[0, 1, 0, 0] = 1
    first, corner = training.peak_boxes(maps)[0].tolist()
    assert first == pytest.approx([5 / 8, 2 / 8, 7 / 8, 4 / 8], abs=1 / 16)
    assert corner[:2] == [0, 0]


def test_the_schedule_is_one_cosine(training):
    ends = [done for _, done in training.schedule(training.PHASES)]
    assert ends == sorted(ends)
    assert len(ends) == 3147
    assert (ends[0], ends[2158]) == (0, 0.45)


def test_precision_at_a_recall():
    frontier = script("scripts/frontier.py")
    targets = np.array([[1, 0], [1, 0], [0, 1]])
    logits = np.array([[5.0, 4], [3, -1], [-2, 1]])  # right, false, right, right in this order
    found = [frontier.precision_at(recall, logits, targets) for recall in (30, 60, 100)]
    assert [precision for precision, _ in found] == pytest.approx([100, 200 / 3, 75])
    expected = [1 / (1 + np.exp(-logit)) for logit in (5, 3, 1)]
    assert [threshold for _, threshold in found] == pytest.approx(expected)


def test_views_raise_no_fusion_of_a_single_view():
    frontier = script("scripts/frontier.py")
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, (20, 3))
    scores = {"global": rng.normal(size=(20, 3)), "boxes": np.full((20, 3), -9.0)}
    (single,) = frontier.measured(scores, targets, frontier.VIEWS["single view"])
    rows = frontier.measured(scores, targets, frontier.VIEWS["4 boxes at full"])
    mean, highest, local = rows
    assert single["mAP"] == pytest.approx(highest["mAP"]) == pytest.approx(mean["mAP"])
    assert single["precision"] <= mean["precision_at_recall"] <= 100
    assert local["recall"] == 0


def test_results_are_of_the_shipped_model():
    content = json.loads((ROOT / "results" / "default-model.json").read_text())
    assert [row["preset"] for row in content["rows"]][:2] == ["didvit", "fast"]
    labels = load_checkpoint("default").labels
    for row in content["rows"]:
        assert tuple(row["fusions"]["mean"]["AP"]) == labels
