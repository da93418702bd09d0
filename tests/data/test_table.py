from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import refusals
from didvit.data.datasets import read_dataset, read_datasets
from didvit.data.formats.shards import TarMember
from didvit.data.table import DataError, Entry, Listing, Table, join


@pytest.fixture
def write(tmp_path):
    """A function that writes a CSV file, and empty files for images 0 to 5 in ``images``."""
    (tmp_path / "images").mkdir()
    for i in range(6):
        (tmp_path / "images" / f"{i}.jpg").touch()

    def write_csv(*rows, name="table.csv", header="image,labels", end="\n"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes("".join(row + end for row in (header, *rows)).encode())
        return path

    return write_csv


def read(paths, labels=None):
    """One table of one file or several."""
    return read_datasets(paths if isinstance(paths, list) else [paths], labels)


refused = partial(refusals.refused, read=read)


class TestRead:
    def test_a_table(self, write, tmp_path):
        path = write("images/0.jpg,cat|dog", "images/1.jpg,", "images/2.jpg,ant")
        table = read_dataset(path)
        assert len(table) == 3
        assert table.images == tuple(tmp_path / "images" / f"{i}.jpg" for i in range(3))
        assert table.image_labels == ({"cat", "dog"}, set(), {"ant"})
        assert table.labels == ("ant", "cat", "dog")
        assert table.targets.tolist() == [[0, 1, 1], [0, 0, 0], [1, 0, 0]]

    def test_given_labels_set_the_order_and_may_be_more(self, write):
        path = write("images/0.jpg,cat|dog", "images/1.jpg,dog")
        table = read_dataset(path, ["dog", "eel", "cat"])
        assert table.labels == ("dog", "eel", "cat")
        assert table.targets.tolist() == [[1, 0, 1], [1, 0, 0]]

    def test_with_given_labels_no_image_needs_one(self, write):
        table = read_dataset(write("images/0.jpg,"), ["cat"])
        assert table.targets.tolist() == [[0]]

    def test_a_byte_order_mark_is_no_part_of_the_header(self, write):
        path = write("images/0.jpg,cat")
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
        assert read_dataset(path).labels == ("cat",)

    @pytest.mark.parametrize("end", ["\r\n", "\r", "\n"])
    def test_line_ends(self, write, end):
        table = read_dataset(write("images/0.jpg,cat|dog", "images/1.jpg,dog", end=end))
        assert table.image_labels == ({"cat", "dog"}, {"dog"})

    def test_a_missing_last_line_end_and_blank_lines(self, write):
        path = write("images/0.jpg,cat", "", "images/1.jpg,dog")
        path.write_bytes(path.read_bytes().rstrip())
        assert len(read_dataset(path)) == 2

    def test_spaces_around_labels_and_paths(self, write):
        table = read_dataset(write(" images/0.jpg , traffic light |  cat ", "images/1.jpg,   "))
        assert table.image_labels == ({"traffic light", "cat"}, set())
        assert table.images[0].name == "0.jpg"

    def test_labels_repeated_or_empty_within_a_cell(self, write):
        table = read_dataset(write("images/0.jpg,cat|cat||dog|"))
        assert table.image_labels == ({"cat", "dog"},)
        assert table.targets.tolist() == [[1, 1]]

    def test_quoted_cells(self, write, tmp_path):
        (tmp_path / "images" / "a, b.jpg").touch()
        table = read_dataset(write('"images/a, b.jpg","salt, pepper|cat"'))
        assert table.image_labels == ({"salt, pepper", "cat"},)

    def test_labels_of_any_script(self, write):
        assert read_dataset(write("images/0.jpg,猫|Käse")).labels == ("Käse", "猫")

    def test_columns_in_another_order_and_others_besides(self, write):
        path = write("cat,7,images/0.jpg", header="labels,id,image")
        assert read_dataset(path).image_labels == ({"cat"},)

    def test_absolute_paths(self, write, tmp_path):
        image = tmp_path / "images" / "0.jpg"
        assert read_dataset(write(f"{image},cat", name="other/table.csv")).images == (image,)

    def test_several_files_each_relative_to_its_own_folder(self, write):
        one = write("images/0.jpg,cat|dog")
        two = write("../images/1.jpg,ant", name="other/table.csv")
        table = read_datasets([one, two])
        assert [image.resolve() for image in table.images] == [
            one.parent.resolve() / "images" / f"{i}.jpg" for i in range(2)
        ]
        assert table.labels == ("ant", "cat", "dog")
        assert table.targets.tolist() == [[0, 1, 1], [1, 0, 0]]

    def test_targets_of_no_images_have_a_column_per_label(self):
        assert Table((), (), ("a", "b")).targets.shape == (0, 2)


class TestTargets:
    def test_unknown_is_minus_one(self):
        table = Table(
            (Path("a"), Path("b")),
            (frozenset({"cat"}), frozenset()),
            ("ant", "cat", "dog"),
            (frozenset({"ant", "dog"}), frozenset()),
        )
        assert table.targets.tolist() == [[-1, 1, -1], [0, 0, 0]]

    @given(st.lists(st.lists(st.sampled_from((-1, 0, 1)), min_size=4, max_size=4), max_size=6))
    def test_targets_say_what_the_sets_say(self, rows):
        labels = ("a", "b", "c", "d")
        present, unknown = (
            tuple(
                frozenset(label for label, value in zip(labels, row, strict=True) if value == which)
                for row in rows
            )
            for which in (1, -1)
        )
        table = Table(tuple(Path(f"{i}") for i in range(len(rows))), present, labels, unknown)
        assert table.targets.shape == (len(rows), 4)
        assert table.targets.tolist() == rows


def listing(tmp_path, name, *labels_of_images, **settings):
    """A data set of images that exist, with these labels."""
    entries = []
    for i, present in enumerate(labels_of_images):
        (tmp_path / f"{name}{i}.jpg").touch()
        entries.append(Entry(f"{name} {i}", tmp_path / f"{name}{i}.jpg", frozenset(present)))
    return Listing(name, entries, **settings)


class TestJoin:
    def test_official_orders_come_first_then_the_alphabet(self, tmp_path):
        listings = [
            listing(tmp_path, "csv", {"eel", "zebra"}),
            listing(tmp_path, "voc", {"person"}, labels=("person", "cat"), ordered=True),
            listing(tmp_path, "classes", {"bee"}, labels=("fly", "bee", "cat")),
            listing(tmp_path, "coco", set(), labels=("dog", "cat"), ordered=True),
        ]
        table = join(listings)
        assert table.labels == ("person", "cat", "dog", "bee", "eel", "fly", "zebra")
        assert table.image_labels == ({"eel", "zebra"}, {"person"}, {"bee"}, set())
        declared = ({"person", "cat"}, {"fly", "bee", "cat"}, {"dog", "cat"})
        assert table.unknown == (set(), *(set(table.labels) - labels for labels in declared))

    def test_what_a_data_set_does_not_declare_is_unknown_of_its_images(self, tmp_path):
        """Two tables with other columns: neither says a word of the other's labels."""
        (tmp_path / "a.jpg").touch()
        (tmp_path / "b.jpg").touch()
        (tmp_path / "one.csv").write_text("image,cat,dog\na.jpg,1,0\n")
        (tmp_path / "two.csv").write_text("image,bus,cat\nb.jpg,1,\n")
        table = read_datasets([tmp_path / "one.csv", tmp_path / "two.csv"])
        assert table.labels == ("cat", "dog", "bus")
        assert table.targets.tolist() == [[1, 0, -1], [-1, -1, 1]]
        assert any("one.csv: 1 label of the others ('bus')" in note for note in table.notes)
        for_model = read_dataset(tmp_path / "one.csv", ["bus", "cat", "dog"])
        assert for_model.targets.tolist() == [[-1, 1, 0]]

    def test_where_labels_are_not_declared_the_others_are_absent_which_is_said(self, tmp_path):
        table = join([listing(tmp_path, "x", {"cat"}), listing(tmp_path, "y", {"bus"})])
        assert table.targets.tolist() == [[0, 1], [1, 0]]
        assert len(table.notes) == 2
        assert "x: 1 label of the others ('bus'): " in table.notes[0]
        assert "taken as absent" in table.notes[0]
        assert join([listing(tmp_path, "x", {"cat"})], ["bus", "cat"]).notes == ()

    def test_notes_and_problems_are_those_of_all_once(self, tmp_path):
        one = listing(tmp_path, "x", {"cat"}, notes=("a", "b"), problems=("p",))
        two = listing(tmp_path, "y", {"cat"}, notes=("b",), problems=("p", "q"))
        table = join([one, two])
        assert (table.notes, table.problems) == (("a", "b"), ("p", "q"))

    def test_declared_labels_suffice(self, tmp_path):
        table = join([listing(tmp_path, "x", set(), labels=("b", "a"))])
        assert table.labels == ("a", "b")

    def test_unknown_is_kept_for_every_image_where_there_is_any(self, tmp_path):
        known = listing(tmp_path, "x", {"cat"})
        (tmp_path / "y.jpg").touch()
        guess = Entry("y", tmp_path / "y.jpg", frozenset(), frozenset({"dog"}))
        table = join([known, Listing("y", [guess])])
        assert table.unknown == (frozenset(), {"dog"})
        assert table.targets.tolist() == [[1, 0], [0, -1]]

    def test_unknown_labels_must_be_known_to_the_model(self, tmp_path):
        (tmp_path / "y.jpg").touch()
        guess = Entry("place", tmp_path / "y.jpg", frozenset({"cat"}), frozenset({"dgo"}))
        with pytest.raises(DataError, match="place: the label 'dgo' is not among the 2 known"):
            join([Listing("y", [guess])], ["cat", "dog"])

    def test_a_label_cannot_be_both(self, tmp_path):
        (tmp_path / "y.jpg").touch()
        both = Entry("place", tmp_path / "y.jpg", frozenset({"cat"}), frozenset({"cat", "dog"}))
        with pytest.raises(DataError, match="place: 'cat' is both a label and unknown"):
            join([Listing("y", [both])])

    def test_missing_images_are_counted_over_all(self, tmp_path):
        gone = listing(tmp_path, "gone", {"cat"}, {"cat"}, folder=tmp_path / "pictures")
        (tmp_path / "gone1.jpg").unlink()
        with pytest.raises(DataError, match=r"gone 1: .*gone1\.jpg; .*pictures \(1 of 3 "):
            join([listing(tmp_path, "here", {"cat"}), gone])

    def test_missing_images_may_be_kept_while_there_are_others(self, tmp_path):
        gone = listing(tmp_path, "gone", {"cat"}, {"cat"})
        (tmp_path / "gone1.jpg").unlink()
        kept = join([gone], missing="keep")
        assert [image.name for image in kept.images] == ["gone0.jpg", "gone1.jpg"]
        (tmp_path / "gone0.jpg").unlink()
        with pytest.raises(DataError, match=r"2 of 2 are missing"):
            join([gone], missing="keep")

    def test_a_stored_image_is_listed_once_whatever_leads_to_it(self, tmp_path):
        (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
        entries = [
            Entry(where, TarMember(folder / "0.tar", "a.jpg", 512, 9), frozenset({"cat"}))
            for where, folder in (("first", tmp_path), ("second", tmp_path / "link"))
        ]
        other = entries[0]._replace(image=TarMember(tmp_path / "0.tar", "b.jpg", 1024, 9))
        assert len(join([Listing("x", [entries[0], other])])) == 2
        with pytest.raises(DataError, match=r"second: .*a.jpg is listed already, at first"):
            join([Listing("x", entries)])

    def test_links_differ_where_the_format_says_so(self, tmp_path):
        one = listing(tmp_path, "x", {"cat"}, {"dog"})
        (tmp_path / "x1.jpg").unlink()
        (tmp_path / "x1.jpg").symlink_to(tmp_path / "x0.jpg")
        assert len(join([one._replace(links_differ=True)])) == 2
        with pytest.raises(DataError, match=r"x 1: .* listed already, at x 0"):
            join([one])
        with pytest.raises(DataError, match=r"x 0: .* listed already, at x 0"):
            join([one._replace(links_differ=True)] * 2)


class TestRefused:
    def test_missing_file(self, tmp_path):
        refused(tmp_path / "none.csv", str(tmp_path / "none.csv"), "there is no such file")

    def test_one_of_several_files_is_missing(self, write, tmp_path):
        paths = [write("images/0.jpg,cat"), tmp_path / "none.csv"]
        refused(paths, str(tmp_path / "none.csv"), "there is no such file")

    def test_folder(self, tmp_path):
        refused(tmp_path, str(tmp_path), "a folder of an unknown format")

    def test_path_through_a_file(self, write):
        path = write("images/0.jpg,cat")
        refused(path / "table.csv", str(path / "table.csv"))

    @pytest.mark.parametrize("encoding", ["utf-16-le", "latin-1"])
    def test_other_encodings(self, write, encoding):
        path = write()
        path.write_bytes("image,labels\nimages/0.jpg,Käse\n".encode(encoding))
        refused(path, str(path), "line", "save it with the encoding UTF-8")

    def test_empty_file(self, write):
        path = write()
        path.write_bytes(b"")
        refused(path, str(path), "no column 'image'", "none")

    @pytest.mark.parametrize(
        ("header", "missing"),
        [
            ("file,labels", "'image'"),
            ("image,animals", "'labels'"),
            ("image:labels", "'image'"),
            ("images/0.jpg,cat", "'image'"),
        ],
    )
    def test_missing_column(self, write, header, missing):
        path = write("images/0.jpg,cat", header=header)
        # What is missing, what is expected, and what is there.
        refused(path, str(path), f"no column {missing}", "'image' and 'labels'", header[:4])

    def test_header_alone(self, write):
        path = write()
        refused(path, str(path), "no images")

    def test_no_files_at_all(self):
        refused([], "no images")

    def test_no_image_has_a_label(self, write):
        path = write("images/0.jpg,", "images/1.jpg,")
        refused(path, str(path), "no image has a label")

    @pytest.mark.parametrize("row", ["images/1.jpg", ",cat", '"",cat', "   ,cat"])
    def test_row_without_image_or_labels(self, write, row):
        path = write("images/0.jpg,cat", row)
        refused(path, f"{path}, line 3")

    def test_row_with_more_cells_than_the_header(self, write):
        """Labels joined by commas must not be lost in silence."""
        path = write("images/0.jpg,cat", "images/1.jpg,cat,dog")
        refused(path, f"{path}, line 3")

    def test_image_listed_twice(self, write):
        path = write("images/0.jpg,cat", "images/1.jpg,dog", "images/0.jpg,dog")
        refused(path, f"{path}, line 4", "0.jpg", f"{path}, line 2", "into one row")

    def test_image_listed_in_two_files(self, write):
        one = write("images/0.jpg,cat", name="one.csv")
        two = write("images/1.jpg,dog", "images/0.jpg,dog", name="two.csv")
        refused([one, two], f"{two}, line 3", f"{one}, line 2")

    def test_the_same_file_given_twice(self, write):
        path = write("images/0.jpg,cat")
        refused([path, path], f"{path}, line 2", "0.jpg")

    @pytest.mark.parametrize("again", ["./images/0.jpg", "images/../images/0.jpg", "{absolute}"])
    def test_image_listed_twice_under_other_spellings(self, write, tmp_path, again):
        again = again.format(absolute=tmp_path / "images" / "0.jpg")
        path = write("images/0.jpg,cat", f"{again},dog")
        refused(path, f"{path}, line 3", "0.jpg", f"{path}, line 2")

    def test_image_listed_in_two_files_of_different_folders(self, write):
        one = write("images/0.jpg,cat")
        two = write("../images/0.jpg,dog", name="other/table.csv")
        refused([one, two], f"{two}, line 2", "0.jpg", f"{one}, line 2")

    def test_missing_images(self, write):
        path = write("images/0.jpg,cat", "images/8.jpg,cat", "images/9.jpg,dog")
        refused(path, f"{path}, line 3", "8.jpg", "2 of 3", "relative to the folder")

    def test_folder_as_image(self, write):
        path = write("images,cat")
        refused(path, f"{path}, line 2", "images")

    def test_image_with_an_impossible_name(self, write):
        path = write("images/0.jpg,cat", f"{'x' * 300}.jpg,cat")
        refused(path, f"{path}, line 3")

    def test_unclosed_quote(self, write):
        path = write('"images/0.jpg,cat', *["images/1.jpg,cat"] * 400)
        refused(path, f"{path}, line 2: a quote is opened there and not closed")

    def test_labels_that_the_model_lacks(self, write):
        path = write("images/0.jpg,cat", "images/1.jpg,cat|eel|dog")
        refused(path, f"{path}, line 3", "'dog'", "dog, eel", "cat, cow", labels=["cat", "cow"])

    def test_labels_differing_in_case_are_different(self, write):
        path = write("images/0.jpg,Cat")
        refused(path, f"{path}, line 2", "is 'Cat' the label 'cat'?", labels=["dog", "cat"])

    def test_is_a_value_error(self):
        assert issubclass(DataError, ValueError)


@pytest.fixture(scope="module")
def coco18_tables(coco18):
    lines = (coco18 / "categories.txt").read_text().splitlines()
    return {name: read_dataset(coco18 / f"{name}.csv", lines) for name in ("train", "val", "test")}


class TestCoco18:
    def test_sizes_and_labels(self, coco18_tables):
        assert {name: len(table) for name, table in coco18_tables.items()} == {
            "train": 4500,
            "val": 500,
            "test": 2000,
        }
        assert all(len(table.labels) == 18 for table in coco18_tables.values())

    def test_every_label_occurs_in_every_split(self, coco18_tables, coco18):
        for name, table in coco18_tables.items():
            assert read_dataset(coco18 / f"{name}.csv").labels == tuple(sorted(table.labels))
            assert table.targets.any(0).all()

    def test_splits_are_disjoint(self, coco18_tables):
        count = Counter(Path(image) for table in coco18_tables.values() for image in table.images)
        assert set(count.values()) == {1}

    def test_targets_are_the_labels(self, coco18_tables):
        table = coco18_tables["val"]
        for row, present in zip(table.targets, table.image_labels, strict=True):
            assert {table.labels[c] for c in np.flatnonzero(row)} == present
            assert present - {"person"}

    def test_train_and_its_supplement_are_one_table(self, coco18):
        table = read_datasets([coco18 / "train.csv", coco18 / "train_extra.csv"])
        assert len(table) == 9000
        assert len(table.labels) == 18
