"""The command ``didvit predict``: its files, its summary, and what it never does in silence."""

import json
import os
import stat
import sys
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from didvit.cli import main as cli
from didvit.data.images import ImageError
from didvit.inference.paths import is_own_picture
from didvit.inference.prediction import Prediction


@pytest.fixture
def predict(monkeypatch, capfd, model_folder):
    """A function that runs the command in this process: its code, standard output and errors."""

    def run(*arguments, expected=0):
        words = ["didvit", "predict", *arguments, "--model", model_folder, "--device", "cpu"]
        monkeypatch.setattr(sys, "argv", list(map(str, words)))
        before = torch.get_num_threads()
        with pytest.raises(SystemExit) as end:
            cli.main()
        torch.set_num_threads(before)
        out, err = capfd.readouterr()
        assert (end.value.code or 0) == expected, err
        assert "Traceback" not in err
        return out, err

    return run


@pytest.fixture
def photos(tmp_path):
    """A folder of three photographs in three folders, two of them with the same name."""
    for seed, name in enumerate(("a.jpg", "x/a.jpg", "x/y/b.png")):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return tmp_path / "photos"


def read_lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def files_below(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_pictures_mirror_the_folders_and_the_lines_name_them(predict, photos, tmp_path):
    predict(photos, "--output", tmp_path / "out", "--json", tmp_path / "lines.jsonl")
    assert files_below(tmp_path / "out") == {"a.jpg", "x/a.jpg", "x/y/b.jpg"}
    lines = read_lines(tmp_path / "lines.jsonl")
    assert [line["picture"] for line in lines] == [
        str(tmp_path / "out" / name) for name in ("a.jpg", "x/a.jpg", "x/y/b.jpg")
    ]
    assert all(is_own_picture(tmp_path / "out" / name) for name in files_below(tmp_path / "out"))


def test_a_second_run_replaces_nothing_unless_it_is_told_to(predict, photos, tmp_path):
    out, lines = tmp_path / "out", tmp_path / "lines.jsonl"
    predict(photos, "--output", out, "--json", lines)
    before = {path: path.read_bytes() for path in (*out.rglob("*.jpg"), lines)}
    _, err = predict(photos, "--output", out, expected=2)
    assert "3 of the pictures exist" in err
    assert "--overwrite" in err
    _, err = predict(photos, "--json", lines, expected=2)
    assert f"{lines} exists" in err
    assert "--overwrite" in err
    assert {path: path.read_bytes() for path in before} == before
    predict(photos, "--output", out, "--json", lines, "--overwrite", "--threshold", "0")
    assert all(path.read_bytes() != content for path, content in before.items())


def test_lines_of_an_interrupted_run_are_not_lost(predict, photos, tmp_path):
    (tmp_path / "lines.jsonl.partial").write_text("hours of work\n")
    _, err = predict(photos, "--json", tmp_path / "lines.jsonl", expected=2)
    assert "lines of an unfinished run" in err
    assert (tmp_path / "lines.jsonl.partial").read_text() == "hours of work\n"
    predict(photos, "--json", tmp_path / "lines.jsonl", "--overwrite")
    assert not (tmp_path / "lines.jsonl.partial").exists()


def test_pictures_among_the_photographs_are_refused_with_the_mend(predict, photos):
    before = {name: (photos / name).read_bytes() for name in files_below(photos)}
    _, err = predict(photos, "--output", photos, "--overwrite", expected=2)
    assert "pictures would lie among the photographs" in err
    assert str(photos / "pictures") in err
    assert {name: (photos / name).read_bytes() for name in files_below(photos)} == before


@pytest.mark.parametrize("pattern", ["{}", "{}/**/*.*g"])
def test_a_folder_of_pictures_within_the_photographs(predict, photos, pattern):
    paths, out = pattern.format(photos), photos / "pictures"
    predict(paths, "--output", out)
    expected = {"a.jpg", "x/a.jpg", "x/y/b.jpg"}
    assert files_below(out) == expected
    text, err = predict(paths, "--output", out, "--overwrite")
    assert files_below(out) == expected
    assert len(text.splitlines()) == 3
    assert "3 images in the output folder left out" in err


def test_a_photograph_in_the_place_of_a_picture_is_never_replaced(predict, photos, tmp_path):
    (tmp_path / "out" / "x").mkdir(parents=True)
    precious = tmp_path / "out" / "x" / "a.jpg"
    Image.new("RGB", (9, 9), "red").save(precious)
    before = precious.read_bytes()
    _, err = predict(photos, "--output", tmp_path / "out", "--overwrite", expected=2)
    assert f"{precious} exists, and is no picture" in err
    assert precious.read_bytes() == before


def test_a_run_ends_with_a_summary(predict, photos, tmp_path):
    (photos / "broken.jpg").write_text("no image")
    (photos / "raw.nef").write_text("x")
    out, err = predict(
        photos, "--threshold", "0", "--output", tmp_path / "out", "--json", tmp_path / "l.jsonl",
        expected=3,
    )  # fmt: skip
    assert out == ""
    *_, passed_over, summary = err.splitlines()
    assert "raw.nef" in passed_over
    assert summary.startswith("4 images: 3 with labels (")
    assert "cat 3" in summary
    assert "1 of 4 failed" in summary
    assert summary.endswith(f"JSON lines in {tmp_path / 'l.jsonl'}; pictures in {tmp_path / 'out'}")
    _, err = predict(photos / "a.jpg", "--threshold", "1")
    assert err == "1 image: 1 with nothing that the model knows\n"


def test_a_picture_that_cannot_be_drawn_is_a_failure_of_its_image(
    predict, photos, tmp_path, monkeypatch
):
    draw = Prediction.plot

    def plot(self, others=False):
        if self.image.endswith("b.png"):
            raise ImageError("b.png: it is gone")
        return draw(self, others)

    monkeypatch.setattr(Prediction, "plot", plot)
    out, _ = predict(photos, "--output", tmp_path / "out", expected=3)
    assert [sorted(json.loads(line)) for line in out.splitlines()][2] == ["error", "image"]
    assert files_below(tmp_path / "out") == {"a.jpg", "x/a.jpg"}


def test_show_others(predict, photos, tmp_path):
    for name, options in (("found", ()), ("others", ("--show-others",))):
        predict(photos / "a.jpg", "--threshold", "1", "--output", tmp_path / name, *options)
    sizes = [Image.open(tmp_path / name / "a.jpg").height for name in ("found", "others")]
    assert sizes[1] > sizes[0]  # the maps of regions


@pytest.mark.skipif(os.name != "posix", reason="devices and pipes of POSIX")
def test_lines_to_a_link_a_pipe_and_a_device(predict, photos, tmp_path):
    target, link, pipe = (tmp_path / name for name in ("target.jsonl", "link.jsonl", "pipe"))
    target.touch()
    link.symlink_to(target)
    predict(photos, "--json", link)
    assert link.is_symlink()
    assert len(read_lines(target)) == 3
    os.mkfifo(pipe)
    got = []
    reader = threading.Thread(target=lambda: got.extend(pipe.read_text().splitlines()), daemon=True)
    reader.start()
    predict(photos, "--json", pipe)
    reader.join(10)
    assert [json.loads(line)["image"] for line in got] == [
        line["image"] for line in read_lines(target)
    ]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    predict(photos, "--json", "/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    _, err = predict(photos, "--json", "/dev/full", expected=1)
    assert "No space left on device: '/dev/full'" in err


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_are_those_asked_for(predict, photos, monkeypatch, threads):
    given = []
    monkeypatch.setattr(torch, "set_num_threads", given.append)
    predict(photos / "a.jpg", "--threads", threads)
    assert given[0] == threads
    _, err = predict(photos / "a.jpg", "--threads", 0, expected=2)
    assert "--threads is 0; expected 1 or more" in err


def test_the_engine_is_the_one_asked_for(predict, photos):
    line, _ = predict(photos / "a.jpg", "--engine", "pytorch")
    assert predict(photos / "a.jpg")[0] == line  # a trained folder has no graphs
    _, err = predict(photos / "a.jpg", "--engine", "onnx", expected=2)
    assert "no global.onnx for the engine onnx" in err
    assert "didvit export" in err
    _, err = predict(photos / "a.jpg", "--engine", "torch", expected=2)
    assert "--engine is 'torch'; expected onnx, openvino or pytorch" in err


@pytest.mark.parametrize(("flags", "warned"), [("flags : avx2", True), ("flags : avx_vnni", False)])
def test_products_in_8_bits_on_a_slow_processor_are_warned_of(
    monkeypatch, capfd, tmp_path, photos, flags, warned
):
    (tmp_path / "cpuinfo").write_text(flags)
    monkeypatch.setattr("didvit.inference.engine.CPU_FLAGS", tmp_path / "cpuinfo")
    monkeypatch.setattr(sys, "argv", ["didvit", "predict", str(photos), "--precision", "int8"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    assert ("not known to have instructions" in capfd.readouterr().err) == warned
