"""Cases of CSV files: what is unmistakable is read, what is not is refused in a line."""

import pytest

from didvit.data.datasets import read_dataset


def test_a_quote_that_is_never_closed_is_refused(case, didvit):
    """04: the rest of the file does not become labels of one image."""
    case("04")
    didvit("data check train.csv").assert_refused("train.csv, line 3: a quote is opened there")


def test_one_and_minus_one_are_present_and_absent(case, didvit, tiny_training):
    """06: CelebA's way, and a label that no image is known to lack."""
    case("06")
    result = didvit("data check train.csv val.csv")
    assert result.code == 3
    assert "val.csv: 1 label that no image is known to lack: 'Male'" in result.notes
    assert "train.csv: its cells are 1 and -1 and never 0, so -1 is read as absent" in result.notes
    train = ("train --data.train train.csv --data.val val.csv --output run", *tiny_training)
    result = didvit(*train)
    assert result.code == 0
    assert "warning validation: 1 label that no image is known to lack: 'Male'" in result.err
    result = didvit("evaluate --model run --data val.csv --workers 0 --device cpu --resamples 0")
    assert result.code == 0
    assert "mAP over" not in result.out
    assert "over 2 labels" in " ".join(result.err.replace(".", " ").split())
    assert "'Male'" in result.err or "Male (" in result.err


def test_absence_that_is_nowhere_known_is_a_problem(case, didvit, tiny_training):
    case("06")
    for name in ("train", "val"):
        with open(f"{name}.csv") as file:
            rows = file.read().replace("-1", "")
        with open(f"{name}.csv", "w") as file:
            file.write(rows)
    result = didvit("data check train.csv")
    assert result.code == 3
    assert "3 labels that no image is known to lack" in result.notes


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("comma", [{"cat", "dog"}, {"cat"}, {"cat", "dog"}]),
        ("semicolon", [{"cat", "dog"}, {"cat"}, {"cat", "dog"}]),
        ("json", [{"cat", "dog"}, {"cat"}, set()]),
        ("space-quote", [{"cat", "dog"}, {"dog"}]),
    ],
)
def test_labels_joined_otherwise_are_taken_apart(case, didvit, name, labels):
    """07: and it is said where that was assumed."""
    case("07")
    table = read_dataset(f"{name}.csv")
    assert [set(of_image) for of_image in table.image_labels] == labels
    result = didvit(f"data check {name}.csv")
    assert result.code in (0, 3)
    if name != "space-quote":
        assert f"{name}.csv: labels " in result.notes


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("image,labels,labels", "0.jpg,cat,dog"),
        ("image,image,labels", "0.jpg,1.jpg,cat"),
        ("image,cat,cat", "0.jpg,1,0"),
    ],
)
def test_columns_that_stand_twice_are_refused(case, didvit, header, row):
    """15: neither column is dropped."""
    case("15")
    didvit("data check labels-twice.csv").assert_refused("'labels' stands there twice")
    with open("twice.csv", "w") as file:
        file.write(f"{header}\n{row}\n")
    didvit("data check twice.csv").assert_refused("twice.csv: ")
