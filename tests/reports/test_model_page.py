"""The page of a model: complete, safe and small, whatever there is to measure."""

import dataclasses

import numpy as np
import pytest

from didvit.config import DiDConfig, ModelConfig
from didvit.pages.thumbnails import thumbnail
from didvit.reports import Circumstances, Rule, Subject, rule_of
from didvit.reports.measure import measure
from didvit.reports.model_page import MOST_FAILURES, MOST_LABELS, model_page
from didvit.reports.subject import ModelFile
from pages.reading import Page

NASTY = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>'",
    "שלום \u202e עולם",
    "two\nlines\x00",
    "long " * 40,
    "\udcff&amp;",
)
CIRCUMSTANCES = Circumstances(
    data="photos.csv",
    data_digest="0" * 64,
    date="2025-01-31",
    failures=(),
    command=("didvit", "report", "folder"),
    versions={"python": "3.11"},
)


def page_of(
    probabilities, targets, labels, rule=None, pictures=True, circumstances=CIRCUMSTANCES
) -> Page:
    probabilities, targets = np.asarray(probabilities, float), np.asarray(targets, np.int8)
    rule = rule or rule_of(tuple(labels), None, "")
    names = [f"folder/<{i}>.jpg" for i in range(len(targets))]
    measures = measure(probabilities, targets, rule.thresholds, labels, names, 20)
    subject = Subject(
        "<my model>",
        len(labels),
        ModelConfig(),
        DiDConfig(),
        "onnx",
        (ModelFile("model.safetensors", 5_900_000, "a" * 64),),
    )
    picture = thumbnail(np.zeros((30, 40, 3), np.uint8), "")
    cases = (*measures.false_positives, *measures.misses) if pictures else ()
    made = model_page(subject, measures, rule, circumstances, dict.fromkeys(cases, picture))
    return Page(made)


def drawn(images, labels):
    rng = np.random.default_rng(0)
    targets = rng.choice([0, 1, -1], (images, labels), p=[0.6, 0.3, 0.1])
    return rng.random((images, labels)), targets


def rows_of(page: Page) -> int:
    return len(page.of("th", scope="row"))


def test_labels_and_files_may_hold_anything():
    page = page_of(*drawn(60, 6), NASTY)
    for start in ("<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>'", "two\\nlines"):
        assert start in page.by_section["By label"]
    assert "שלום" in page.text
    assert "\\udcff&amp;" in page.text
    assert "<my model>" in page.text
    assert "<0>.jpg" in page.text or "<1>.jpg" in page.text
    assert max(len(text) for text in page.by_section["By label"].split("  ")) < 1000


def test_figures_by_hand():
    """Three of four predictions of 'cat' hold, and three of its four images are found."""
    probabilities = np.array([[0.9, 0.8, 0.7, 0.6, 0.2, 0.1]]).T
    page = page_of(probabilities, np.array([[1, 1, 0, 1, 1, 0]]).T, ["cat"])
    assert page.by_section["By label"].startswith("Label")
    assert page.of("td", **{"data-value": "0.8875"})  # AP: precision at ranks 1, 2, 4 and 5
    assert len(page.of("td", **{"data-value": "0.75"})) == 3
    assert page.text.count("75.0") == 7  # three figures twice, and the mean F1
    assert "Measured on 6 images of photos.csv on 2025-01-31." in page.text
    assert "1 label, backbone vit_tiny" in page.text
    assert "5.9 MB" in page.text
    assert "never" not in page.by_section["By label"]


@pytest.mark.parametrize(
    ("probabilities", "targets", "reason"),
    [
        ([[0.9]], [[1]], "no image is known to lack it"),
        ([[0.1]], [[1]], "no image is known to lack it"),
        ([[0.9]], [[0]], "no image is known to have it"),
        ([[0.1]], [[-1]], "it is unknown in every image"),
        (np.full((9, 1), 0.7), np.zeros((9, 1)), "no image is known to have it"),
    ],
)
def test_one_label_and_nothing_to_measure(probabilities, targets, reason):
    page = page_of(probabilities, targets, ["cat"])
    assert reason in page.by_section["By label"]
    assert "no label can be measured" in page.text
    assert "nan" not in page.text.lower()
    assert rows_of(page) == 1


@pytest.mark.parametrize(("labels", "rows"), [(1000, 1000), (MOST_LABELS + 5, MOST_LABELS)])
def test_many_labels(labels, rows):
    probabilities, targets = drawn(40, labels)
    names = [f"label number {i} of a very long list of labels" for i in range(labels)]
    page = page_of(probabilities, targets, names)
    assert len(page.of("tr")) - 2 == rows + 15  # heads, and confusions
    assert (f"of {labels:,} labels" in page.text) == (rows < labels)


def test_confusions_in_words():
    truck, car = 0, 1
    targets = np.zeros((100, 2))
    targets[:30, car] = targets[90:, truck] = 1
    probabilities = np.full((100, 2), 0.1)
    probabilities[:20, truck] = probabilities[50:55, truck] = 0.9
    page = page_of(probabilities, targets, ["truck", "car"])
    words = "predicted truck on 25 images without it; 20 of them have car"
    assert words in page.by_section["Confusions"]


def test_worst_cases_have_pictures_and_words():
    probabilities = np.array([[0.9996, 0.2], [0.0004, 0.7], [0.5, 0.5]])
    page = page_of(probabilities, [[0, 1], [1, 0], [1, 1]], ["cat", "dog"])
    assert len(page.of("img")) == 2 + 2
    wrong, missed = (page.by_section[name] for name in ("Worst false positives", "Worst misses"))
    assert "cat > 0.999threshold 0.500has: dog<0>.jpg" in wrong
    assert "cat < 0.001threshold 0.500has: cat<1>.jpg" in missed
    without = page_of(probabilities, [[0, 1], [1, 0], [1, 1]], ["cat", "dog"], pictures=False)
    assert not without.of("img")


def test_no_mistake_is_told():
    page = page_of([[0.9], [0.1]], [[1], [0]], ["cat"])
    for name in ("Worst false positives", "Worst misses"):
        assert page.by_section[name].startswith("None: ")


def test_thresholds_in_use():
    def rule(tuned_here):
        thresholds = np.array([0.25, np.inf])
        notes = ("", "few positives")
        return Rule(lambda logits: logits, thresholds, "Tuned for <F1>.", notes, tuned_here)

    page = page_of(*drawn(40, 2), ["cat", "dog"], rule(False))
    assert "Tuned for <F1>." in page.text
    assert "0.250" in page.by_section["By label"]
    assert "never" in page.by_section["By label"]
    assert "few positives" in page.by_section["By label"]
    assert not page.of("div", **{"class": "note warning"})
    warned = page_of(*drawn(40, 2), ["cat", "dog"], rule(True))
    assert len(warned.of("div", **{"class": "note warning"})) == 1
    assert "tuned on these very images" in warned.text


def test_unreadable_images_are_listed():
    assert "Unreadable images" not in page_of([[0.9]], [[1]], ["cat"]).by_section
    failures = tuple(f"<{i}>.jpg: damaged" for i in range(MOST_FAILURES + 7))
    circumstances = dataclasses.replace(CIRCUMSTANCES, failures=failures)
    page = page_of([[0.9]], [[1]], ["cat"], circumstances=circumstances)
    text = page.by_section["Unreadable images"]
    assert text.startswith("57 images could not be read")
    assert "<0>.jpg: damaged" in text
    assert text.count("damaged") == MOST_FAILURES
    assert text.endswith("and 7 more")


def test_what_the_figures_depend_on():
    page = page_of([[0.9]], [[1]], ["cat"])
    text = page.by_section["How this was made"]
    for part in ("0" * 64, "a" * 64, "python 3.11", "didvit report folder", "top n 4", "onnx"):
        assert part in text
