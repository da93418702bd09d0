import json
import os

import numpy as np
import pytest
from PIL import Image

from didvit.cli.data import check


@pytest.fixture
def data_set(tmp_path):
    """A function that writes a table of so many pictures with each label, and its path."""

    def write(name, **numbers):
        rng = np.random.default_rng(len(name))
        rows = ["image,labels"]
        for label in (label for label, number in numbers.items() for _ in range(number)):
            coarse = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            image = f"{name}-{len(rows)}.png"
            Image.fromarray(coarse).resize((64, 64)).save(tmp_path / image)
            rows.append(f"{image},{label}")
        (tmp_path / f"{name}.csv").write_text("\n".join(rows))
        return tmp_path / f"{name}.csv"

    return write


def test_warnings_alone_are_no_failure(data_set, capsys):
    assert check((str(data_set("a", cat=60, dog=60)),), workers=0) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "120 images in 1 data set with 2 labels: 0 unreadable images, 0 problems, 0 warnings"
    )
    assert check((str(data_set("b", cat=100, dog=9)),), workers=0) == 0
    *_, title, warning, summary = capsys.readouterr().out.splitlines()
    assert title == "Warnings:"
    assert warning == "- b.csv: 1 label of fewer than 10 images: 'dog'"
    assert summary.endswith("0 problems, 1 warning")


def test_problems_and_warnings_apart(data_set, tmp_path, capsys):
    train, val = data_set("train", cat=60, dog=60), data_set("va", cat=5, fox=5)
    report, picture = tmp_path / "report.json", tmp_path / "report.jpg"
    assert check((str(train), str(val)), report, picture, workers=0) == 3
    lines = capsys.readouterr().out.splitlines()
    start, middle = lines.index("Problems:"), lines.index("Warnings:")
    problems, warnings = lines[start + 1 : middle], lines[middle + 1 : -1]
    assert [line.partition(",")[0] for line in problems] == ["- train.csv has no image with 'fox'"]
    assert warnings[0] == "- va.csv: 1 label that no image has: 'dog'"
    assert lines[-1] == (
        "130 images in 2 data sets with 3 labels: 0 unreadable images, 1 problem, 2 warnings; "
        f"the report is in {report}; the picture is in {picture}"
    )
    values = json.loads(report.read_text())
    assert [f"- {text}" for text in values["problems"]] == problems
    assert [f"- {text}" for text in values["warnings"]] == warnings
    assert Image.open(picture).format == "JPEG"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
@pytest.mark.timeout(60)
def test_a_named_pipe_is_not_waited_for(tmp_path, capsys):
    for name in ("a/0.png", "b/1.png"):
        (tmp_path / name).parent.mkdir()
        Image.effect_noise((60, 60), 90).save(tmp_path / name)
    os.mkfifo(tmp_path / "a" / "pipe.jpg")
    assert check((str(tmp_path),), workers=1) == 3
    text = capsys.readouterr().out
    assert "1 unreadable image, 1 problem" in text
    assert "not a regular file" in text


def test_labels_that_no_font_has(data_set, tmp_path, recwarn):
    check((str(data_set("犬", 犬=3, cat=2)),), picture=tmp_path / "a.png", workers=0)
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]
