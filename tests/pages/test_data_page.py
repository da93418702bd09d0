"""The page of a data check: complete, safe and small, whatever the data are."""

import shutil

import numpy as np
import pytest
from PIL import Image

from didvit.data.table import Table
from didvit.inspection import inspect
from didvit.inspection.page import MOST_LABELS, SAMPLED_LABELS, SAMPLES, data_page
from pages.reading import Page


@pytest.fixture
def table(tmp_path):
    """A function that makes a table: the labels of each image, drawn anew or by its name."""

    def make(name, image_labels, labels=None):
        rng = np.random.default_rng(len(name))
        images = []
        for i in range(len(image_labels)):
            coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
            images.append(tmp_path / f"{name}-{i}.png")
            Image.fromarray(coarse).resize((80, 60)).save(images[-1])
        found = dict.fromkeys(label for of_image in image_labels for label in of_image)
        return Table(tuple(images), tuple(map(frozenset, image_labels)), tuple(labels or found))

    return make


def page_of(**tables) -> Page:
    report = inspect(tables)
    command = ("didvit", "data", "check", "<train>.csv")
    return Page(data_page(report, tables, command, {"python": "3.11"}))


def test_counts(table):
    page = page_of(
        train=table("train", [["cat"]] * 12 + [["cat", "dog"]] * 8 + [[]] * 2),
        val=table("va", [["cat"]] * 3),
    )
    assert "train (22 images), val (3 images)" in page.text
    assert "cat20323" in page.by_section["Images by label"]
    assert "dog808none in val, few in train" in page.by_section["Images by label"]
    assert "train22020" in page.by_section["Data sets"]
    assert "80 / 80 / 80" in page.by_section["Data sets"]
    assert "cat where dog is" not in page.text  # too few images of dogs
    assert "Duplicates" not in page.by_section
    assert "Unreadable images" not in page.by_section
    assert "didvit data check <train>.csv" in page.by_section["How this was made"]


def test_problems_and_good_news(table):
    bad = page_of(train=table("train", [["cat"], []]), val=table("va", [["fox"], ["cat"]]))
    assert len(bad.of("div", **{"class": "note warning"})) == 1
    assert "train has no image with 'fox'" in bad.text
    good = page_of(train=table("train", [["cat"], [], ["dog"]] * 40))
    assert not good.of("div", **{"class": "note warning"})
    assert "Nothing is wrong with these data." in good.text


def test_co_occurrence(table):
    page = page_of(train=table("train", [["cat", "dog"]] * 12 + [["cat"]] * 12))
    text = page.by_section["Labels that come together"]
    assert "cat where dog is12100.0" in text
    assert "dog where cat is1250.0" in text
    assert len(page.of("td", style="--part:70%")) == 1  # of the dogs, all are with a cat
    assert len(page.of("td", style="--part:35%")) == 1


def test_duplicates_are_shown(table, tmp_path):
    train, val = table("train", [["cat"], []]), table("va", [["cat"], []])
    shutil.copy(train.images[0], val.images[1])
    page = page_of(train=train, val=val)
    text = page.by_section["Duplicates"]
    assert "train and val10" in text
    assert "same filetrain: train-0.pngval: va-1.png" in text
    assert len(page.of("div", **{"class": "two"})) == 1


def test_bad_files_are_listed_and_never_pictured(table):
    train = table("train", [["cat"], ["cat"]])
    train.images[0].write_bytes(b"no image")
    page = page_of(train=train)
    assert "train-0.png" in page.by_section["Unreadable images"]
    assert len(page.of("img")) == 1
    train.images[1].unlink()
    page = page_of(train=train)
    assert not page.of("img")
    assert "No image with it can be read." in page.by_section["Samples"]


def test_an_image_that_goes_in_between(table):
    tables = {"train": table("train", [["cat"], ["dog"]])}
    report = inspect(tables)
    tables["train"].images[0].unlink()
    page = Page(data_page(report, tables, (), {}))
    assert "the image cannot be read any more" in page.by_section["Samples"]
    assert len(page.of("img")) == 1


@pytest.mark.parametrize("count", [1, SAMPLED_LABELS, SAMPLED_LABELS + 1, 300])
def test_samples_of_a_few_labels(table, count):
    labels = [f"label {i}" for i in range(count)]
    page = page_of(train=table("train", [labels] + [labels[:1]] * 20))
    pictured = min(count, SAMPLED_LABELS)
    assert len(page.of("div", **{"class": "gallery samples"})) == pictured
    assert len(page.of("img")) == SAMPLES + pictured - 1  # one label has many images
    assert ("most frequent" in page.by_section["Samples"]) == (count > SAMPLED_LABELS)


def test_many_labels(table):
    labels = [f"label {i}" for i in range(MOST_LABELS + 3)]
    page = page_of(train=table("train", [labels, labels[:7]]))
    assert f"The {MOST_LABELS:,} most frequent of" in page.by_section["Images by label"]


def test_names_may_hold_anything(table, tmp_path):
    labels = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "שלום", "x" * 300]
    tables = {
        "<b>train</b>": table("<b>", [labels, labels[:2]] * 6),
        "two\nlines \udcff": table("'\"", [labels] * 2),
    }
    report = inspect(tables)
    page = Page(data_page(report, tables, ("didvit", "<i>", "\udcff"), {"python": "<3>"}))
    for text in ("<b>train</b>", "two\\nlines \\udcff", *labels[:3], "<i> \\udcff", "<3>"):
        assert text in page.text
    assert not page.of("i")


def test_nothing_to_show(table):
    page = page_of(train=table("train", [[]], labels=["cat"]))
    assert not page.of("img")
    assert "Samples" not in page.by_section
    assert "Labels that come together" not in page.by_section
