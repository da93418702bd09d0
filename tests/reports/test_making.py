"""From scores to a page, with a model; its folder, its data and the pictures of its mistakes."""

import hashlib
import re
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from didvit.cli.report import report
from didvit.config import ConfigError
from didvit.data.datasets import read_dataset
from didvit.data.table import DataError
from didvit.decisions.aims import parse_aim
from didvit.decisions.store import data_digest, decide, weights_digest, write_decisions
from didvit.inference.prediction import Maps, Prediction, Region
from didvit.reports import read_subject, rule_of
from didvit.reports.mistakes import Case
from didvit.reports.pictures import picture_cases
from pages.reading import Page

LABELS = {"astronaut": "person", "chelsea": "cat", "coffee": "cup|spoon"}


@pytest.fixture
def table(photographs, tmp_path):
    rows = (f"{photographs}/{name}.png,{label}" for name, label in LABELS.items())
    (tmp_path / "table.csv").write_text("\n".join(("image,labels", *rows)) + "\n")
    return tmp_path / "table.csv"


def test_the_command(model_folder, table, tmp_path, monkeypatch, capsys):
    output = tmp_path / "new" / "page.html"
    monkeypatch.setattr(sys, "argv", ["/bin/didvit", "report", "a model", "--data", "t.csv"])
    code = report(str(model_folder), data=str(table), output=output, workers=0, device="cpu")
    assert code == 0
    page = Page(output.read_text(encoding="utf-8"))
    assert "didvit report 'a model' --data t.csv" in page.by_section["How this was made"]
    assert "Measured on 3 images" in page.text
    assert f"3 images measured; the page is in {output}" in " ".join(
        capsys.readouterr().err.split()
    )
    with pytest.raises(ConfigError, match="--overwrite"):
        report(str(model_folder), data=str(table), output=output)
    assert (
        report(
            str(model_folder),
            data=str(table),
            output=output,
            overwrite=True,
            workers=0,
            device="cpu",
        )
        == 0
    )


def test_images_that_cannot_be_read_end_nothing(model_folder, table, tmp_path, capsys):
    (tmp_path / "bad.png").write_bytes(b"no image")
    table.write_text(table.read_text() + "bad.png,cat\n")
    output = tmp_path / "page.html"
    assert report(str(model_folder), data=str(table), output=output, workers=0, device="cpu") == 3
    page = Page(output.read_text(encoding="utf-8"))
    assert "bad.png" in page.by_section["Unreadable images"]
    assert "1 failed and left out" in capsys.readouterr().err


def test_no_image_at_all_is_refused(model_folder, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    (tmp_path / "table.csv").write_text("image,labels\nbad.png,cat\n")
    output = tmp_path / "page.html"
    with pytest.raises(DataError, match=r"no image can be read: .*bad\.png"):
        report(str(model_folder), data=f"{tmp_path}/table.csv", output=output, device="cpu")
    assert not output.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": -1}, "--workers is -1"),
        ({"batch_size": 0}, "--batch-size is 0"),
        ({"resamples": -1}, "--resamples is -1"),
        ({"threads": 0}, "--threads is 0"),
        ({"device": "gpu"}, "--device"),
        ({"data": "none.csv"}, "none.csv"),
    ],
)
def test_wrong_options(model_folder, table, tmp_path, options, message):
    options = {"data": str(table), "output": tmp_path / "page.html", **options}
    with pytest.raises(ConfigError, match=message):
        report(str(model_folder), **options)


def test_what_a_folder_says(model_folder, tmp_path):
    shutil.copytree(model_folder, tmp_path / "model")
    (tmp_path / "model" / "notes.txt").write_text("not the model")
    subject = read_subject(str(tmp_path / "model"), None, "onnx")
    assert subject.num_labels == 5
    assert subject.config.backbone == "test_vit"
    paths = sorted((tmp_path / "model").glob("*[!t]"))
    by_name = {file.name: file for file in subject.files}
    assert "notes.txt" not in by_name
    for path in (path for path in paths if path.name in ("config.json", "model.safetensors")):
        content = path.read_bytes()
        assert by_name[path.name].digest == hashlib.sha256(content).hexdigest()
        assert by_name[path.name].num_bytes == len(content)
    assert subject.num_bytes == sum(file.num_bytes for file in subject.files)


class Stub:
    """A model that finds a region for its first label alone."""

    labels = ("cat", "dog")

    def __init__(self):
        self.seen = []

    def stream(self, images):
        for pixels in images:
            self.seen.append(pixels.shape)
            height, width = pixels.shape[:2]
            region = Region("cat", 0.9, (0, 0, width // 2, height))
            empty = Maps(*[np.zeros((1, 2, 2))] * 3)
            scores = {"cat": 0.9, "dog": 0.1}
            yield Prediction("x", width, height, (), (region,), scores, empty, 0.5, pixels)


def test_pictures_of_mistakes(tmp_path):
    for i in range(2):
        Image.new("RGB", (80, 60), (90, 90, 90)).save(tmp_path / f"{i}.png")
    (tmp_path / "2.png").write_bytes(b"gone bad")
    images = [tmp_path / f"{i}.png" for i in range(3)]
    cases = [Case(0, 0, 0.9, 0.5), Case(0, 1, 0.1, 0.5), Case(1, 1, 0.1, 0.5), Case(2, 0, 0.9, 0.5)]
    model = Stub()
    pictures = picture_cases(model, images, cases)
    assert set(pictures) == set(cases)
    assert model.seen == [(60, 80, 3)] * 2  # each image once
    with_region, *plain, gone = (pictures[case] for case in cases)
    assert plain[0] == plain[1] != with_region
    assert len({re.search(r'width="220" height="165"', made) is None for made in plain}) == 1
    assert "cannot be read any more" in gone
    assert picture_cases(model, images, []) == {}


def test_a_model_without_decisions():
    rule = rule_of(("a", "b", "c"), None, "")
    logits = np.array([[-800.0, 0.0, 800.0], [np.log(3), -np.log(3), 1e-9]])
    np.testing.assert_allclose(
        rule.probabilities(logits), [[0, 0.5, 1], [0.75, 0.25, 0.5]], atol=1e-9
    )
    assert rule.thresholds.tolist() == [0.5] * 3
    assert not rule.tuned_here


@pytest.fixture
def decided():
    """Decisions of two labels for F1 and for a precision, on data with the digest 'd'."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, (60, 2)).astype(np.int8)
    logits = 2 * targets - 1 + rng.normal(size=(60, 2))
    aims = [parse_aim("f1"), parse_aim("precision=0.9")]
    names = {"fusion": "mean", "weights": "w", "data": "<val>.csv", "digest": "d"}
    return decide(logits, logits, targets, ("cat", "dog"), aims, **names)


def test_a_model_with_decisions(decided):
    logits = np.linspace(-3, 3, 10).reshape(5, 2)
    for aim in (None, "f1", "precision=0.9"):
        rule = rule_of(decided.labels, decided, "another", aim)
        np.testing.assert_array_equal(rule.probabilities(logits), decided.probabilities(logits))
        np.testing.assert_array_equal(rule.thresholds, decided.thresholds(aim))
        assert rule.notes == tuple(fact.note for fact in decided.facts(aim))
        assert f"for {aim or 'f1'}," in rule.words
        assert "60 images of <bdi>&lt;val&gt;.csv</bdi>" in rule.words
        assert "learned from" not in rule.words
        assert not rule.tuned_here
    assert rule_of(decided.labels, decided, "d").tuned_here
    assert "learned from" in rule_of(decided.labels, replace(decided, forced=True), "").words
    with pytest.raises(ConfigError, match=r"recall=0\.5"):
        rule_of(decided.labels, decided, "", "recall=0.5")


def test_a_page_says_whether_thresholds_were_tuned_on_its_data(model_folder, table, tmp_path):
    folder = shutil.copytree(model_folder, tmp_path / "tuned")
    read = read_dataset(table, ("cat", "cup", "dog", "person", "spoon"))
    logits = np.random.default_rng(0).normal(size=(3, 5))
    decisions = decide(
        logits,
        logits,
        read.targets,
        read.labels,
        [parse_aim("f1")],
        fusion="mean",
        weights=weights_digest(folder / "model.safetensors"),
        data="my validation data",
        digest=data_digest(read.images, read.targets),
    )
    write_decisions(folder, decisions)

    def page(data, name, **options):
        output = tmp_path / name
        report(str(folder), data=str(data), output=output, workers=0, device="cpu", **options)
        return Page(output.read_text(encoding="utf-8"))

    warned = page(table, "same.html")
    assert "tuned on these very images" in warned.text
    assert "my validation data" in warned.text
    assert "decisions.json" in warned.by_section["How this was made"]
    rows = table.read_text().splitlines()
    (tmp_path / "less.csv").write_text("\n".join(rows[:-1]))
    assert "tuned on these very images" not in page(tmp_path / "less.csv", "less.html").text
    with pytest.raises(ConfigError, match="count"):
        page(table, "count.html", aim="count")


def test_an_aim_needs_decisions(model_folder, table, tmp_path):
    output = tmp_path / "page.html"
    with pytest.raises(ConfigError, match="didvit tune"):
        report(str(model_folder), data=str(table), output=output, device="cpu", aim="f1")


def test_every_label_of_a_data_set_is_measured(model_folder, table, tmp_path):
    """A label of the model that no image has says so, and the page stands."""
    output = tmp_path / "page.html"
    report(str(model_folder), data=str(table), output=output, workers=0, device="cpu", resamples=0)
    text = Page(output.read_text(encoding="utf-8")).by_section["By label"]
    assert text.count("no AP: no image is known to have it") == 1  # of a dog
    assert read_dataset(table).labels == ("cat", "cup", "person", "spoon")
