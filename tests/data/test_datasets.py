from pathlib import Path

import pytest

from didvit.data.datasets import FORMATS, parse_spec, read_dataset, read_datasets
from didvit.data.table import DataError, read_table
from refusals import refused


def touch(folder, *names):
    """Empty files, and the folders above them."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


class TestSpecs:
    @pytest.mark.parametrize(
        ("spec", "path", "split"),
        [
            ("coco:val2017", "coco", "val2017"),
            ("a/VOCdevkit/VOC2007:trainval", "a/VOCdevkit/VOC2007", "trainval"),
            ("table.csv", "table.csv", None),
            ("coco:", "coco", None),
            ("a:b:c", "a:b", "c"),
            ("a:b/c", "a:b/c", None),
            ("wds/{000..003}.tar", "wds/{000..003}.tar", None),
            ("C:/coco", "C:/coco", None),
            ("C:\\coco", "C:\\coco", None),
            ("C:\\coco:val2017", "C:\\coco", "val2017"),
            ("C:/coco:val2017", "C:/coco", "val2017"),
            ("C:coco", "C:coco", None),
            (":x", ":x", None),
        ],
    )
    def test_path_and_split(self, spec, path, split):
        assert parse_spec(spec) == (Path(path), split)

    def test_a_path_that_exists_is_a_path(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "coco:val2017").mkdir()
        (tmp_path / "C").mkdir()
        assert parse_spec("coco:val2017") == (Path("coco:val2017"), None)
        assert parse_spec("C:train") == (Path("C"), "train")

    def test_a_path_with_braces_that_exists_is_a_path(self, tmp_path):
        touch(tmp_path / "{0..1}", "cat/a.jpg")
        assert read_dataset(tmp_path / "{0..1}").labels == ("cat",)


class TestLists:
    def test_csv_is_read_as_by_read_table(self, tmp_path):
        touch(tmp_path, "a.jpg", "b.jpg")
        path = tmp_path / "table.csv"
        path.write_text("image,labels\na.jpg,cat|ant\nb.jpg,\n")
        assert read_dataset(path) == read_table(path)
        assert read_dataset(str(path), ["cat", "bee", "ant"]) == read_table(
            path, ["cat", "bee", "ant"]
        )

    def test_columns_of_labels_without_an_image_are_labels(self, tmp_path):
        touch(tmp_path, "a.jpg", "b.jpg")
        (tmp_path / "t.csv").write_text("image,dog,cat\na.jpg,1,0\nb.jpg,,0\n")
        table = read_dataset(tmp_path / "t.csv")
        assert table.labels == ("cat", "dog")
        assert table.targets.tolist() == [[0, 1], [0, -1]]

    def test_json_lines(self, tmp_path):
        touch(tmp_path, "a.jpg")
        (tmp_path / "t.jsonl").write_text('{"image": "a.jpg", "labels": ["cat", "ant"]}')
        assert read_dataset(tmp_path / "t.jsonl").labels == ("ant", "cat")

    @pytest.mark.parametrize("spec", [".", ":train"])
    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("metadata.csv", "file_name,labels\na.jpg,cat\n"),
            ("metadata.csv", "file_name,cat\na.jpg,1\n"),
            ("metadata.jsonl", '{"file_name": "a.jpg", "labels": ["cat"]}\n'),
        ],
    )
    def test_folder_with_metadata(self, tmp_path, spec, name, text):
        folder = tmp_path / "train" if "train" in spec else tmp_path
        touch(folder, "a.jpg", "dog/b.jpg")  # folders are no labels here
        (folder / name).write_text(text)
        table = read_dataset(f"{tmp_path}{spec.strip('.')}")
        assert table.images == (folder / "a.jpg",)
        assert table.labels == ("cat",)


class TestLabelFolders:
    def test_each_folder_is_a_label(self, tmp_path):
        touch(tmp_path, "dog/b.JPG", "dog/a.png", "cat/a.png", "cat/notes.txt", "cat/old/c.png")
        touch(tmp_path, ".cache/x.png", "documents/y.pdf", "z.png")
        table = read_dataset(tmp_path)
        assert table.labels == ("cat", "dog")
        assert table.images == tuple(tmp_path / p for p in ("cat/a.png", "dog/a.png", "dog/b.JPG"))
        assert table.targets.tolist() == [[1, 0], [0, 1], [0, 1]]

    def test_a_link_is_an_image_of_its_own(self, tmp_path):
        touch(tmp_path, "dog/a.png", "cat/b.png")
        (tmp_path / "cat" / "a.png").symlink_to(tmp_path / "dog" / "a.png")
        assert read_dataset(tmp_path).image_labels == ({"cat"}, {"cat"}, {"dog"})

    def test_splits(self, tmp_path):
        touch(tmp_path, "train/dog/a.png", "train/cat/a.png", "test/dog/b.png")
        assert read_dataset(f"{tmp_path}:train").labels == ("cat", "dog")
        assert read_dataset(f"{tmp_path}:test", ["cat", "dog"]).targets.tolist() == [[0, 1]]
        refused(f"{tmp_path}:val", "no split 'val'", "there are: test, train")
        refused(tmp_path, "unknown format", "test/, train/", "PATH:SPLIT")

    def test_folders_beside_a_list_are_no_labels(self, tmp_path):
        touch(tmp_path, "images/a.png", "train.csv")
        refused(tmp_path, "images/, train.csv")


class TestSeveral:
    def test_labels_of_all(self, tmp_path):
        touch(tmp_path, "a.jpg", "folders/fly/b.jpg", "folders/bee/c.jpg")
        (tmp_path / "t.csv").write_text("image,labels\na.jpg,cat|bee\n")
        table = read_datasets([tmp_path / "t.csv", f"{tmp_path}:folders"])
        assert table.labels == ("bee", "cat", "fly")
        assert table.targets.tolist() == [[1, 1, 0], [1, 0, 0], [0, 0, 1]]

    def test_an_image_in_two_data_sets(self, tmp_path):
        touch(tmp_path, "cat/a.jpg")
        (tmp_path / "t.jsonl").write_text('{"image": "x/../cat/a.jpg", "labels": []}')
        (tmp_path / "x").mkdir()
        with pytest.raises(DataError, match=r"a\.jpg is listed already, at .*t\.jsonl, line 1"):
            read_datasets([tmp_path / "t.jsonl", _only(tmp_path, "cat")])

    def test_images_without_labels(self, tmp_path):
        touch(tmp_path, "a.jpg", "b.jpg", "c.jpg")
        (tmp_path / "t.csv").write_text("image,labels,unknown\na.jpg,,\nb.jpg,,cat\nc.jpg,cat,\n")
        assert len(read_dataset(tmp_path / "t.csv")) == 3
        table = read_dataset(tmp_path / "t.csv", without_labels="drop")
        assert table.images == (tmp_path / "b.jpg", tmp_path / "c.jpg")
        assert table.targets.tolist() == [[-1], [1]]

    def test_nothing_is_left(self, tmp_path):
        touch(tmp_path, "a.jpg")
        (tmp_path / "t.csv").write_text("image,labels\na.jpg,\n")
        with pytest.raises(DataError, match=r"t\.csv: there are no images in it"):
            read_dataset(tmp_path / "t.csv", ["cat"], without_labels="drop")

    def test_no_data_sets(self):
        with pytest.raises(DataError, match="no images"):
            read_datasets([])


def _only(folder, name):
    """A folder that leads to one folder of images."""
    (folder / "only").mkdir()
    (folder / "only" / name).symlink_to(folder / name, target_is_directory=True)
    return folder / "only"


class TestUnknown:
    @pytest.mark.parametrize(
        "spec", ["none", "none:train", "none.csv", "none.csv:train", "x" * 5000, "a\0b"]
    )
    def test_nothing_there(self, tmp_path, spec):
        name = spec.partition(":")[0]
        refused(f"{tmp_path}/{spec}", f"{tmp_path / name}: there is no such file or folder")

    def test_a_file_of_another_kind(self, tmp_path):
        touch(tmp_path, "data.h5")
        refused(tmp_path / "data.h5", "data.h5", "unknown format", FORMATS)

    def test_a_list_has_no_splits(self, tmp_path):
        touch(tmp_path, "table.csv")
        refused(f"{tmp_path}/table.csv:train", "table.csv: there is no split 'train'")

    def test_an_empty_folder(self, tmp_path):
        refused(tmp_path, "nothing in it", FORMATS)

    def test_a_folder_of_other_things(self, tmp_path):
        touch(tmp_path, *(f"{i:02}.h5" for i in range(11)))
        refused(tmp_path, "00.h5, 01.h5", "07.h5 and 3 more in it", FORMATS)

    def test_the_formats_are_all_named(self):
        for word in ("CSV", ".jsonl", "VOC", "COCO", "metadata.csv", "save_to_disk", "WebDataset"):
            assert word in FORMATS
