import hashlib
import io
import os
import shutil
import tarfile
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torchvision

from didvit.data.datasets import read_dataset
from didvit.data.formats import voc_download
from didvit.data.formats.voc import LABELS
from didvit.data.formats.voc_download import ARCHIVES, Archive, download_voc
from didvit.data.table import DataError
from refusals import refused

XML = "<annotation>{}</annotation>"
OBJECT = "<object><name>{}</name><difficult>{}</difficult>{}</object>"
PART = "<part><name>head</name></part>"

# Objects of the images: label, and whether it is difficult.
OBJECTS = {
    "000001": [("cat", 0), ("cat", 1), ("dog", 1)],
    "000002": [("person", 1), ("person", 1)],
    "000003": [],
}
MARKS = {
    "000001": {"cat": "1", "dog": "0"},
    "000002": {"person": "0"},
    "000003": {},
}


@pytest.fixture
def year(tmp_path):
    """VOCdevkit/VOC2007 with three images, without lists and annotations."""
    folder = tmp_path / "VOCdevkit" / "VOC2007"
    for name in ("JPEGImages", "ImageSets/Main", "Annotations"):
        (folder / name).mkdir(parents=True)
    for image in OBJECTS:
        (folder / "JPEGImages" / f"{image}.jpg").touch()
    for split in ("trainval", "test"):
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(OBJECTS) + "\n")
    return folder


def write_lists(year, split="trainval"):
    for label in LABELS:
        lines = [f"{image} {MARKS[image].get(label, '-1'):>2}\n" for image in MARKS]
        (year / "ImageSets" / "Main" / f"{label}_{split}.txt").write_text("".join(lines))


def write_annotations(year):
    for image, objects in OBJECTS.items():
        text = "".join(OBJECT.format(*item, PART) for item in objects)
        (year / "Annotations" / f"{image}.xml").write_text(XML.format(text))


@pytest.mark.parametrize("write", [write_lists, write_annotations])
class TestLabels:
    @pytest.mark.parametrize(
        ("difficult", "dog_and_person"), [("ignore", -1), ("positive", 1), ("negative", 0)]
    )
    def test_difficult_objects(self, year, write, difficult, dog_and_person):
        write(year)
        table = read_dataset(f"{year}:trainval", difficult=difficult)
        assert table.labels == LABELS
        expected = np.zeros((3, 20), dtype=int)
        expected[0, LABELS.index("cat")] = 1
        expected[0, LABELS.index("dog")] = dog_and_person
        expected[1, LABELS.index("person")] = dog_and_person
        assert np.array_equal(table.targets, expected)

    def test_images_in_the_order_of_the_split(self, year, write):
        write(year)
        (year / "ImageSets" / "Main" / "trainval.txt").write_text("000003\n\n000001 \n")
        table = read_dataset(f"{year}:trainval")
        assert [image.name for image in table.images] == ["000003.jpg", "000001.jpg"]
        assert table.image_labels == (set(), {"cat"})

    def test_the_folder_above(self, year, write):
        write(year)
        assert read_dataset(f"{year.parent}:trainval") == read_dataset(f"{year}:trainval")

    def test_images_without_labels_are_dropped_but_not_those_in_doubt(self, year, write):
        write(year)
        table = read_dataset(f"{year}:trainval", without_labels="drop")
        assert [image.stem for image in table.images] == ["000001", "000002"]
        table = read_dataset(f"{year}:trainval", without_labels="drop", difficult="negative")
        assert [image.stem for image in table.images] == ["000001"]


class TestUnannotated:
    @pytest.mark.parametrize("some", [False, True])
    def test_every_label_of_test_data_is_unknown(self, year, some):
        if some:  # of the other tasks
            text = XML.format(OBJECT.format("person", 0, ""))
            (year / "Annotations" / "000002.xml").write_text(text)
        table = read_dataset(f"{year}:test")
        assert len(table) == 3
        assert table.labels == LABELS
        assert (table.targets == -1).all()

    def test_training_data_must_be_annotated(self, year):
        write_annotations(year)
        (year / "Annotations" / "000002.xml").unlink()
        refused(f"{year}:trainval", "CLASS_trainval.txt", "000002.xml")

    def test_lists_of_some_classes_are_not_enough(self, year):
        write_lists(year)
        (year / "ImageSets" / "Main" / "cat_trainval.txt").unlink()
        refused(f"{year}:trainval", "of all 20 classes", "000001.xml")


class TestOtherTools:
    def test_labels_of_ones_own(self, year):
        write_annotations(year)
        text = XML.format(OBJECT.format("helmet", 0, "") + OBJECT.format("person", 1, ""))
        (year / "Annotations" / "000003.xml").write_text(text)
        table = read_dataset(f"{year}:trainval")
        assert table.labels == ("cat", "dog", "helmet", "person")
        assert table.targets[2].tolist() == [0, 0, 1, -1]
        assert "its labels are not VOC's 20" in table.notes[0]
        (year / "JPEGImages" / "000003.jpg").rename(year / "JPEGImages" / "000003.png")
        assert read_dataset(f"{year}:trainval").images[2].name == "000003.png"

    def test_lists_of_ones_own_classes(self, year):
        main = year / "ImageSets" / "Main"
        (main / "helmet_trainval.txt").write_text("000001 1\n000002 -1\n000003 0\n")
        table = read_dataset(f"{year}:trainval")
        assert table.labels == ("helmet",)
        assert table.targets.tolist() == [[1], [0], [-1]]
        refused(f"{year}:helmet_trainval", "there are: test, trainval")

    # Of the folder that is given: images, and XML files.
    @pytest.mark.parametrize(
        ("images", "annotations"),
        [
            *(("images", "annotations"), ("JPEGImages", "Annotations"), (".", ".")),
            *(("images", "images"), (".", "annotations"), ("Images", "labels")),
        ],
    )
    def test_images_with_xml_files_and_no_lists(self, tmp_path, images, annotations):
        """Their folder was taken for a label, 'images', and every image had it."""
        for folder in (images, annotations):
            (tmp_path / folder).mkdir(exist_ok=True)
        for name, label in (("a", "helmet"), ("b", "head"), ("c", None)):
            (tmp_path / images / f"{name}.png").touch()
            text = OBJECT.format(label, 0, PART) if label else ""
            (tmp_path / annotations / f"{name}.xml").write_text(XML.format(text))
        (tmp_path / images / "alone.jpg").touch()
        table = read_dataset(tmp_path)
        assert [image.name for image in table.images] == ["a.png", "b.png", "c.png"]
        assert table.labels == ("head", "helmet")
        assert table.targets.tolist() == [[0, 1], [1, 0], [0, 0]]
        assert table.notes == (f"{tmp_path}: labels are read from 3 XML files in VOC's form",)
        assert table.problems == (
            f"{tmp_path}: 1 image without an XML file passed over: alone.jpg",
        )

    def test_splits_of_such_folders(self, tmp_path):
        (tmp_path / "train").mkdir()
        (tmp_path / "train" / "a.jpg").touch()
        (tmp_path / "train" / "a.xml").write_text(XML.format(OBJECT.format("helmet", 0, "")))
        assert read_dataset(f"{tmp_path}:train").labels == ("helmet",)

    @pytest.mark.parametrize("encoding", ["gb2312", "shift_jis", "utf-16", "latin-1"])
    def test_encodings(self, year, encoding):
        write_annotations(year)
        label = "K\u00e4se" if encoding == "latin-1" else "\u4e2d\u6587"
        text = f'<?xml version="1.0" encoding="{encoding}"?>' + XML.format(
            OBJECT.format(label, 0, "")
        )
        (year / "Annotations" / "000003.xml").write_bytes(text.encode(encoding))
        assert label in read_dataset(f"{year}:trainval").image_labels[2]

    @pytest.mark.parametrize(
        "text",
        [
            XML.replace("<annotation>", '<annotation xmlns="http://example.org/a">'),
            "<annotation><objects>{}</objects></annotation>",
        ],
    )
    def test_namespaces_and_nested_objects(self, year, text):
        """Their objects were not found, so that the image had no label."""
        write_annotations(year)
        path = year / "Annotations" / "000003.xml"
        path.write_text(text.format(OBJECT.format("cat", 0, "")))
        assert read_dataset(f"{year}:trainval").image_labels[2] == {"cat"}

    def test_lists_with_a_byte_order_mark_and_names_with_spaces(self, year):
        write_annotations(year)
        (year / "Annotations" / "my photo.xml").write_text(XML.format(""))
        (year / "JPEGImages" / "my photo.jpg").touch()
        path = year / "ImageSets" / "Main" / "trainval.txt"
        path.write_text("000003\nmy photo\n", encoding="utf-8-sig")
        images = read_dataset(f"{year}:trainval").images
        assert [image.name for image in images] == ["000003.jpg", "my photo.jpg"]
        (year / "Annotations" / "my photo.xml").unlink()
        refused(f"{year}:trainval", "my photo.xml", "'my photo' is one name, with spaces")

    def test_a_split_that_is_named_like_a_class(self, year):
        write_annotations(year)
        (year / "ImageSets" / "Main" / "train_v2.txt").write_text("000001\n")
        assert len(read_dataset(f"{year}:train_v2")) == 1
        refused(year, "there are: test, train_v2, trainval")


class TestRefused:
    def test_without_a_split_those_there_are_named(self, year):
        write_lists(year)
        write_lists(year, "train")  # whose lists look like those of the class 'train'
        (year / "ImageSets" / "Main" / "train.txt").touch()
        refused(year, "a split must be named", f"{year}:test", "there are: test, train, trainval")

    @pytest.mark.parametrize("split", ["minival", "cat_trainval"])
    def test_a_split_that_is_not_there(self, year, split):
        write_lists(year)
        refused(f"{year}:{split}", f"no split '{split}'", "test, trainval")

    def test_several_years(self, year):
        (year.parent / "VOC2012" / "ImageSets" / "Main").mkdir(parents=True)
        refused(f"{year.parent}:trainval", "several years, VOC2007, VOC2012", str(year))

    @pytest.mark.parametrize("line", ["000002 2", "000002", "000002 1 x"])
    def test_damaged_lists(self, year, line):
        write_lists(year)
        path = year / "ImageSets" / "Main" / "cat_trainval.txt"
        path.write_text(f"000001 1\n{line}\n000003 -1\n")
        refused(f"{year}:trainval", f"{path}, line 2", line)

    def test_lists_that_lack_an_image(self, year):
        write_lists(year)
        path = year / "ImageSets" / "Main" / "cat_trainval.txt"
        path.write_text("000001 1\n000003 -1\n")
        refused(f"{year}:trainval", str(path), "000002")

    @pytest.mark.parametrize(
        "text",
        [
            *("<annotation>", XML.format(OBJECT.format(" ", 0, "")), "", "\0", "<html><p/></html>"),
            '<?xml version="1.0" encoding="klingon"?><annotation/>',
        ],
    )
    def test_damaged_annotations(self, year, text):
        write_annotations(year)
        (year / "Annotations" / "000003.xml").write_text(text)
        refused(f"{year}:trainval", "000003.xml")

    def test_images_that_are_not_there(self, year):
        write_lists(year)
        (year / "JPEGImages" / "000002.jpg").unlink()
        where = year / "ImageSets" / "Main" / "trainval.txt"
        refused(f"{year}:trainval", f"{where}, line 2", "000002.jpg", "1 of 3", "JPEGImages")


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A folder in place of the server, with the archive of 2007's test data."""
    folder = tmp_path / "server"
    archive = folder / "voc2007" / "VOCtest_06-Nov-2007.tar"
    archive.parent.mkdir(parents=True)
    with tarfile.open(archive, "w") as tar:
        content = b"000001\n"
        info = tarfile.TarInfo("VOCdevkit/VOC2007/ImageSets/Main/test.txt")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    digest = hashlib.md5(archive.read_bytes()).hexdigest()
    path = "voc2007/VOCtest_06-Nov-2007.tar"
    monkeypatch.setattr(voc_download, "SERVER", folder.as_uri())
    monkeypatch.setitem(ARCHIVES, ("2007", "test"), Archive(path, digest))
    return folder


class TestDownload:
    def test_the_archive_is_unpacked_and_kept(self, server, tmp_path):
        root = tmp_path / "data"
        assert download_voc(root, "2007", "test") == root / "VOCdevkit" / "VOC2007"
        listed = root / "VOCdevkit" / "VOC2007" / "ImageSets" / "Main" / "test.txt"
        assert listed.read_text() == "000001\n"
        assert sorted(path.name for path in root.iterdir()) == [
            "VOCdevkit",
            "VOCtest_06-Nov-2007.tar",
        ]

    def test_an_archive_that_is_there_is_not_downloaded_again(self, server, tmp_path):
        download_voc(tmp_path, "2007", "test")
        shutil.rmtree(server)
        shutil.rmtree(tmp_path / "VOCdevkit")
        assert download_voc(tmp_path, "2007", "test").is_dir()

    @pytest.mark.parametrize("there", [b"", b"half of it"])
    def test_an_archive_that_is_not_whole_is_downloaded_again(self, server, tmp_path, there):
        (tmp_path / "VOCtest_06-Nov-2007.tar").write_bytes(there)
        assert download_voc(tmp_path, "2007", "test").is_dir()

    def test_what_is_not_the_archive_is_refused_and_removed(self, server, tmp_path):
        (server / "voc2007" / "VOCtest_06-Nov-2007.tar").write_bytes(b"<html>moved</html>")
        root = tmp_path / "data"
        with pytest.raises(DataError, match=r"VOC 2007 test cannot .* has the MD5 digest .*; exp"):
            download_voc(root, "2007", "test")
        assert list(root.iterdir()) == []

    def test_offline(self, monkeypatch, tmp_path):
        def fail(url, timeout):
            assert (
                url == "https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar"
            )
            raise URLError("no route")

        monkeypatch.setattr(voc_download, "urlopen", fail)
        with pytest.raises(DataError, match=r"VOC 2012 train cannot .*no route.*; download"):
            download_voc(tmp_path, "2012", "train")

    def test_the_test_data_of_2012_cannot_be_downloaded(self, tmp_path):
        with pytest.raises(DataError, match=r"VOC 2012 test cannot be downloaded .*on request"):
            download_voc(tmp_path, "2012", "test")

    def test_every_split_that_the_command_offers_has_the_archive_that_torchvision_knows(self):
        known = {
            (archive["url"], archive["md5"])
            for archive in torchvision.datasets.voc.DATASET_YEAR_DICT.values()
        }
        assert len(ARCHIVES) == 7
        for path, md5 in ARCHIVES.values():
            assert (f"{voc_download.SERVER}/{path}", md5) in known


@pytest.fixture(scope="module")
def real_year():
    beside = Path(__file__).parents[4] / "shared" / "data"
    folder = Path(os.environ.get("DIDVIT_DATA", beside)) / "VOCdevkit" / "VOC2007"
    if not folder.is_dir():
        pytest.skip(f"there are no photographs at {folder}; set DIDVIT_DATA to their folder")
    return folder


class TestReal:
    @pytest.mark.parametrize(("split", "size"), [("trainval", 64), ("test", 36)])
    def test_lists_and_annotations_agree(self, real_year, tmp_path, split, size):
        from_lists = read_dataset(f"{real_year}:{split}")
        assert len(from_lists) == size
        copy = tmp_path / "VOC2007"
        (copy / "ImageSets" / "Main").mkdir(parents=True)
        for name in ("Annotations", "JPEGImages"):
            (copy / name).symlink_to(real_year / name, target_is_directory=True)
        text = (real_year / "ImageSets" / "Main" / f"{split}.txt").read_text()
        (copy / "ImageSets" / "Main" / f"{split}.txt").write_text(text)
        from_annotations = read_dataset(f"{copy}:{split}")
        assert np.array_equal(from_lists.targets, from_annotations.targets)
        assert set(np.unique(from_lists.targets)) == {-1, 0, 1}

    def test_train_and_val_are_trainval(self, real_year):
        parts = [read_dataset(f"{real_year}:{split}") for split in ("train", "val")]
        whole = read_dataset(f"{real_year.parent}:trainval")
        of_image = {
            image: row.tolist()
            for part in parts
            for image, row in zip(part.images, part.targets, strict=True)
        }
        assert of_image == dict(zip(whole.images, whole.targets.tolist(), strict=True))
