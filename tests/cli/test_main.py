import dataclasses
import functools
import importlib.metadata
import json
import re
import shlex
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from didvit.cli import main as cli
from didvit.config.presets import PRESETS
from didvit.config.recipes import RECIPES
from didvit.data.formats import voc
from didvit.evaluation.voc_submission import validate_submission
from didvit.inference.predictor import Predictor, load

ROOT = Path(__file__).parents[2]


class Result(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict]:
        """The JSON lines on stdout, which must hold nothing else."""
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def didvit(monkeypatch, capfd):
    """A function that runs the command in this process."""

    def run(*arguments) -> Result:
        monkeypatch.setattr(sys, "argv", ["didvit", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return Result(end.value.code or 0, *capfd.readouterr())

    return run


@pytest.fixture
def predict(didvit, model_folder):
    return functools.partial(didvit, "predict", "--model", model_folder, "--device", "cpu")


def subprocess_didvit(*arguments) -> subprocess.CompletedProcess:
    code = "from didvit.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True, encoding="utf-8",
    )  # fmt: skip


def assert_one_line_error(result, *words, code=2):
    assert result.code == code
    assert result.out == ""
    (line,) = result.err.splitlines()
    assert line.startswith("didvit: error: ")
    for word in words:
        assert word in line


def save(path, height=20, width=30, **settings):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **settings)
    return path


# predict


def test_lines_on_stdout_and_nothing_else(model_folder, photographs, tmp_path):
    (tmp_path / "text.jpg").write_text("not an image")
    result = subprocess_didvit(
        "predict", photographs, tmp_path / "text.jpg", "--model", model_folder, "--threshold", "0"
    )
    assert result.returncode == 3
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    names = [str(photographs / f"{name}.png") for name in ("astronaut", "chelsea", "coffee")]
    assert [line["image"] for line in lines] == [*names, str(tmp_path / "text.jpg")]
    for line in lines[:3]:
        assert list(line) == ["image", "width", "height", "labels", "regions", "has_views"]
        assert [line["width"], line["height"]] == list(Image.open(line["image"]).size)
        assert len(line["labels"]) == 5
        scores = [label["score"] for label in line["labels"]]
        assert scores == sorted(scores, reverse=True)
        for label in line["labels"]:
            names = ["label", "score", "global_score", "local_score", "seen_in", "threshold"]
            assert list(label) == names
        assert len(line["regions"]) == 2
        for region in line["regions"]:
            assert list(region) == ["label", "score", "box"]
            x0, y0, x1, y1 = region["box"]
            assert 0 <= x0 < x1 <= line["width"]
            assert 0 <= y0 < y1 <= line["height"]
    assert list(lines[3]) == ["image", "error"]
    assert "text.jpg" in lines[3]["error"]
    assert "text.jpg" in result.stderr
    assert "1 of 4 failed" in result.stderr
    assert "Traceback" not in result.stderr


def test_lines_equal_those_of_python(predict, model_folder, photographs):
    result = predict(photographs, "--threshold", "0.4", "--top-n", "1", "--batch-size", "1")
    assert result.code == 0
    expected = load(model_folder).predict(photographs, threshold=0.4, top_n=1, batch_size=1)
    assert result.lines == [prediction.to_dict() for prediction in expected]
    (summary,) = result.err.splitlines()
    assert summary.startswith("3 images: 3 with labels (")


@pytest.mark.parametrize("preset", PRESETS)
def test_presets(predict, evaluate, save_tiny_model, table, photographs, tmp_path, preset):
    """The model's own number is 2."""
    settings = dataclasses.asdict(PRESETS[preset])
    same = save_tiny_model(tmp_path / "same", **settings)
    lines = predict(photographs, "--preset", preset).lines
    assert lines == predict(photographs, "--model", same).lines
    assert [len(line["regions"]) for line in lines] == [settings["top_n"]] * len(lines)
    fewer = predict(photographs, "--preset", preset, "--top-n", "1").lines
    assert [len(line["regions"]) for line in fewer] == [1] * len(lines)
    metrics = []
    for arguments in (("--preset", preset), ("--model", same)):
        assert (
            evaluate(
                "--data", table, *arguments, "--json", tmp_path / "metrics.json", "--overwrite"
            ).code
            == 0
        )
        metrics.append(json.loads((tmp_path / "metrics.json").read_text()))
    for key in ("settings", "fusions"):
        assert metrics[0][key] == metrics[1][key]
    assert metrics[0]["settings"]["method"] == settings


def test_json_file_takes_the_lines(predict, photographs, tmp_path):
    lines = predict(photographs).lines
    result = predict(photographs, "--json", tmp_path / "new" / "lines.jsonl")
    assert (result.code, result.out) == (0, "")
    assert result.err.startswith("3 images: ")
    assert str(tmp_path / "new" / "lines.jsonl") in result.err
    written = (tmp_path / "new" / "lines.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in written] == lines
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["lines.jsonl"]


def test_output_folder_takes_a_picture_per_image(predict, photographs, tmp_path):
    other = save(tmp_path / "coffee.jpg")
    result = predict(photographs, other, tmp_path / "missing.jpg", "--output", tmp_path / "out")
    assert result.code == 3
    pictures = sorted((tmp_path / "out").rglob("*.jpg"))
    names = [f"{photographs.name}/{name}.jpg" for name in ("astronaut", "chelsea", "coffee")]
    places = [str(picture.relative_to(tmp_path / "out")) for picture in pictures]
    assert len(places) == 4
    for name in ("coffee.jpg", *names):  # below the folder that all images have in common
        assert any(place.endswith(name) for place in places)
    for picture in pictures:
        with Image.open(picture) as image:
            assert image.format == "JPEG"
            assert image.width >= 640
    assert len(result.lines) == 5


def test_pictures_never_replace_photographs(predict, tmp_path):
    photograph = save(tmp_path / "photo.jpg")
    before = photograph.read_bytes()
    predict(photograph, "--output", tmp_path)
    assert photograph.read_bytes() == before


def test_exit_code_0_without_failures(predict, photographs):
    assert predict(photographs / "coffee.png").code == 0


def test_missing_image_is_a_line_and_code_3(predict, photographs, tmp_path):
    missing = tmp_path / "missing.jpg"
    result = predict(missing, photographs / "coffee.png")
    assert result.code == 3
    assert result.lines[0] == {"image": str(missing), "error": f"{missing}: there is no such file"}
    assert "width" in result.lines[1]


def png(width, height) -> bytes:
    """A PNG file that promises this size, and holds hardly any pixels."""

    def chunk(kind, content):
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"\0")), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_bad_input_of_every_kind_in_one_folder(predict, tmp_path):
    folder = tmp_path / "folder"
    good = {}

    def keep(name, size, picture, **settings):
        folder.mkdir(exist_ok=True)
        picture.save(folder / name, **settings)
        good[str(folder / name)] = size

    base = Image.open(save(tmp_path / "base.png"))
    whole = save(tmp_path / "whole.jpg", 200, 300).read_bytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    keep("cmyk.jpg", (30, 20), base.convert("CMYK"))
    keep("sixteen.png", (30, 20), Image.fromarray(np.full((20, 30), 40000, np.uint16)))
    keep("palette.png", (30, 20), base.convert("P"), transparency=0)
    keep("turned.jpg", (20, 30), base, exif=exif)
    keep("pixel.png", (1, 1), Image.new("RGB", (1, 1), "red"))
    keep("tall.png", (1, 4000), Image.new("RGB", (1, 4000), "red"))
    frames = [Image.new("RGB", (30, 20), "blue")]
    keep("moving.gif", (30, 20), base, save_all=True, append_images=frames)

    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "zero.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("not an image")
    (folder / "bomb.png").write_bytes(png(20000, 20000))
    bad = {
        str(folder / f"{name}") for name in ("truncated.jpg", "zero.jpg", "text.jpg", "bomb.png")
    }
    (tmp_path / "empty").mkdir()
    extra = [tmp_path / "missing.jpg", tmp_path / "empty", tmp_path / "none*.jpg"]
    bad |= set(map(str, extra))

    result = predict(folder, *extra, "--output", tmp_path / "out")
    assert result.code == 3
    lines = {line["image"]: line for line in result.lines}
    assert lines.keys() == good.keys() | bad
    assert len(result.lines) == len(lines)
    for name, size in good.items():
        assert (lines[name]["width"], lines[name]["height"]) == size
    for name in bad:
        assert list(lines[name]) == ["image", "error"]
        assert name in lines[name]["error"]
        assert name in result.err
    assert f"{len(bad)} of 14 failed" in result.err
    assert "Traceback" not in result.err
    assert len(list((tmp_path / "out").rglob("*.jpg"))) == len(good)


def test_gif_is_its_first_frame_and_rotation_refers_to_the_upright_picture(predict, tmp_path):
    first = save(tmp_path / "first.png")
    base = Image.open(first).quantize(16).convert("RGB")
    base.save(tmp_path / "first.png")
    frames = [Image.new("RGB", base.size, "blue")]
    base.save(tmp_path / "moving.gif", save_all=True, append_images=frames)
    exif = Image.Exif()
    exif[0x0112] = 3
    base.rotate(180).save(tmp_path / "turned.png", exif=exif)
    lines = predict(*(tmp_path / n for n in ("first.png", "moving.gif", "turned.png"))).lines
    for line in lines:
        del line["image"]
    assert lines[2]["regions"] == lines[0]["regions"]
    assert [region["box"] for region in lines[1]["regions"]] == [
        region["box"] for region in lines[0]["regions"]
    ]


def test_damaged_exif_does_not_stop_the_batch(predict, photographs, tmp_path):
    entries = struct.pack("<HHI4s", 0x0112, 3, 1, b"\6\0\0\0")
    entries += struct.pack("<HHI4s", 0x0150, 2, 2, b"x\0\0\0")  # text where a number belongs
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 2) + entries + bytes(4)
    damaged = save(tmp_path / "damaged.jpg", exif=exif)
    result = predict(damaged, photographs / "coffee.png")
    assert [line["image"] for line in result.lines] == [
        str(damaged),
        str(photographs / "coffee.png"),
    ]


@pytest.mark.parametrize(
    "name", ["photo[1].jpg", "photo[bold].jpg", "no[/such].jpg", ":smile:.jpg", "ümläut 犬.jpg"]
)
def test_failures_are_named_as_they_are(predict, tmp_path, name):
    result = predict(tmp_path / name)
    assert result.code == 3
    (line,) = result.lines
    assert line["image"] == str(tmp_path / name)
    assert str(tmp_path / name) in result.err


def test_name_that_is_not_utf8_does_not_stop_the_batch(model_folder, photographs, tmp_path):
    name = bytes(tmp_path) + b"/\xff\xfe.png"
    try:
        save(tmp_path / "a.png").rename(name.decode(errors="surrogateescape"))
    except OSError:
        pytest.skip("the file system takes names in UTF-8 alone")
    arguments = "predict", tmp_path, photographs / "coffee.png", "--model", model_folder, "--json"
    result = subprocess_didvit(*arguments, tmp_path / "lines.jsonl")
    assert "Traceback" not in result.stderr
    assert len((tmp_path / "lines.jsonl").read_bytes().splitlines()) == 2


def test_overlong_name_does_not_stop_the_batch(predict, photographs):
    result = predict("a" * 300 + ".jpg", photographs / "coffee.png")
    assert result.code == 3
    assert len(result.lines) == 2


def test_lines_come_one_by_one(predict, photographs, tmp_path, monkeypatch):
    """What is done is in the file before the rest is."""
    partial, seen = tmp_path / "lines.jsonl.partial", []
    stream = Predictor.stream

    def watch(self, *arguments):
        for result in stream(self, *arguments):
            yield result
            seen.append(len(partial.read_text().splitlines()))

    monkeypatch.setattr(Predictor, "stream", watch)
    predict(photographs, "--json", tmp_path / "lines.jsonl")
    assert seen == [1, 2, 3]


def test_interrupted_file_keeps_its_lines_as_partial(predict, photographs, tmp_path, monkeypatch):
    stream = Predictor.stream

    def interrupted(self, *arguments):
        yield next(stream(self, *arguments))
        raise KeyboardInterrupt

    monkeypatch.setattr(Predictor, "stream", interrupted)
    (tmp_path / "lines.jsonl").write_text("of an earlier run\n")
    result = predict(photographs, "--json", tmp_path / "lines.jsonl", "--overwrite")
    assert_one_line_error(result, "interrupted", code=130)
    assert (tmp_path / "lines.jsonl").read_text() == "of an earlier run\n"
    (line,) = (tmp_path / "lines.jsonl.partial").read_text().splitlines()
    assert json.loads(line)["image"] == str(photographs / "astronaut.png")


def test_reader_that_closes_the_pipe(model_folder, photographs):
    code = "from didvit.cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "predict", photographs, "--model", model_folder,
         "--batch-size", "1"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 0
    assert error == ""


# Wrong usage


def test_no_path(didvit):
    assert_one_line_error(didvit("predict"), "no images")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("nonsense",),
        ("predict", "a.jpg", "--nonsense"),
        ("predict", "a.jpg", "--threshold", "much"),
        ("predict", "a.jpg", "--top-n", "1.5"),
        ("evaluate",),
        ("evaluate", "a.csv"),
        ("evaluate", "--data", "a.csv", "--submission", "b", "--competition", "comp3"),
        ("data", "check-submission"),
        ("data", "check-submission", "files"),
        ("train",),
        ("train", "--data.train", "a.csv", "--data.val", "b.csv"),
        ("train", "--data.train", "a.csv", "--data.val", "b.csv", "--output", "c", "--steps", "0"),
        ("train", "--data.train", "--data.val", "b.csv", "--output", "c"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_code_2(didvit, arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_one_line_error(didvit(*arguments))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--threshold", "80", ("threshold is 80", "[0, 1]", "80 % is 0.8")),
        ("--threshold", "nan", ("threshold", "[0, 1]")),
        ("--top-n", "6", ("top_n is 6", "0 to 5")),
        ("--top-n", "-1", ("top_n is -1",)),
        ("--batch-size", "0", ("--batch-size is 0",)),
        ("--device", "nonsense", ("nonsense",)),
    ],
)
def test_impossible_settings(predict, photographs, tmp_path, option, value, words):
    arguments = photographs, "--json", tmp_path / "lines.jsonl", option, value
    assert_one_line_error(predict(*arguments), *words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_no_such_model(didvit, photographs, tmp_path, command):
    table = write_table(tmp_path / "a.csv", f"{photographs}/coffee.png,cup")
    what = [photographs] if command == "predict" else ["--data", table]
    assert_one_line_error(didvit(command, *what, "--model", "nowhere"), "no model 'nowhere'")
    (tmp_path / "empty").mkdir()
    result = didvit(command, *what, "--model", tmp_path / "empty")
    assert_one_line_error(result, "config.json is missing")


def test_damaged_model(didvit, model_folder, photographs, tmp_path):
    (tmp_path / "config.json").write_bytes((model_folder / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"not tensors")
    assert_one_line_error(didvit("predict", photographs, "--model", tmp_path), "model.safetensors")


@pytest.mark.parametrize("option", ["--json", "--output"])
def test_result_that_cannot_be_written(predict, photographs, tmp_path, option):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("precious")
    result = predict(photographs, option, tmp_path / ("folder" if option == "--json" else "file"))
    assert result.code not in (0, 3)
    assert result.err.splitlines()[-1].startswith("didvit: error: ")
    assert "Traceback" not in result.err
    assert (tmp_path / "file").read_text() == "precious"


# evaluate


def write_table(path, *rows, header="image,labels") -> Path:
    path.write_text("\n".join((header, *rows)) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def table(photographs, tmp_path) -> Path:
    return write_table(
        tmp_path / "table.csv",
        f"{photographs}/astronaut.png,person",
        f"{photographs}/chelsea.png,cat",
        f"{photographs}/coffee.png,cup|spoon",
        f"{save(tmp_path / 'noise.png')},",
    )


@pytest.fixture
def evaluate(didvit, model_folder):
    return functools.partial(didvit, "evaluate", "--model", model_folder, "--device", "cpu")


def test_earlier_reports_are_not_replaced_unasked(didvit, evaluate, table, tmp_path):
    metrics, picture = tmp_path / "metrics.json", tmp_path / "check.png"
    for path in (metrics, picture):
        path.write_text("mine")
    for result in (
        evaluate("--data", table, "--json", metrics),
        didvit("data", "check", table, "--json", metrics),
        didvit("data", "check", table, "--picture", picture),
    ):
        assert_one_line_error(result, "exists", "--overwrite")
    assert metrics.read_text() == picture.read_text() == "mine"
    assert evaluate("--data", table, "--json", metrics, "--overwrite").code == 0
    assert json.loads(metrics.read_text())["num_images"] == 4


def test_evaluate(evaluate, table, tmp_path):
    result = evaluate("--data", table, "--json", tmp_path / "new" / "metrics.json")
    assert result.code == 0
    assert result.err.startswith("4 images scored, 2.5 forward passes per image; mAP ")
    content = json.loads((tmp_path / "new" / "metrics.json").read_text())
    assert content["num_images"] == 4
    assert set(content["fusions"]) == {"global", "local", "max", "mean"}
    for fusion in content["fusions"].values():
        assert fusion.keys() == {"mAP", "mAP_interval", "mAP_11_point", "AP", "all", "top3"}
        low, high = fusion["mAP_interval"]
        assert 0 <= low <= high <= 100
        assert list(fusion["AP"]) == ["cat", "cup", "dog", "person", "spoon"]
        assert fusion["AP"]["dog"] is None
        known = [ap for ap in fusion["AP"].values() if ap is not None]
        assert fusion["mAP"] == pytest.approx(sum(known) / 4)
        assert all(25 <= ap <= 100 for ap in known)
        for part in ("all", "top3"):
            assert list(fusion[part]) == ["CP", "CR", "CF1", "OP", "OR", "OF1", "macro_F1"]
            assert all(0 <= value <= 100 for value in fusion[part].values())


@pytest.mark.parametrize("columns", ["80", "120"])
def test_evaluation_is_readable_at_any_width(evaluate, table, tmp_path, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    shown = evaluate("--data", table, "--json", tmp_path / "metrics.json").out
    assert "…" not in shown
    for name, fusion in json.loads((tmp_path / "metrics.json").read_text())["fusions"].items():
        assert name in shown
        for value in (fusion["mAP"], *fusion["all"].values(), *fusion["top3"].values()):
            assert f"{value:.1f}" in shown
    for label in ("cat", "cup", "dog", "person", "spoon"):
        assert label in shown


def test_labels_are_shown_as_they_are(didvit, save_tiny_model, photographs, tmp_path):
    labels = ("[red]cat", "cup[/x]", "犬")
    model = save_tiny_model(tmp_path / "model", labels)
    table = write_table(tmp_path / "t.csv", f"{photographs}/chelsea.png,cup[/x]|[red]cat")
    result = didvit("evaluate", "--model", model, "--data", table, "--device", "cpu")
    assert result.code == 0
    for label in labels:
        assert label in result.out


def test_evaluate_lists_unreadable_images(evaluate, table, tmp_path):
    broken = tmp_path / "text[" / "x].jpg"  # what rich would take for a closing tag
    broken.parent.mkdir()
    broken.write_text("not an image")
    table.write_text(table.read_text() + "text[/x].jpg,cat\n")
    result = evaluate("--data", table, "--json", tmp_path / "metrics.json")
    assert result.code == 3
    assert str(broken) in result.err
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert content["num_images"] == 4
    assert str(broken) in content["failures"][0]


def test_images_without_any_label_are_valid(evaluate, photographs, tmp_path):
    table = write_table(tmp_path / "table.csv", f"{photographs}/chelsea.png,")
    assert evaluate("--data", table, "--json", tmp_path / "metrics.json").code == 0
    text = (tmp_path / "metrics.json").read_text()
    content = json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} in JSON"))
    assert content["num_images"] == 1


@pytest.mark.parametrize(
    ("header", "rows", "words"),
    [
        ("image,labels", ["{p}/coffee.png,cup|tea"], ("line 2", "'tea'", "not among the 5")),
        ("image,notes", ["{p}/coffee.png,cup"], ("labels",)),
        ("file,labels", ["{p}/coffee.png,cup"], ("no column 'image'",)),
        (
            "image,labels",
            ["{p}/coffee.png,cup", "{p}/chelsea.png,cat", "{p}/coffee.png,spoon"],
            ("line 4", "coffee.png", "listed already", "line 2"),
        ),
        ("image,labels", ["{p}/tea.png,cup"], ("line 2", "tea.png")),
        ("image,labels", [], ("no images",)),
    ],
)
def test_tables_that_cannot_be_used(evaluate, photographs, tmp_path, header, rows, words):
    rows = [row.format(p=photographs) for row in rows]
    table = write_table(tmp_path / "bad.csv", *rows, header=header)
    result = evaluate("--data", table, "--json", tmp_path / "metrics.json")
    assert_one_line_error(result, "bad.csv", *words)
    assert not (tmp_path / "metrics.json").exists()


def test_missing_table(evaluate, tmp_path):
    assert_one_line_error(evaluate("--data", tmp_path / "missing.csv"), "there is no such file")


@pytest.mark.parametrize(
    ("option", "value"),
    [("--device", "nonsense"), ("--device", "meta"), ("--batch-size", "0"), ("--workers", "-1")],
)
def test_impossible_settings_of_evaluate(evaluate, table, option, value):
    assert_one_line_error(evaluate("--data", table, option, value), value)


# train


@pytest.fixture
def train(didvit, squares):
    tables = "--data.train", squares[0], "--data.val", squares[1], "--data.workers", 0
    model = "--model.backbone", "test_vit", "--model.weights", "random"
    model += "--model.image-size", 32, 48, "--model.top-n", 1
    steps = "--steps", 3, "--batch-size", 4, "--device", "cpu"
    return functools.partial(didvit, "train", *tables, *model, *steps)


def test_a_trained_model_works_in_the_other_commands(train, didvit, squares, tmp_path):
    run = tmp_path / "run"
    result = train("--output", run)
    assert result.code == 0
    assert result.out == ""
    assert "24 images with 3 labels; 16 validation images" in result.err
    assert "step 3  validation mAP: global" in result.err
    assert str(run) in result.err

    result = didvit("predict", squares[1].parent / "7.png", "--model", run, "--threshold", "0")
    assert result.code == 0
    (line,) = result.lines
    assert {label["label"] for label in line["labels"]} == {"blue", "green", "red"}
    assert len(line["regions"]) == 1

    result = didvit(
        "evaluate", "--model", run, "--data", squares[1], "--json", tmp_path / "metrics.json"
    )
    assert result.code == 0
    evaluated = json.loads((tmp_path / "metrics.json").read_text())
    metrics = json.loads((run / "metrics.json").read_text())
    # Whole images have the input's size here. Views are resized in 8 bits in prediction.
    assert evaluated["fusions"]["global"] | {"mAP_interval": None} == metrics["fusions"]["global"]
    for name, fusion in metrics["fusions"].items():
        assert evaluated["fusions"][name]["mAP"] == pytest.approx(fusion["mAP"], abs=5)

    assert_one_line_error(train("--output", run), "holds a run already", "--resume")

    packed = tmp_path / "packed"
    assert didvit("pack", run, "--output", packed).code == 0
    result = didvit("evaluate", "--model", packed, "--data", squares[1])
    assert result.code == 0
    assert_one_line_error(didvit("pack", run, "--output", packed), "is there already")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--model.image-size", 30, 48), ("image_size", "30x48")),
        (("--model.backbone", "nonsense"), ("'nonsense'",)),
        (("--model.weights", "missing.npz"), ("missing.npz",)),
        (("--device", "nonsense"), ("nonsense",)),
    ],
)
def test_impossible_training(train, tmp_path, arguments, words):
    assert_one_line_error(train("--output", tmp_path / "run", *arguments), *words)
    assert not (tmp_path / "run").exists()


def test_warnings_name_files_as_they_are(train, squares, tmp_path):
    rows = [f"{squares[0].parent}/{row}" for row in squares[0].read_text().splitlines()[1:9]]
    (tmp_path / "a[b].jpg").write_text("not an image")
    table = write_table(tmp_path / "t.csv", "a[b].jpg,red", *rows)
    result = train("--output", tmp_path / "run", "--data.train", table)
    assert result.code == 0
    assert "a[b].jpg" in result.err


def test_recipes_give_settings_that_options_change(didvit, monkeypatch, tmp_path):
    given = []
    monkeypatch.setattr(cli, "train", lambda config: given.append(config) or 0)
    options = "--output", tmp_path, "--steps", 7, "--data.root", "VOCdevkit"
    assert didvit("train", "voc2007", *options).code == 0
    (config,) = given
    data = dataclasses.replace(RECIPES["voc2007"].config.data, root=Path("VOCdevkit"))
    schedule = dataclasses.replace(RECIPES["voc2007"].config.schedule, steps=7)
    expected = dataclasses.replace(
        RECIPES["voc2007"].config, output=tmp_path, schedule=schedule, data=data
    )
    assert config == expected


TABLES = ("--data.train", "a.csv", "--data.val", "b.csv", "--output", "runs")


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--steps", 0, "steps is 0; expected 1 or more"),
        ("--data.workers", -1, "workers is -1; expected 0 or more"),
        ("--model.top-n", -1, "top_n is -1; expected a whole number, 0 or more"),
        ("--loss.global-weight", -1, "global_weight is -1"),
    ],
)
def test_an_impossible_setting_is_told_in_one_line_wherever_it_stands(didvit, option, value, words):
    assert_one_line_error(didvit("train", *TABLES, option, value), words)


def test_an_interrupted_command(didvit, monkeypatch):
    def interrupt(config):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "train", interrupt)
    assert_one_line_error(didvit("train", *TABLES), "interrupted", code=130)


def test_unknown_recipe(didvit):
    assert_one_line_error(didvit("train", "voc2008"), "'voc2008'", *RECIPES)


# VOC 2012's server


IMAGE_IDS = ["2008_000001", "2008_000002"]


@pytest.fixture
def voc2012(tmp_path) -> str:
    """The test part of VOC 2012, whose labels are not known."""
    folder = tmp_path / "VOC2012"
    for name in IMAGE_IDS:
        save(folder / "JPEGImages" / f"{name}.jpg")
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    (folder / "ImageSets" / "Main" / "test.txt").write_text("\n".join(IMAGE_IDS) + "\n")
    return f"{folder}:test"


@pytest.fixture
def evaluate_voc2012(didvit, save_tiny_model, voc2012, tmp_path):
    model = save_tiny_model(tmp_path / "model", voc.LABELS)
    arguments = "evaluate", "--model", model, "--data", voc2012, "--workers", 0, "--device", "cpu"
    return functools.partial(didvit, *arguments)


def test_submission(evaluate_voc2012, tmp_path):
    result = evaluate_voc2012("--submission", tmp_path / "files")
    assert result.code == 0, result.err
    assert result.out == ""  # nothing is known, so nothing is measured
    assert validate_submission(tmp_path / "files", IMAGE_IDS, voc.LABELS) == []
    assert_one_line_error(evaluate_voc2012(), "nothing can be measured", "--submission")


def test_a_submission_is_named_after_its_split(didvit, save_tiny_model, tmp_path):
    model = save_tiny_model(tmp_path / "model", ("cat", "dog"))
    save(tmp_path / "photos" / "val" / "cat" / "one.jpg")
    folder, data = tmp_path / "files", f"{tmp_path / 'photos'}:val"
    assert didvit("evaluate", "--model", model, "--data", data, "--submission", folder).code == 0
    names = {path.name for path in folder.rglob("*.txt")}
    assert names == {"comp1_cls_val_cat.txt", "comp1_cls_val_dog.txt"}
    check = "data", "check-submission", folder, "--data", data, "--model", model
    assert didvit(*check).code == 0


@pytest.mark.parametrize("option", [("--json", "metrics.json"), ("--resamples", 10)])
def test_metrics_of_unlabeled_images_are_refused(evaluate_voc2012, tmp_path, option):
    result = evaluate_voc2012("--submission", tmp_path / "files", *option)
    assert_one_line_error(result, "nothing can be measured", "neither --json nor --resamples")
    assert not (tmp_path / "files").exists()


def test_names_that_cannot_be_submitted_are_refused_before_scoring(
    didvit, save_tiny_model, tmp_path, monkeypatch
):
    model = save_tiny_model(tmp_path / "model", ("cat", "dog"))
    for folder in ("a", "b"):
        save(tmp_path / folder / "same.jpg")
    table = write_table(tmp_path / "t.csv", "a/same.jpg,cat", "b/same.jpg,dog")
    arguments = "evaluate", "--model", model, "--data", table, "--submission", tmp_path / "files"
    monkeypatch.setattr("didvit.evaluation.evaluate.score", None)
    assert_one_line_error(didvit(*arguments), "image id same occurs twice")


def test_submission_needs_every_image(evaluate_voc2012, tmp_path):
    broken = tmp_path / "VOC2012" / "JPEGImages" / "2008_000002.jpg"
    broken.write_text("not an image")
    result = evaluate_voc2012("--submission", tmp_path / "files")
    assert result.code == 2
    assert result.err.splitlines()[-1].startswith("didvit: error: a submission needs all images")
    assert str(broken) in result.err
    assert not (tmp_path / "files").exists()


@pytest.mark.parametrize("competition", ["comp1", "comp2"])
def test_competition_of_a_submission(evaluate_voc2012, didvit, voc2012, tmp_path, competition):
    folder, chosen = tmp_path / "files", ("--competition", competition)
    assert evaluate_voc2012("--submission", folder, *chosen).code == 0
    problems = validate_submission(folder, IMAGE_IDS, voc.LABELS, competition=competition)
    assert problems == []
    check = "data", "check-submission", folder, "--data", voc2012
    result = didvit(*check, *chosen)
    assert (result.code, result.out) == (0, "")
    assert "nothing is wrong with the scores of 20 labels and 2 images" in result.err
    other = {"comp1": "comp2", "comp2": "comp1"}[competition]
    result = didvit(*check, "--competition", other)
    assert result.code == 3
    assert len(result.out.splitlines()) == 40  # every file is missing, and every one unexpected


def test_competition_is_that_of_a_submission(evaluate_voc2012):
    result = evaluate_voc2012("--competition", "comp2")
    assert_one_line_error(result, "--competition comp2", "expected --submission DIR")


def test_check_of_a_submission_names_what_is_wrong(
    evaluate_voc2012, didvit, save_tiny_model, voc2012, tmp_path
):
    folder = tmp_path / "files"
    assert evaluate_voc2012("--submission", folder).code == 0
    place = folder / "results" / "VOC2012" / "Main"
    path = place / "comp1_cls_test_cat.txt"
    path.write_text("2008_000001 nan\n2008_000003 1\n")
    check = "data", "check-submission", folder, "--data", voc2012
    result = didvit(*check)
    assert result.code == 3
    assert result.out.splitlines() == validate_submission(folder, IMAGE_IDS, voc.LABELS)
    assert [line.removeprefix(str(path)) for line in result.out.splitlines()] == [
        ", line 1, '2008_000001 nan': the score is not a finite number",
        ", line 2, '2008_000003 1': the image is not among those of the split",
        ": 1 of 2 images are missing, such as 2008_000002",
    ]
    assert result.err == ""

    # Of a model that knows two labels, two files are expected.
    model = save_tiny_model(tmp_path / "other", ("cat", "dog"))
    table = write_table(tmp_path / "t.csv", "VOC2012/JPEGImages/2008_000001.jpg,")
    result = didvit(
        *("data", "check-submission", folder, "--data", table, "--model", model),
    )
    assert result.code == 3
    assert sum("is not part of a submission" in line for line in result.out.splitlines()) == 18


def test_submission_that_is_not_there(didvit, voc2012, tmp_path):
    check = "data", "check-submission", tmp_path / "nowhere", "--data"
    result = didvit(*check, voc2012)
    assert result.code == 3
    assert "nowhere" in result.out
    assert "no such folder" in result.out
    assert_one_line_error(didvit(*check, "nothing.csv"), "nothing.csv", "no such file")


# data


def test_check_of_good_data(didvit, squares, tmp_path):
    report, picture = tmp_path / "report.json", tmp_path / "report.png"
    result = didvit(
        *("data", "check", squares[0], "--workers", 0),
        *("--json", report, "--picture", picture),
    )
    assert result.code == 0
    assert "table.csv" in result.out
    assert json.loads(report.read_text())["overall"]["num_images"] == 24
    assert Image.open(picture).format == "PNG"


def test_check_names_what_is_wrong(didvit, squares, tmp_path):
    (tmp_path / "broken.jpg").write_text("not an image")
    rows = "broken.jpg,red", "nowhere.jpg,red", f"{squares[0].parent}/7.png,blue"
    table, report = write_table(tmp_path / "t.csv", *rows), tmp_path / "report.json"
    result = didvit("data", "check", squares[0], table, "--workers", 0, "--json", report)
    assert result.code == 3
    assert "1 exact" in result.out
    bad = json.loads(report.read_text())["splits"]["t.csv"]["bad_files"]
    assert list(bad) == [str(tmp_path / "broken.jpg"), str(tmp_path / "nowhere.jpg")]
    assert bad[str(tmp_path / "nowhere.jpg")] == "there is no such file"


def test_check_of_another_folder_is_refused(didvit, squares, tmp_path):
    table = write_table(tmp_path / "t.csv", "a.jpg,red", "b.jpg,blue")
    result = didvit("data", "check", squares[0], table)
    assert_one_line_error(result, "a.jpg", "2 of 2 are missing", "relative to the folder")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("check",), ("no data set",)),
        (("check", "nowhere"), ("nowhere", "no such file")),
        (("check", "a.csv", "b.csv", "a.csv"), ("a.csv", "named twice")),
        (("check", "nowhere", "--picture", "report.gif"), ("report.gif", ".png")),
        (("download", "VOC2012:test"), ("'VOC2012:test'", "VOC2007:trainval")),
        (("download", "COCO"), ("'COCO'",)),
    ],
)
def test_impossible_data(didvit, arguments, words):
    assert_one_line_error(didvit("data", *arguments), *words)


def test_didvit_is_a_command():
    (script,) = (
        entry
        for entry in importlib.metadata.entry_points(group="console_scripts")
        if entry.name == "didvit"
    )
    assert script.load() is cli.main


def documented_commands() -> list[str]:
    """Every ``didvit`` command in the code blocks of the README and the docs."""
    commands = []
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for block in re.findall(r"^```[^\n]*\n(.*?)^```", page.read_text("utf-8"), re.M | re.S):
            for line in block.replace("\\\n", " ").splitlines():
                commands += re.findall(r"(?:^\s*|\$ |&& |\| )(didvit (?:[^|&>#]|\\.)+)", line)
    return [command for command in commands if " [" not in command]  # a synopsis is no command


@pytest.mark.parametrize("command", documented_commands())
def test_documented_commands_parse(didvit, monkeypatch, command):
    for name in [command.__name__ for command in cli._commands().values()]:
        stub = functools.wraps(getattr(cli, name))(lambda *args, **kwargs: 0)
        monkeypatch.setattr(cli, name, stub)
    result = didvit(*shlex.split(command)[1:])
    assert result.code == 0, result.err


def test_check_refuses_fewer_workers_than_none(didvit, squares):
    result = didvit("data", "check", squares[0], "--workers", -1)
    assert_one_line_error(result, "--workers is -1; expected 0 or more")


def test_a_file_is_no_folder_of_a_report(didvit, squares):
    result = didvit("data", "check", squares[0], "--json", squares[0] / "report.json")
    assert_one_line_error(result, "the folder of --json", "is a file; expected a folder")
