"""The commands, with the default model, on photographs that come with scikit-image."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from didvit.cli.audit import audit
from didvit.cli.rank import rank
from didvit.config import ConfigError
from didvit.data.images import ImageError

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def table(tmp_path):
    """Twelve copies of three photographs: cups have the label, the first cup has it not."""
    rows = []
    for i in range(12):
        name = ("cat", "coffee", "astronaut")[i % 3]
        shutil.copy(EXAMPLES / f"{name}.jpg", tmp_path / f"{i}-{name}.jpg")
        label = {"cat": "cat", "coffee": "cup", "astronaut": "person"}[name]
        rows.append((f"{i}-{name}.jpg", "cat" if i == 1 else label))
    (tmp_path / "broken.jpg").write_text("no image")
    rows.append(("broken.jpg", "cat"))
    with (tmp_path / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "labels"), *rows])
    return tmp_path / "table.csv"


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_audit_finds_the_error_and_leaves_the_table(table, tmp_path, capsys):
    before = table.read_bytes()
    outputs = {"output": tmp_path / "out.csv", "page": tmp_path / "out.html"}
    cache = tmp_path / "features.npz"
    assert audit(str(table), folds=3, cache=cache, threads=1, **outputs) == 3
    errors = {
        (Path(row["image"]).name, row["label"], row["kind"]) for row in read(tmp_path / "out.csv")
    }
    assert {("1-coffee.jpg", "cup", "missing"), ("1-coffee.jpg", "cat", "wrong")} <= errors
    assert table.read_bytes() == before
    page = (tmp_path / "out.html").read_text()
    assert "1-coffee.jpg" in page
    assert "broken.jpg" in capsys.readouterr().err
    first = (tmp_path / "out.csv").read_bytes()
    audit(str(table), folds=3, cache=cache, threads=1, overwrite=True, **outputs)
    assert "features of 12 images come from" in capsys.readouterr().err
    assert (tmp_path / "out.csv").read_bytes() == first


@pytest.mark.parametrize("content", [b"PK damaged", None])
def test_a_cache_that_cannot_be_used_is_made_anew(table, tmp_path, capsys, content):
    cache = tmp_path / "features.npz"
    if content is None:
        np.savez(cache, key=np.array("other"), indices=np.arange(2), values=np.zeros((2, 3)))
    else:
        cache.write_bytes(content)
    audit(str(table), output=tmp_path / "out.csv", folds=3, cache=cache, threads=1)
    assert "it is made anew" in capsys.readouterr().err
    with np.load(cache, allow_pickle=False) as arrays:
        assert len(arrays["values"]) == 12


def test_a_cache_of_the_same_images_in_another_order_is_made_anew(table, tmp_path, capsys):
    cache = tmp_path / "features.npz"
    audit(str(table), output=tmp_path / "a.csv", folds=3, cache=cache, threads=1)
    header, *rows = table.read_text().splitlines()
    table.write_text("\n".join([header, *reversed(rows)]))
    capsys.readouterr()
    audit(str(table), output=tmp_path / "b.csv", folds=3, cache=cache, threads=1)
    assert "it is made anew" in capsys.readouterr().err


def test_a_file_that_is_no_cache_is_not_replaced(table, tmp_path):
    mine = tmp_path / "mine.csv"
    mine.write_text("a,b")
    with pytest.raises(ConfigError, match="is no cache of features"):
        audit(str(table), output=tmp_path / "out.csv", cache=mine)
    assert mine.read_text() == "a,b"


@pytest.mark.parametrize("same", ["page", "cache"])
def test_two_outputs_are_two_files(table, tmp_path, same):
    with pytest.raises(ConfigError, match="are one file"):
        audit(str(table), output=tmp_path / "out", **{same: tmp_path / "out"})
    with pytest.raises(ConfigError, match="data set and --output are one file"):
        audit(str(table), output=table, overwrite=True)


def test_nothing_is_replaced_unasked(table, tmp_path):
    (tmp_path / "out.csv").write_text("mine")
    with pytest.raises(ConfigError, match=r"out\.csv exists"):
        audit(str(table), output=tmp_path / "out.csv")
    with pytest.raises(ConfigError, match=r"out\.csv exists"):
        rank((str(EXAMPLES),), output=tmp_path / "out.csv")


def test_rank_chooses_different_photographs(table, tmp_path, capsys):
    output = tmp_path / "ranked.csv"
    assert rank((str(table.parent),), output=output, budget=3, threads=1) == 3
    rows = read(output)
    assert [row["rank"] for row in rows] == ["1", "2", "3"]
    kinds = {Path(row["image"]).stem.partition("-")[2] for row in rows}
    assert kinds == {"cat", "coffee", "astronaut"}
    assert all(len(row["doubts"].split("|")) == 5 for row in rows)
    assert "3 of 12 images chosen" in capsys.readouterr().err


def test_nothing_to_rank(tmp_path):
    (tmp_path / "a.jpg").write_text("no image")
    with pytest.raises(ImageError, match="nothing to choose from"):
        rank((str(tmp_path / "a.jpg"),), output=tmp_path / "out.csv")
