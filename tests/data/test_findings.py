import time
from pathlib import Path

import numpy as np

from didvit.data.findings import check_labels
from didvit.data.table import Table


def table(*rows, labels=("cat", "dog", "eel"), **settings):
    """A table from rows of targets."""
    present, unknown = (
        tuple(
            frozenset(label for label, value in zip(labels, row, strict=True) if value == which)
            for row in rows
        )
        for which in (1, -1)
    )
    images = tuple(Path(f"{i}.jpg") for i in range(len(rows)))
    return Table(images, present, tuple(labels), unknown, **settings)


FINE = [[1, 0, 1], [0, 1, 0]] * 12


def test_nothing_is_odd_about_ordinary_tables():
    assert check_labels({"train": table(*FINE), "val": table(*FINE)}) == ((), ())


def test_a_label_that_every_image_has_or_that_none_is_known_to_lack():
    """Its average precision would be 100."""
    rows = [[1, 1, 0], [1, -1, 1]] * 12
    (problem,) = check_labels({"train": table(*rows)}).problems
    assert problem.startswith("train: 2 labels that no image is known to lack: 'cat', 'dog'; ")
    (problem,) = check_labels({"train": table(*FINE), "val": table(*rows)}).problems
    assert problem.startswith("val: 2 labels")


def test_a_set_whose_labels_are_all_absent():
    (problem,) = check_labels({"train": table(*FINE), "val": table([0, 0, 0])}).problems
    assert problem == "val: no image has any of the 3 labels"


def test_few_images_in_training_and_none_in_validation():
    few = table(*FINE, [0, 0, 1], [0, 0, 0], labels=("cat", "fox", "dog"))
    rows = [*([1, 0, 0] for _ in range(9)), *([0, 1, 0] for _ in range(10))]
    found = check_labels({"train": table(*rows), "val": table([1, 0, 0], [0, 0, 0])})
    assert found.problems == ()
    assert found.warnings == (
        "train: 2 labels of fewer than 10 images: 'cat', 'eel'",
        "val: 1 label that no image has: 'dog'",
    )
    assert check_labels({"train": few}).warnings == ()


def test_what_is_unknown_of_every_image_is_a_warning():
    rows = [[1, 0, -1], [0, 1, -1]] * 10
    found = check_labels({"train": table(*FINE), "val": table(*rows)})
    assert found == ((), ("val: 1 label unknown of every image: 'eel'",))


def test_what_readers_say_comes_first_and_once():
    odd = table(*FINE, notes=("n", "m"), problems=("p",))
    assert check_labels({"train": odd, "val": odd}) == (("p",), ("n", "m"))


def test_labels_that_look_like_several():
    labels = ("cat", "dog", "cat dog", "dog cat", '["eel"', "traffic light", "light")
    rows = np.eye(7, dtype=int).repeat(12, 0).tolist()
    (problem,) = check_labels({"train": table(*rows, labels=labels)}).problems
    assert "3 labels that look like several joined ones" in problem
    assert "'cat dog', 'dog cat'" in problem


def test_twins_in_different_tables():
    found = check_labels({"train": table(*FINE), "val": table(*FINE, labels=("Cat", "dog", "eel"))})
    assert "'cat' and 'Cat'" in found.warnings[-1]


def test_captions():
    names = tuple(f"a photograph number {i}" for i in range(20))
    rows = np.eye(20, dtype=int).tolist()
    warnings = check_labels({"train": table(*rows, labels=names)}).warnings
    assert "20 labels of one image each, for 20 images; are they captions" in warnings[-1]


def test_ten_thousand_labels_are_no_trouble():
    names = tuple(f"label {i:05}" for i in range(10_000))
    present = tuple(frozenset(names[i % 10_000 : i % 10_000 + 3]) for i in range(20_000))
    unknown = (frozenset(names[5000:]) - frozenset(names[-1:]),) * 10_000 + (frozenset(),) * 10_000
    images = tuple(Path(str(i)) for i in range(20_000))
    present = (*(p - u for p, u in zip(present, unknown, strict=True)),)
    start = time.perf_counter()
    large = Table(images, present, names, unknown)
    found = check_labels({"train": large, "val": large})
    assert time.perf_counter() - start < 20
    assert all(len(text) < 400 for part in found for text in part)
    counts = large.label_counts()
    assert counts.unknown[5000] == 10_000
    assert counts.present[5000] + counts.absent[5000] == 10_000
