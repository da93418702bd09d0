import os
from pathlib import Path

import pytest

from didvit.data.datasets import FORMATS, parse_spec, read_dataset, read_datasets
from didvit.data.table import DataError
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
    def test_columns_of_labels_without_an_image_are_labels(self, tmp_path):
        touch(tmp_path, "a.jpg", "b.jpg")
        (tmp_path / "t.csv").write_text("image,dog,cat\na.jpg,1,0\nb.jpg,,0\n")
        table = read_dataset(tmp_path / "t.csv")
        assert table.labels == ("dog", "cat")  # in the order of the columns
        assert table.targets.tolist() == [[1, 0], [-1, 0]]

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

    def test_what_is_passed_over_is_counted(self, tmp_path):
        touch(tmp_path, "cat/a.png", "cat/b.CR2", "cat/c.nef", "cat/more/d.jpg", "cat/e.txt")
        touch(tmp_path, "dog/big/f.jpg", "dog/small/g.png", "z.png", "fox/h.exr", "empty/i.pdf")
        table = read_dataset(tmp_path)
        assert table.labels == ("cat",)
        raw, within, other, beside, empty = table.problems
        assert "2 files (1 .cr2, 1 .nef) passed over, such as cat/b.CR2, cat/c.nef: raw" in raw
        assert "3 files (2 .jpg, 1 .png) passed over, such as more/d.jpg" in within
        assert "1 file (1 .exr) passed over, such as fox/h.exr" in other
        assert "1 image passed over beside the folders of labels: z.png" in beside
        assert "2 folders without an image" in empty
        assert "no label: dog, fox" in empty
        assert "2 files (1 .txt, 1 .pdf) passed over" in table.notes[0]

    def test_images_without_a_suffix_and_of_other_kinds(self, tmp_path):
        touch(tmp_path, "cat/a.avif", "cat/b.jp2", "cat/c.mpo", "cat/README")
        (tmp_path / "cat" / "photo").write_bytes(b"\xff\xd8\xff\xe0")
        names = [image.name for image in read_dataset(tmp_path).images]
        assert names == ["a.avif", "b.jp2", "c.mpo", "photo"]

    @pytest.mark.parametrize("name", ["images", "Images", "JPEGImages", "annotations", "labels"])
    def test_names_that_are_no_labels(self, tmp_path, name):
        touch(tmp_path, f"{name}/a.png", "cat/b.png")
        refused(tmp_path, f"its folder {name!r} holds images", "not taken for a label", "CSV file")

    def test_splits_are_no_labels_but_train_is_a_vehicle(self, tmp_path):
        touch(tmp_path, "one/train/a.png", "one/val/b.png", "two/train/a.png", "three/train/a.png")
        touch(tmp_path, "three/bus/b.png")
        refused(tmp_path / "one", "its folder 'train' holds images")
        refused(tmp_path / "two", "its folder 'train' holds images")
        assert read_dataset(tmp_path / "three").labels == ("bus", "train")

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
    @pytest.mark.timeout(30)
    def test_named_pipes(self, tmp_path):
        """They were waited for without end."""
        touch(tmp_path, "cat/a.png")
        os.mkfifo(tmp_path / "cat" / "p.jpg")
        refused(tmp_path, "p.jpg is not a regular file")
        assert len(read_dataset(tmp_path, missing="keep")) == 2
        os.mkfifo(tmp_path / "t.csv")
        refused(tmp_path / "t.csv", "t.csv: not a regular file")

    @pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read anything")
    def test_a_folder_that_cannot_be_read(self, tmp_path):
        touch(tmp_path, "cat/a.png", "dog/b.png")
        (tmp_path / "dog").chmod(0)
        problems = read_dataset(tmp_path).problems
        (tmp_path / "dog").chmod(0o700)
        assert any("the folder cannot be read" in problem for problem in problems)

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

    def test_one_word_in_two_unicode_forms_is_one_label(self, tmp_path):
        touch(tmp_path, "a.jpg", "b.jpg")
        rows = ["image,labels", "a.jpg,K\u00e4se", "b.jpg,Ka\u0308se"]
        (tmp_path / "t.csv").write_text("\n".join(rows), encoding="utf-8")
        table = read_dataset(tmp_path / "t.csv")
        assert table.labels == ("K\u00e4se",)
        assert table.targets.tolist() == [[1], [1]]
        assert "written in two Unicode forms, and read as one label" in table.notes[0]
        # A model may have learned the other form.
        assert read_dataset(tmp_path / "t.csv", ["Ka\u0308se"]).targets.tolist() == [[1], [1]]

    def test_labels_that_differ_in_case_alone_are_told(self, tmp_path):
        touch(tmp_path, "a.jpg", "b.jpg")
        (tmp_path / "t.csv").write_text("image,labels\na.jpg,Cat|dog\nb.jpg,cat\n")
        table = read_dataset(tmp_path / "t.csv")
        assert table.labels == ("Cat", "cat", "dog")
        assert "the labels 'Cat', 'cat' differ in case" in table.notes[0]

    def test_labels_that_cannot_be_printed(self, tmp_path):
        touch(tmp_path, "a.jpg")
        (tmp_path / "t.jsonl").write_text('{"image": "a.jpg", "labels": ["a\\ud800"]}')
        refused(tmp_path / "t.jsonl", "t.jsonl, line 1: 'a\\ud800' cannot be a label")

    def test_paths_with_backslashes(self, tmp_path):
        touch(tmp_path, "images/a.jpg")
        (tmp_path / "t.csv").write_text("image,labels\nimages\\a.jpg,cat\n")
        refused(tmp_path / "t.csv", "write paths with '/' instead of '\\'")
        (tmp_path / "t.csv").write_text("image,labels\nhttps://example.org/a.jpg,cat\n")
        refused(tmp_path / "t.csv", "download images that are named by addresses")

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
