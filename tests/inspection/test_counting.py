import dataclasses
import io
import json
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from didvit.data.datasets import read_dataset
from didvit.data.findings import FEW
from didvit.data.table import Table
from didvit.inspection.counting import inspect
from didvit.inspection.report import FEW_IMAGES, LISTED_PAIRS, Range
from didvit.inspection.tables import SHOWN, inspection_tables


@pytest.fixture
def save(tmp_path):
    """A function that saves the picture of a number, unlike that of any other, and its path."""

    def save_picture(name, number, size=(80, 70)):
        coarse = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        image.save(tmp_path / name)
        return tmp_path / name

    return save_picture


@pytest.fixture
def picture(save):
    return save("0.png", 0)


def table(images, image_labels, labels="abc", unknown=()):
    return Table(
        tuple(images),
        tuple(map(frozenset, image_labels)),
        tuple(labels),
        tuple(map(frozenset, unknown)),
    )


def table_of_counts(image, labels="abc", **counts):
    """Images with one label each, so many as are given."""
    image_labels = [label for label, count in counts.items() for _ in range(count)]
    return table([image] * len(image_labels), image_labels, labels)


class TestLabels:
    def test_counts(self, picture):
        report = inspect(
            {
                "train": table([picture] * 4, ["ab", "", "b", "b"]),
                "val": table([picture] * 2, ["c", ""], unknown=["ab", "c"]),
            }
        )
        train, val = report.splits["train"], report.splits["val"]
        assert train.positives == {"a": 1, "b": 3, "c": 0}
        assert val.positives == {"a": 0, "b": 0, "c": 1}
        assert report.overall.positives == {"a": 1, "b": 3, "c": 1}
        splits = (train, val, report.overall)
        assert [split.num_images for split in splits] == [4, 2, 6]
        assert [split.num_unlabeled for split in splits] == [1, 1, 2]
        assert [split.num_unknown for split in splits] == [0, 3, 3]

    def test_labels_of_the_splits_may_differ_in_order_and_number(self, picture):
        report = inspect(
            {
                "train": table([picture] * 2, ["c", "ca"], "ca"),
                "val": table([picture], ["b"], "abc"),
            }
        )
        assert report.labels == ("c", "a", "b")
        assert report.splits["train"].positives == {"c": 2, "a": 1, "b": 0}
        assert report.splits["val"].positives == {"c": 0, "a": 0, "b": 1}
        together, _ = report.cooccurrence.matrix([0, 1, 2])
        assert together.tolist() == [[2, 1, 0], [1, 1, 0], [0, 0, 1]]

    def test_missing_and_rare(self, picture):
        report = inspect(
            {
                "train": table_of_counts(picture, "abcd", a=FEW, b=FEW - 1),
                "val": table_of_counts(picture, "abcd", a=1, c=FEW),
            }
        )
        assert report.missing == {"train": ("c",), "val": ("b",)}  # d is nowhere
        assert report.rare == {"train": ("b",), "val": ("a",)}


class TestImages:
    def test_bad_files(self, save, tmp_path):
        (tmp_path / "bad.png").write_bytes(b"no image")
        (tmp_path / "empty.png").touch()
        done = []
        images = [tmp_path / "bad.png", save("0.png", 0), tmp_path / "empty.png"]
        report = inspect({"train": table(images, "abc")}, done.append)
        assert report.splits["train"].bad_files == {
            str(images[0]): "not an image, or of a kind that Pillow cannot read",
            str(images[2]): "the file is empty",
        }
        assert report.splits["train"].num_images == sum(done) == 3
        assert report.duplicates == ()
        assert len(report.problems) == 1
        assert report.problems[0].startswith(
            f"train: 2 of 3 images are missing or cannot be read, first {images[0]} (not an image"
        )

    def test_no_readable_image(self, tmp_path):
        images = [tmp_path / "a.png", tmp_path / "b.png"]
        for image in images:
            image.touch()
        report = inspect({"train": table(images, "ab")})
        assert report.overall.sizes is None
        assert report.size_edges == report.size_counts["train"] == ()
        assert len(report.splits["train"].bad_files) == 2
        assert inspection_tables(report)

    def test_sizes(self, save):
        sizes = [(200, 50), (64, 128), (63, 64), (100, 1000)]
        images = [save(f"{i}.png", i, size) for i, size in enumerate(sizes)]
        report = inspect({"train": table(images[:3], "abc"), "val": table(images[3:], "a")})
        found = report.splits["train"].sizes
        assert found.width == Range(63, 64, 200)
        assert found.height == Range(50, 64, 128)
        assert found.aspect == Range(0.5, 63 / 64, 4)
        assert found.num_small == 2
        assert report.splits["val"].sizes.aspect == Range(0.1, 0.1, 0.1)
        assert report.overall.sizes.height == Range(50, 96, 1000)
        edges = report.size_edges
        assert edges[0] == 50
        assert edges[-1] == 101
        for name, shorter in (("train", (50, 64, 63)), ("val", (100,))):
            assert report.size_counts[name] == tuple(
                sum(low <= side < high for side in shorter) for low, high in pairwise(edges)
            )

    @pytest.mark.parametrize("side", [1, 2, 300])
    def test_images_of_one_size_fill_one_bin(self, save, side):
        report = inspect({"train": table([save("0.png", 0, (side, side))] * 3, "abc")})
        assert report.size_edges == (side, side + 1)
        assert report.size_counts == {"train": (3,)}


class TestDuplicates:
    def test_exact_and_near(self, save, tmp_path):
        original, other = save("a.png", 0), save("other.png", 1)
        copy, again = tmp_path / "copy.png", tmp_path / "again.jpg"
        copy.write_bytes(original.read_bytes())
        with Image.open(original) as image:
            image.save(again, quality=70)
        report = inspect(
            {
                "train": table([original, other], "ab", "ab"),
                "val": table([save("val.png", 2), again], "ab", "ab"),
                "test": table([copy, save("test.png", 3)], "ab", "ab"),
            }
        )
        exact, near = report.duplicates
        assert exact.exact
        assert exact.images == (("train", original), ("test", copy))
        assert not near.exact
        assert near.images == (("train", original), ("val", again), ("test", copy))
        assert near.pair == (("train", original), ("val", again))
        assert {pair: tuple(n.values()) for pair, n in report.shared.items() if n.total()} == {
            ("train", "val"): (0, 1),
            ("train", "test"): (1, 1),
            ("val", "test"): (0, 1),
        }
        assert len(report.problems) == 3
        assert report.problems[1] == (
            "train and test share images: 1 exact and 1 near duplicates; leave each image in one "
            "split alone"
        )

    def test_within_a_split_they_are_no_problem(self, save):
        images = [save("0.png", 0), save("1.png", 1), save("2.png", 0), save("3.png", 0)]
        report = inspect({"train": table(images, "abba")})
        (duplicates,) = report.duplicates
        assert duplicates.images == tuple(("train", images[i]) for i in (0, 2, 3))
        assert duplicates.pair == (("train", images[0]), ("train", images[2]))
        assert report.shared["train", "train"] == {"exact": 1, "near": 0}
        assert report.problems == ()

    def test_images_of_one_color_are_duplicates_only_as_files(self, tmp_path):
        images = [tmp_path / f"{i}.png" for i in range(3)]
        for image, color in zip(images, ("white", "black", "white"), strict=True):
            Image.new("RGB", (30, 30), color).save(image)
        report = inspect({"train": table(images, "aaa")})
        assert [(d.exact, len(d.images)) for d in report.duplicates] == [(True, 2)]


class TestReport:
    def test_a_clean_data_set_has_no_problems(self, save):
        splits = {
            name: table([save(f"{name}.png", i), save(f"{name}2.png", 10 + i)], ["ab", "c"])
            for i, name in enumerate(("train", "val"))
        }
        report = inspect(splits)
        assert report.problems == ()
        assert report.duplicates == ()

    def test_labels_that_training_lacks_are_a_problem(self, save):
        train = table([save("0.png", 0), save("1.png", 1)], ["a", ""])
        val = table([save("2.png", 2), save("3.png", 3)], ["b", ""])
        (problem,) = inspect({"train": train, "val": val}).problems
        assert problem.startswith("train has no image with 'b', which other data sets have; ")

    def test_a_set_without_any_label_is_a_problem(self, save):
        (problem,) = inspect({"train": table([save("0.png", 0)], [""])}).problems
        assert problem == "train: no image has any of the 3 labels"

    def test_a_label_that_no_image_lacks_is_a_problem(self, save):
        images = [save("0.png", 0), save("1.png", 1)]
        (problem,) = inspect({"train": table(images, ["a", "ab"], unknown=["b", ""])}).problems
        assert problem.startswith("train: 2 labels that no image is known to lack: 'a', 'b'; ")

    def test_labels_of_other_splits(self, picture):
        """That validation does not even declare a label is found too."""
        train = table_of_counts(picture, "ab", a=FEW, b=FEW)
        val = table_of_counts(picture, ["A", "b"], A=2, b=2)
        warnings = inspect({"train": train, "val": val}).warnings
        assert warnings[0] == "val: 1 label that no image has: 'a'"
        assert "'a' and 'A'" in warnings[1]

    def test_problems_of_the_reader_and_warnings(self, picture):
        many = table([picture] * FEW_IMAGES, [""] + ["abc"] * (FEW_IMAGES - 1))
        few = table([picture] * (FEW_IMAGES - 1), ["ab", "c"] + [""] * (FEW_IMAGES - 3))
        told = dataclasses.replace(many, notes=("assumed",), problems=("passed over",))
        report = inspect({"train": told, "val": few})
        shared, problem = report.problems
        assert shared.startswith("train and val share images")
        assert problem == "passed over"
        assert report.warnings == (
            "assumed",
            f"val has {FEW_IMAGES - 1} images, which is few: results will vary with chance",
        )
        assert report.summary == (
            f"{2 * FEW_IMAGES - 1} images in 2 data sets with 3 labels: 0 unreadable images, "
            "2 problems, 2 warnings"
        )

    def test_as_json(self, save, tmp_path):
        (tmp_path / "bad.png").touch()
        images = [save("0.png", 0), save("1.png", 0), tmp_path / "bad.png"]
        train = table(images, ["ab", "a", ""])
        val = table(images[:2], ["c", ""], unknown=["a", ""])
        report = inspect({"train": train, "val": val})
        values = json.loads(json.dumps(report.to_dict(), allow_nan=False))
        assert values["problems"] == list(report.problems)
        assert values["warnings"] == list(report.warnings)
        assert values["splits"]["train"]["sizes"]["width"] == {
            "least": 80, "median": 80, "greatest": 80,
        }  # fmt: skip
        assert values["overall"]["positives"] == {"a": 2, "b": 1, "c": 1}
        assert values["missing_labels"] == {"train": ["c"], "val": ["a", "b"]}
        assert values["cooccurrence"] == [{"labels": ["a", "b"], "num_images": 1}]
        assert {"splits": ["train", "val"], "exact": 1, "near": 0} in values["shared"]
        (duplicates,) = values["duplicates"]
        assert duplicates["images"][2] == {"split": "val", "image": str(images[0])}
        assert values["shorter_sides"] == {
            "edges": [70, 71],
            "counts": {"train": [2], "val": [2]},
        }

    def test_ten_thousand_labels(self, picture):
        """The matrix of these alone would be 800 MB."""
        labels = [f"label number {i}" for i in range(10_000)]
        rng = np.random.default_rng(0)
        image_labels = [rng.choice(labels, 600).tolist() for _ in range(11)] + [[]]
        unknown = [[]] * 11 + [labels]
        report = inspect({"train": table([picture] * 12, image_labels, labels, unknown)})
        text = json.dumps(report.to_dict(), indent=2)
        assert len(text) < 3e6
        assert len(json.loads(text)["cooccurrence"]) == LISTED_PAIRS
        assert sum(part.row_count for part in inspection_tables(report)) < 200

    def test_workers_change_nothing(self, save):
        tables = {"train": table([save("0.png", 0), save("1.png", 1)], "ab")}
        assert inspect(tables, workers=1).to_dict() == inspect(tables).to_dict()

    def test_real_photographs(self, coco18):
        report = inspect({"val": read_dataset(coco18 / "val.csv")})
        assert report.problems == report.duplicates == ()
        assert report.overall.sizes.width.greatest == report.overall.sizes.height.greatest == 320


class TestTables:
    @staticmethod
    def text(report):
        console = Console(width=300, file=io.StringIO())
        for part in inspection_tables(report):
            console.print(part)
        return console.file.getvalue()

    def test_names_are_shown_as_they_are(self, save):
        image = save("[bold]0.png", 0)
        tables = {
            "[red]": table([image] * FEW, [["[x]", "y"]] * FEW, ["[x]", "y"]),
            "[/]": table([image], ["y"], ["[x]", "y"]),
        }
        text = self.text(inspect(tables))
        for name in ("[red]", "[/]", "[x]", str(image), "y where [x] is", "[red] and [/]"):
            assert name in text

    def test_long_lists_end(self, tmp_path):
        images = [tmp_path / f"{i}.png" for i in range(SHOWN + 2)]
        for image in images:
            image.touch()
        text = self.text(inspect({"train": table(images, "a" * len(images))}))
        assert str(images[SHOWN - 1]) in text
        assert str(images[SHOWN]) not in text
        assert "and 2 more" in text

    def test_large_groups_of_duplicates_end(self, picture):
        text = self.text(inspect({"train": table([picture] * (SHOWN + 3), ["a"] * (SHOWN + 3))}))
        assert text.count(f"train: {picture}") == SHOWN
        assert "and 3 more" in text

    def test_what_is_empty_is_left_out(self, save):
        text = self.text(inspect({"train": table([save("0.png", 0)], "a")}))
        for title in ("Duplicate", "Unreadable", "together"):
            assert title not in text
