"""Mutated inputs: every outcome is a right result, or one line that names the input."""

import json
import shutil
from collections import Counter
from contextlib import nullcontext

import pytest
from PIL import Image

import fuzzing
from didvit.data.images import ImageError, read_image
from didvit.modeling.checkpoint import CheckpointError, load_checkpoint

NUMBERS = {"image": 1500}
"""Inputs by target; `OTHERS` of each other."""
OTHERS = 80


@pytest.mark.parametrize("target", fuzzing.TARGETS)
def test_mutated_inputs(target, tmp_path, monkeypatch, model_folder, capfd):
    monkeypatch.setenv(fuzzing.MODEL_VARIABLE, str(model_folder))
    # A header that is damaged may ask for gigabytes, which is allowed, and slow.
    monkeypatch.setenv("DIDVIT_MAX_PIXELS", "1000000")
    outcomes = Counter()
    for number in range(NUMBERS.get(target, OTHERS)):
        folder = tmp_path / str(number)
        folder.mkdir()
        case = fuzzing.fuzz(target, number, seed=0, folder=folder)
        outcomes[case.outcome] += 1
        shutil.rmtree(folder)
    assert capfd.readouterr() == ("", "")
    # The generators make what is whole and what is damaged.
    assert {"right", "refused"} <= outcomes.keys()


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return fuzzing.run_command


# What longer runs found.


def test_a_line_break_in_a_header_stays_in_the_line(run, tmp_path):
    (tmp_path / "table.csv").write_text('"im\nage",labels\na.png,cat\n')
    code, out, err = run("data", "check", "table.csv")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert r"names im\nage, labels" in err


def test_a_name_that_is_no_text_is_printed(run, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    rows = [{"image": "a.png", "labels": ["cat"]}, {"image": "\ud800.png", "labels": ["dog"]}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    code, out, _ = run("data", "check", "rows.jsonl", "--workers", "0")
    assert code == 3
    assert r"first \ud800.png (" in next(line for line in out.splitlines() if "1 of 2" in line)


def test_weights_of_other_shapes_are_told_in_one_line(tmp_path, save_tiny_model):
    config = save_tiny_model(tmp_path / "model") / "config.json"
    content = json.loads(config.read_text())
    del content["labels"][-1]
    config.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"size mismatch for head") as caught:
        load_checkpoint(config.parent)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", [b"", b"\xff\xff"])
def test_libtiff_says_nothing(tmp_path, capfd, damage):
    """Its own messages name no image."""
    path = tmp_path / "a.tif"
    Image.new("RGB", (32, 32)).save(path, compression="tiff_deflate")
    content = path.read_bytes()
    path.write_bytes(content[:10] + damage + content[10 + len(damage) :])
    with pytest.raises(ImageError, match=str(path)) if damage else nullcontext():
        assert read_image(path).sum() == 0
    assert capfd.readouterr() == ("", "")
