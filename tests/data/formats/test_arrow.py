import io
import pickle
import sys

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader

from didvit.data.datasets import read_dataset
from didvit.data.images import ImageError, read_image
from refusals import refused

hf = pytest.importorskip("datasets")

CLASSES = hf.ClassLabel(names=["dog", "cat", "eel"])


def png(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def pixels(seed):
    with Image.open(io.BytesIO(png(seed))) as image:
        return np.array(image)


def make(labels, feature, column="labels", **others):
    """A data set with an image for each of the labels."""
    images = [{"bytes": png(i), "path": None} for i in range(len(labels))]
    features = {"image": hf.Image(), column: feature}
    features |= {name: feature for name, (feature, _) in others.items()}
    values = {"image": images, column: labels}
    values |= {name: values for name, (_, values) in others.items()}
    return hf.Dataset.from_dict(values, features=hf.Features(features))


class TestLabels:
    @pytest.mark.parametrize(
        ("feature", "values", "labels", "targets"),
        [
            (CLASSES, [1, 0], ("dog", "cat", "eel"), [[0, 1, 0], [1, 0, 0]]),
            (CLASSES, [1, -1], ("dog", "cat", "eel"), [[0, 1, 0], [-1, -1, -1]]),
            (CLASSES, [1, None], ("dog", "cat", "eel"), [[0, 1, 0], [-1, -1, -1]]),
            (hf.Sequence(CLASSES), [[1, 0], []], ("dog", "cat", "eel"), [[1, 1, 0], [0, 0, 0]]),
            (hf.List(CLASSES), [[2], [1]], ("dog", "cat", "eel"), [[0, 0, 1], [0, 1, 0]]),
            (
                hf.Sequence(hf.Value("string")),
                [["fly", " ant "], [""]],
                ("ant", "fly"),
                [[1, 1], [0, 0]],
            ),
            (hf.LargeList(hf.Value("large_string")), [["ant"], []], ("ant",), [[1], [0]]),
        ],
    )
    @pytest.mark.parametrize("column", ["labels", "label", "objects"])
    def test_features(self, tmp_path, feature, values, labels, targets, column):
        make(values, feature, column).save_to_disk(tmp_path / "saved")
        table = read_dataset(tmp_path / "saved")
        assert table.labels == labels
        assert table.targets.tolist() == targets

    def test_the_column_named_labels_is_chosen_from_several(self, tmp_path):
        others = {"tags": (hf.Sequence(hf.Value("string")), [["x"], ["y"]])}
        make([0, 1], CLASSES, **others).save_to_disk(tmp_path / "saved")
        assert read_dataset(tmp_path / "saved").image_labels == ({"dog"}, {"cat"})

    def test_a_saved_format_does_not_matter(self, tmp_path):
        make([[0], [1, 2]], hf.List(CLASSES)).with_format("numpy").save_to_disk(tmp_path / "saved")
        table = read_dataset(tmp_path / "saved")
        assert table.image_labels == ({"dog"}, {"cat", "eel"})
        assert np.array_equal(read_image(table.images[1]), pixels(1))


class TestImages:
    def test_nothing_is_decoded_before_it_is_read(self, tmp_path):
        data = make([0, 1], CLASSES).cast_column("image", hf.Image(decode=False))
        broken = data.map(
            lambda row, i: {"image": {"bytes": b"text" if i else png(0)}}, with_indices=True
        )
        broken.cast_column("image", hf.Image()).save_to_disk(tmp_path / "saved")
        table = read_dataset(tmp_path / "saved")
        assert len(table) == 2
        assert np.array_equal(read_image(table.images[0]), pixels(0))
        with pytest.raises(ValueError, match="saved:1: not an image"):
            read_image(table.images[1])

    def test_rows_of_several_files_and_of_a_selection(self, tmp_path):
        data = make([0, 1, 2, 0, 1], CLASSES).select([4, 2, 0])
        data.save_to_disk(tmp_path / "saved", num_shards=2)
        table = read_dataset(tmp_path / "saved")
        assert table.image_labels == ({"cat"}, {"eel"}, {"dog"})
        for image, seed in zip(table.images, (4, 2, 0), strict=True):
            assert np.array_equal(read_image(image), pixels(seed))

    def test_images_that_were_files(self, tmp_path):
        (tmp_path / "a.png").write_bytes(png(3))
        features = hf.Features({"image": hf.Image(), "label": CLASSES})
        data = hf.Dataset.from_dict({"image": [str(tmp_path / "a.png")], "label": [0]}, features)
        data.save_to_disk(tmp_path / "saved")
        assert np.array_equal(read_image(read_dataset(tmp_path / "saved").images[0]), pixels(3))

    def test_a_row_without_an_image_is_named(self, tmp_path):
        features = hf.Features({"image": hf.Image(), "labels": CLASSES})
        values = {"image": [{"bytes": png(0), "path": None}, None], "labels": [0, 1]}
        hf.Dataset.from_dict(values, features=features).save_to_disk(tmp_path / "d")
        images = read_dataset(tmp_path / "d").images
        assert np.array_equal(read_image(images[0]), pixels(0))
        with pytest.raises(ImageError, match="d:1: row 1 has no image in its column 'image'"):
            read_image(images[1])

    def test_no_row(self, tmp_path):
        make([], CLASSES).save_to_disk(tmp_path / "d")
        refused(tmp_path / "d", "the data set has no row")

    def test_images_can_be_sent_to_other_processes(self, tmp_path):
        make([0, 1], CLASSES).save_to_disk(tmp_path / "saved")
        table = read_dataset(tmp_path / "saved")
        assert pickle.loads(pickle.dumps(table)) == table
        assert str(table.images[1]) == f"{tmp_path / 'saved'}:1"
        loader = DataLoader(table.images, 1, num_workers=1, collate_fn=read_first)
        assert all(np.array_equal(got, pixels(seed)) for seed, got in enumerate(loader))

    def test_a_row_is_the_same_whatever_leads_to_it(self, tmp_path):
        make([0], CLASSES).save_to_disk(tmp_path / "saved")
        (tmp_path / "link").symlink_to(tmp_path / "saved")
        first, second = (read_dataset(tmp_path / name).images[0] for name in ("saved", "link"))
        assert first != second
        assert first.resolve() == second.resolve()


def read_first(images):
    return read_image(images[0])


class TestSplits:
    @pytest.fixture
    def saved(self, tmp_path):
        splits = {"train": make([0, 1], CLASSES), "test": make([2], CLASSES)}
        hf.DatasetDict(splits).save_to_disk(tmp_path / "saved")
        return tmp_path / "saved"

    def test_a_split(self, saved):
        assert read_dataset(f"{saved}:test").image_labels == ({"eel"},)
        assert read_dataset(f"{saved}:test") == read_dataset(saved / "test")

    def test_refused(self, saved):
        refused(saved, "a split must be named", f"{saved}:train", "train, test")
        refused(f"{saved}:val", "no split 'val'", "train, test")
        refused(f"{saved / 'test'}:train", "no split 'train'", "there are none")


class TestRefused:
    def test_without_the_library(self, tmp_path, monkeypatch):
        make([0], CLASSES).save_to_disk(tmp_path / "saved")
        monkeypatch.setitem(sys.modules, "datasets", None)
        refused(tmp_path / "saved", "saved", "pip install '.[hf]'")

    @pytest.mark.parametrize(
        ("feature", "values"),
        [
            (hf.Value("string"), ["cat"]),
            (hf.Value("int64"), [1]),
            (hf.List(hf.Value("int64")), [[1]]),
        ],
    )
    def test_no_column_of_labels(self, tmp_path, feature, values):
        make(values, feature).save_to_disk(tmp_path / "saved")
        refused(tmp_path / "saved", "one column of labels", "ClassLabel", "labels: ")

    def test_several_columns_of_labels(self, tmp_path):
        make([0], CLASSES, "animal", plant=(CLASSES, [1])).save_to_disk(tmp_path / "saved")
        refused(tmp_path / "saved", "one column of labels", "animal: ", "plant: ")

    def test_no_images(self, tmp_path):
        data = make([0], CLASSES).remove_columns("image")
        data.save_to_disk(tmp_path / "saved")
        refused(tmp_path / "saved", "one column of images")

    @pytest.mark.parametrize(
        ("feature", "value"),
        [(hf.List(CLASSES), [-1]), (hf.List(CLASSES), [None]), (hf.List(hf.Value("string")), None)],
    )
    def test_values_that_are_no_labels(self, tmp_path, feature, value):
        make([value], feature).save_to_disk(tmp_path / "saved")
        refused(tmp_path / "saved", "saved:0: expected labels in column 'labels'", str(value))

    def test_damaged(self, tmp_path):
        make([0], CLASSES).save_to_disk(tmp_path / "saved")
        next((tmp_path / "saved").glob("*.arrow")).write_bytes(b"text")
        refused(tmp_path / "saved", "cannot be read as a saved data set")
