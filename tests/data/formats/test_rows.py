import csv
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from didvit.data.formats.cells import split_labels
from didvit.data.formats.rows import list_csv, list_json_lines
from didvit.data.table import DataError
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
        assert listing.ordered
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


class TestOtherTools:
    """Tables that people export, read where they leave no doubt, and what is then said."""

    def test_roboflow(self, write):
        listing = list_csv(
            write("filename, cat, traffic light", "a.jpg, 1, 0", name="_classes.csv")
        )
        assert listing.labels == ("cat", "traffic light")
        assert listing.entries[0][2:] == ({"cat"}, set())
        assert listing.notes == ()

    @pytest.mark.parametrize(("parted", "named"), [(";", "';'"), ("\t", "tabs")])
    @pytest.mark.parametrize("bom", ["", "\ufeff"])
    def test_cells_parted_otherwise(self, write, parted, named, bom):
        header = bom + parted.join(("Image", "labels", "id"))
        path = write(header, parted.join(("a.jpg", "cat|dog, small", "7")))
        listing = list_csv(path)
        assert listing.entries[0].present == {"cat", "dog, small"}
        assert listing.notes == (f"{path}: its cells are parted by {named}",)

    def test_excel(self, tmp_path):
        path = tmp_path / "table.csv"
        path.write_text("sep=;\nimage;labels\na.jpg;K\u00e4se\n", encoding="utf-16")
        (entry,) = list_csv(path).entries
        assert (entry.where, entry.present) == (f"{path}, line 3", {"K\u00e4se"})

    @pytest.mark.parametrize("parted", [";", ",", ", "])
    def test_labels_joined_otherwise(self, write, parted):
        rows = [f'a.jpg,"cat{parted}dog"', "b.jpg,cat", f'c.jpg,"dog{parted}cat"', "d.jpg,"]
        path = write("image,labels", *rows)
        listing = list_csv(path)
        assert [entry.present for entry in listing.entries] == [
            *({"cat", "dog"}, {"cat"}, {"dog", "cat"}, set())
        ]
        assert listing.notes == (f"{path}: labels in one cell are taken apart at {parted[0]!r}",)

    @pytest.mark.parametrize(
        "cells",
        [
            ("salt, pepper", "cat"),
            ("Paris, France", "Lyon, France", "Nice, France"),
            ("traffic light", "light", "traffic sign"),
            ("cat, dog|eel", "cat", "dog"),
        ],
    )
    def test_commas_and_spaces_that_may_belong_to_a_label(self, write, cells):
        rows = (f'{i}.jpg,"{cell}"' for i, cell in enumerate(cells))
        listing = list_csv(write("image,labels", *rows))
        assert [entry.present for entry in listing.entries] == [set(x.split("|")) for x in cells]
        assert listing.notes == ()

    @pytest.mark.parametrize(
        ("cells", "expected"),
        [
            (['["cat", "dog"]', "[]", ""], [{"cat", "dog"}, set(), set()]),
            (["['cat', 'a|b']", "['dog']"], [{"cat", "a|b"}, {"dog"}]),
            (['{"choices": ["cat", "dog"]}', '{"choices": ["cat"]}'], [{"cat", "dog"}, {"cat"}]),
            (['{"choices": ["cat", "dog"]}', "cat"], [{"cat", "dog"}, {"cat"}]),
        ],
    )
    def test_lists_in_cells(self, tmp_path, cells, expected):
        with (tmp_path / "t.csv").open("w", newline="") as file:
            csv.writer(file).writerows(
                [("image", "labels"), *((i, x) for i, x in enumerate(cells))]
            )
        listing = list_csv(tmp_path / "t.csv")
        assert [entry.present for entry in listing.entries] == expected
        assert "lists" in listing.notes[0]

    @pytest.mark.parametrize("cell", ["[1]", "{'a': 1, 'b': 2}", "[cat]", "{}"])
    def test_lists_of_other_things_are_refused(self, write, cell):
        path = write("image,labels", f'a.jpg,"{cell}"')
        refused(path, f"{path}, line 2: expected", "list of", read=list_csv)

    def test_a_quote_behind_a_space(self, write):
        listing = list_csv(write("image,labels", '0.jpg, "cat|dog"', '1.jpg, "dog"'))
        assert [entry.present for entry in listing.entries] == [{"cat", "dog"}, {"dog"}]

    def test_columns_of_1_and_minus_1_alone(self, write):
        """CelebA's way; read as unknown, every label would be present wherever it is known."""
        path = write("image,smiling,young", "a.jpg,1,-1", "b.jpg,-1,", "c.jpg,1,1")
        listing = list_csv(path)
        assert [(entry.present, entry.unknown) for entry in listing.entries] == [
            *(({"smiling"}, set()), (set(), {"young"}), ({"smiling", "young"}, set()))
        ]
        assert "never 0, so -1 is read as absent" in listing.notes[0]
        listing = list_csv(write("image,smiling,young", "a.jpg,1,-1", "b.jpg,-1,0"))
        assert listing.entries[0].unknown == {"young"}
        assert listing.notes == ()

    def test_a_column_that_is_called_otherwise(self, write):
        path = write("image_id,tags,date", "a.jpg,cat|dog,1")
        listing = list_csv(path)
        assert listing.entries[0].present == {"cat", "dog"}
        assert listing.notes == (
            *(f"{path}: the column 'image_id' names the images",),
            *(f"{path}: the column 'tags' holds the labels",),
            *(f"{path}: the columns 'date' are not read, as there is a column of labels",),
        )
        # Of marks, or beside another, it is a label like others.
        assert list_csv(write("image,label,cat", "a.jpg,1,0")).labels == ("label", "cat")

    @pytest.mark.parametrize("name", ["", "Unnamed: 0"])
    def test_the_index_of_pandas_is_no_label(self, write, name):
        path = write(f"{name},image,cat", "0,a.jpg,1", "1,b.jpg,0")
        assert list_csv(path).labels == ("cat",)
        assert list_csv(write("number,image,cat", "0,a.jpg,1")).labels == ("number", "cat")

    def test_booleans_of_pandas(self, write):
        assert list_csv(write("image,cat,dog", "a.jpg,True,False")).entries[0].present == {"cat"}

    def test_ten_thousand_labels(self, write):
        names = [f"label {i:05}" for i in range(10_000)]
        path = write(
            "image,labels,unknown", f"a.jpg,{'|'.join(names)},", f"b.jpg,,{'|'.join(names)}"
        )
        assert [len(entry.present) for entry in list_csv(path).entries] == [10_000, 0]
        path = write(f"image,{','.join(names)}", f"a.jpg,{','.join('1' * 10_000)}")
        assert list_csv(path).labels == tuple(names)
        refused(write("image,cat", "a.jpg"), "got 'a.jpg' under the header", read=list_csv)
        with pytest.raises(DataError) as caught:
            list_csv(write(f"image,{','.join(names)}", "a.jpg,2"))
        assert len(str(caught.value)) < 1000


class TestQuotes:
    @pytest.mark.parametrize("rest", [["2.jpg,cat"], ['2.jpg,"cat"'], ['2.jpg,cat"', "3.jpg,cat"]])
    def test_a_quote_that_is_not_closed(self, write, rest):
        """It made labels of one image of the rest of the file."""
        path = write("image,labels", "0.jpg,cat", '1.jpg,"dog', *rest)
        refused(path, f"{path}, line 3", "quote", "closed", read=list_csv)

    def test_a_quote_in_a_path_that_is_not_closed(self, write):
        path = write("image,labels", '"0.jpg,cat', "1.jpg,dog", '2.jpg,"eel"')
        refused(path, f"{path}, line 2", read=list_csv)

    def test_lines_in_a_cell_are_labels_which_is_said(self, write):
        listing = list_csv(write("image,labels", '0.jpg,"cat', 'dog"', "1.jpg,eel"))
        assert [entry.present for entry in listing.entries] == [{"cat", "dog"}, {"eel"}]
        assert "line breaks" in listing.notes[0]

    def test_inches(self, write):
        path = write("image,labels", '0.jpg,5" pipe', '1.jpg,"6"" pipe"')
        assert [entry.present for entry in list_csv(path).entries] == [{'5" pipe'}, {'6" pipe'}]


class TestTwice:
    @pytest.mark.parametrize(
        ("header", "column"),
        [
            *(("image,labels,labels", "labels"), ("image,image,labels", "image")),
            *(("image,labels,unknown,unknown", "unknown"), ("Image,image,cat", "image")),
            *(("image,cat,cat", "cat"), ("image,Ka\u0308se,K\u00e4se", "K\u00e4se")),
        ],
    )
    def test_columns(self, write, header, column):
        refused(
            write(header, "a.jpg,1,1,1"[: 6 + header.count(",") * 2 - 1]),
            repr(column),
            read=list_csv,
        )

    def test_keys(self, write):
        path = write('{"image": "a.jpg", "labels": ["cat"], "labels": []}', name="t.jsonl")
        refused(path, f"{path}, line 1: the key 'labels' stands twice", read=list_json_lines)


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


names = st.text("abc é猫\"'", min_size=1).map(str.strip).filter(bool)
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
