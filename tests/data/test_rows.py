import csv
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from didvit.data.rows import list_csv, list_json_lines, split_labels
from refusals import refused


@pytest.fixture
def write(tmp_path):
    def write_lines(*lines, name="table.csv"):
        path = tmp_path / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    return write_lines


class TestJoinedLabels:
    def test_unknown_labels(self, write):
        path = write("image,unknown,labels", "a.jpg,cow|ant,dog", "b.jpg,,", "c.jpg, bee ,")
        first, second, third = list_csv(path).entries
        assert (first.present, first.unknown) == ({"dog"}, {"cow", "ant"})
        assert (second.present, second.unknown) == (set(), set())
        assert (third.present, third.unknown) == (set(), {"bee"})

    def test_file_name_in_place_of_image(self, write, tmp_path):
        listing = list_csv(write("file_name,labels", "images/a.jpg,cat"))
        assert listing.entries[0].image == tmp_path / "images" / "a.jpg"
        assert (listing.labels, listing.folder) == ((), tmp_path)

    def test_spaces_in_the_header(self, write):
        assert list_csv(write("image, labels", "a.jpg,cat")).entries[0].present == {"cat"}

    def test_a_row_may_end_before_columns_that_are_ignored(self, write):
        path = write("image,labels,unknown,id", "a.jpg,cat")
        assert list_csv(path).entries[0][2:] == ({"cat"}, set())

    def test_each_entry_names_its_line(self, write):
        path = write("image,labels", "a.jpg,cat", "", "b.jpg,dog")
        assert [entry.where for entry in list_csv(path).entries] == [
            f"{path}, line 2",
            f"{path}, line 4",
        ]


class TestColumnPerLabel:
    def test_cells(self, write):
        path = write(
            "image,dog,traffic light,cat",
            "a.jpg,1,0,-1",
            "b.jpg, 0 ,,1",
            "c.jpg,1.0,0.0,-1.0",
        )
        listing = list_csv(path)
        assert listing.labels == ("dog", "traffic light", "cat")
        assert not listing.ordered
        assert [(entry.present, entry.unknown) for entry in listing.entries] == [
            ({"dog"}, {"cat"}),
            ({"cat"}, {"traffic light"}),
            ({"dog"}, {"cat"}),
        ]

    def test_the_image_may_be_any_column(self, write, tmp_path):
        listing = list_csv(write("cat,file_name,dog", "1,a.jpg,0"))
        assert listing.entries[0].image == tmp_path / "a.jpg"
        assert listing.labels == ("cat", "dog")

    @pytest.mark.parametrize("cell", ["2", "yes", "cat", "-2", "0.5", "nan"])
    def test_other_cells_are_refused_with_line_and_column(self, write, cell):
        path = write("image,cat,dog", "a.jpg,1,0", f"b.jpg,1,{cell}")
        refused(
            path, f"{path}, line 3, column 'dog'", f"got '{cell}'", "1 (present)", read=list_csv
        )

    def test_text_about_the_image_is_no_label(self, write):
        path = write("file_name,text", "a.jpg,A dog sleeps.")
        refused(path, "column 'text'", "no column 'labels'", read=list_csv)

    @pytest.mark.parametrize("header", ["image,cat,cat", ",image,cat", "image,cat,"])
    def test_columns_must_be_named_once(self, write, header):
        refused(write(header, "a.jpg,1,0"), "no name, or that of another", read=list_csv)

    def test_no_label_at_all(self, write):
        refused(
            write("image", "a.jpg"), "no column 'labels'", "'image' and every label", read=list_csv
        )

    def test_short_and_long_rows(self, write):
        refused(write("image,cat,dog", "a.jpg,1"), "line 2: expected an image", read=list_csv)
        refused(write("image,cat,dog", "a.jpg,1,0,1"), "line 2: more cells", read=list_csv)


class TestJsonLines:
    def test_objects(self, write, tmp_path):
        path = write(
            '{"image": "a.jpg", "labels": ["cat", " dog "], "unknown": ["cow"], "id": 7}',
            "",
            '{"file_name": "sub/b.jpg", "labels": [""]}',
            name="table.jsonl",
        )
        first, second = list_json_lines(path).entries
        assert first[1:] == (tmp_path / "a.jpg", {"cat", "dog"}, {"cow"})
        assert second == (f"{path}, line 3", tmp_path / "sub" / "b.jpg", set(), set())

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            ("[1]", "expected a JSON object, got list"),
            ("{", "not JSON"),
            ("[" * 100_000, "not JSON"),
            ('{"labels": ["cat"]}', "expected a path under 'image', got None"),
            ('{"image": 3, "labels": ["cat"]}', "expected a path under 'image', got 3"),
            ('{"image": "a.jpg"}', "expected a list of strings under 'labels', got None"),
            ('{"image": "a.jpg", "labels": "cat"}', "under 'labels', got 'cat'"),
            ('{"image": "a.jpg", "labels": [1]}', "under 'labels', got [1]"),
            ('{"image": "a.jpg", "labels": [], "unknown": 1}', "under 'unknown', got 1"),
        ],
    )
    def test_refused_with_the_line(self, write, line, reason):
        path = write('{"image": "b.jpg", "labels": []}', line, name="table.jsonl")
        refused(path, f"{path}, line 2: ", reason, read=list_json_lines)

    def test_missing_file(self, tmp_path):
        refused(tmp_path / "no.jsonl", "no.jsonl", "cannot be read", read=list_json_lines)


names = st.text("abc é猫,\"'", min_size=1).map(str.strip).filter(bool)
tables = st.lists(st.tuples(st.frozensets(names, max_size=3), st.frozensets(names, max_size=3)))


@given(tables)
def test_what_is_written_is_read(tmp_path_factory, rows):
    """Of each kind of file, whatever the labels are called."""
    rows = [(present, unknown - present) for present, unknown in rows]
    folder = tmp_path_factory.getbasetemp()
    labels = sorted(frozenset().union(*(a | b for a, b in rows)) | {"cat"})
    with (folder / "joined.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "labels", "unknown"))
        writer.writerows(
            (f"{i}.jpg", *("|".join(sorted(part)) for part in row)) for i, row in enumerate(rows)
        )
    with (folder / "columns.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("image", *labels))
        writer.writerows(
            (f"{i}.jpg", *(1 if label in a else -1 if label in b else 0 for label in labels))
            for i, (a, b) in enumerate(rows)
        )
    lines = [
        json.dumps({"image": f"{i}.jpg", "labels": sorted(a), "unknown": sorted(b)})
        for i, (a, b) in enumerate(rows)
    ]
    (folder / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    for reader, name in (
        (list_csv, "joined.csv"),
        (list_csv, "columns.csv"),
        (list_json_lines, "rows.jsonl"),
    ):
        entries = reader(folder / name).entries
        assert [entry[1:] for entry in entries] == [
            (folder / f"{i}.jpg", *row) for i, row in enumerate(rows)
        ]


def test_labels_in_text():
    assert split_labels(" cat | traffic light\r\n\ndog|\n") == {"cat", "traffic light", "dog"}
    assert split_labels("") == set()
