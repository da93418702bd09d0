import json
import os
import re
from pathlib import Path

import pytest

from didvit.data.boxes import COCO_NAMES, read_boxes
from didvit.data.formats.voc import LABELS as VOC_LABELS
from didvit.data.images import read_image
from didvit.data.table import DataError

OBJECT = """<object><name>{}</name><difficult>{}</difficult>
<bndbox><xmax>{}</xmax><xmin>{}</xmin><ymax>{}</ymax><ymin>{}</ymin></bndbox>
<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox>
</part></object>"""
SIZE = "<size><width>60</width><height>40</height><depth>3</depth></size>"

# Objects of the images: label, whether it is difficult, and VOC's box.
OBJECTS = {
    "000002": [("sofa", 0, (1, 1, 60, 40)), ("cat", 1, (2, 3, 4, 5)), ("dog", 0, (9, 9, 9, 9))],
    "000001": [("cat", 1, (1, 2, 3, 4))],
    "000003": [("bus", 0, (5, 6, 7, 8))],
    "000004": [
        ("cat", 0, (10.5, 20, 30.25, 40)),
        ("sofa", 0, (2, 2, 3, 3)),
        ("cat", 0, (3, 3, 2, 9)),
    ],
}


def annotation(objects):
    items = [OBJECT.format(n, d, x1, x0, y1, y0) for n, d, (x0, y0, x1, y1) in objects]
    return f"<annotation>{SIZE}{''.join(items)}</annotation>"


@pytest.fixture
def voc(tmp_path):
    """VOCdevkit/VOC2007 with a test split; boxes are read without looking at the images."""
    folder = tmp_path / "VOCdevkit" / "VOC2007"
    for name in ("JPEGImages", "ImageSets/Main", "Annotations"):
        (folder / name).mkdir(parents=True)
    (folder / "ImageSets" / "Main" / "test.txt").write_text("\n".join(OBJECTS) + "\n")
    for image, objects in OBJECTS.items():
        (folder / "Annotations" / f"{image}.xml").write_text(annotation(objects))
    return folder


CATEGORIES = [(63, "couch"), (17, "cat"), (1, "person")]
CROWD = 1


def instances():
    objects = [  # image, category, crowd, box
        (7, 17, 0, [1.5, 2, 10, 20.25]),
        (7, 63, CROWD, [0, 0, 60, 40]),
        (5, 1, 0, [0, 0, 9, 9]),
        (7, 63, 0, [3, 4, 5, 6]),
        (2, 17, CROWD, [0, 0, 9, 9]),
        (2, 63, 0, [3, 4, 0, 6]),
        (9, 17, 0, [0, 0, 60, 40]),
    ]
    return {
        "images": [
            {"id": i, "file_name": f"{i}.jpg", "height": 40, "width": 60} for i in (9, 2, 5, 7)
        ],
        "annotations": [
            {"id": n, "image_id": i, "category_id": c, "iscrowd": crowd, "bbox": box}
            for n, (i, c, crowd, box) in enumerate(objects)
        ],
        "categories": [{"id": i, "name": name} for i, name in CATEGORIES],
    }


@pytest.fixture
def write_coco(tmp_path):
    """A function that writes the instances of val2017; the folder of COCO."""

    def write(content):
        (tmp_path / "annotations").mkdir(exist_ok=True)
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / "annotations" / "instances_val2017.json").write_text(text)
        return tmp_path

    return write


def refused(spec, *parts, labels=("cat",)):
    with pytest.raises(DataError) as caught:
        read_boxes(spec, labels)
    for part in parts:
        assert part in str(caught.value)


class TestVOC:
    def test_boxes_of_the_labels_in_the_order_of_the_split(self, voc):
        first, last = read_boxes(f"{voc}:test", ("person", "cat", "sofa"))
        assert first.image == voc / "JPEGImages" / "000002.jpg"
        assert (first.size, first.boxes, first.labels) == ((40, 60), ((0, 0, 60, 40),), (2,))
        assert last.image == voc / "JPEGImages" / "000004.jpg"
        # The third object ends before it begins.
        assert last.boxes == ((9.5, 19, 30.25, 40), (1, 1, 3, 3))
        assert last.labels == (1, 2)
        assert last.present == (1, 2)

    def test_a_box_of_one_pixel(self, voc):
        (image,) = read_boxes(f"{voc}:test", ("dog",))
        assert image.boxes == ((8, 8, 9, 9),)

    def test_the_folder_above(self, voc):
        assert read_boxes(f"{voc.parent}:test", ("cat",)) == read_boxes(f"{voc}:test", ("cat",))

    def test_names_of_coco(self, voc):
        of_voc = read_boxes(f"{voc}:test", ("cat", "sofa"))
        assert read_boxes(f"{voc}:test", ("cat", "couch")) == of_voc

    def test_the_very_name_comes_first(self, voc):
        images = read_boxes(f"{voc}:test", ("sofa", "couch"))
        assert images == read_boxes(f"{voc}:test", ("sofa", "no such label"))
        images = read_boxes(f"{voc}:test", ("couch", "sofa"))
        assert {label for image in images for label in image.labels} == {1}

    @pytest.mark.parametrize("label", VOC_LABELS)
    @pytest.mark.parametrize("of_coco", [False, True])
    def test_every_name_is_found(self, voc, label, of_coco):
        (voc / "Annotations" / "000003.xml").write_text(annotation([(label, 0, (5, 6, 7, 8))]))
        (voc / "ImageSets" / "Main" / "one.txt").write_text("000003")
        name = COCO_NAMES.get(label, label) if of_coco else label
        (image,) = read_boxes(f"{voc}:one", ("no such label", name))
        assert (image.boxes, image.labels) == (((4, 5, 7, 8),), (1,))

    def test_no_common_label(self, voc):
        refused(f"{voc}:test", "aeroplane", "and 12 more", "zebra", labels=("zebra", "oven"))

    def test_no_object(self, voc):
        refused(f"{voc}:test", "no image has an object of the labels train", labels=("train",))

    def test_a_split_that_is_not_there(self, voc):
        refused(f"{voc}:val", "no split 'val'", "test")
        refused(voc, "a split must be named")

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("<xmin>5</xmin>", ""),
            ("<xmin>5</xmin>", "<xmin>five</xmin>"),
            (SIZE, ""),
            ("bus", ""),
            ("</annotation>", ""),
        ],
    )
    def test_damaged_annotations(self, voc, old, new):
        path = voc / "Annotations" / "000003.xml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        refused(f"{voc}:test", str(path), labels=("bus",))

    def test_annotations_that_are_not_there(self, voc):
        (voc / "Annotations" / "000003.xml").unlink()
        refused(f"{voc}:test", "000003.xml", "cannot be read")


class TestCOCO:
    def test_boxes_of_the_labels_in_the_order_of_the_file(self, write_coco):
        folder = write_coco(instances())
        first, last = read_boxes(f"{folder}:val2017", ("cat", "dog", "couch"))
        assert first.image == folder / "val2017" / "9.jpg"
        assert (first.size, first.boxes, first.labels) == ((40, 60), ((0, 0, 60, 40),), (0,))
        assert last.image == folder / "val2017" / "7.jpg"
        assert last.boxes == ((1.5, 2, 11.5, 22.25), (3, 4, 8, 10))
        assert last.labels == (0, 2)

    def test_the_file_itself(self, write_coco):
        folder = write_coco(instances())
        path = folder / "annotations" / "instances_val2017.json"
        assert read_boxes(path, ("cat",)) == read_boxes(f"{folder}:val2017", ("cat",))
        refused(f"{path}:val2017", "no split 'val2017'")

    def test_names_of_voc(self, write_coco):
        spec = f"{write_coco(instances())}:val2017"
        assert read_boxes(spec, ("cat", "sofa")) == read_boxes(spec, ("cat", "couch"))

    def test_no_common_label(self, write_coco):
        spec = f"{write_coco(instances())}:val2017"
        refused(spec, "person, cat, couch", "(bird)", labels=("bird",))

    def test_a_split_that_is_not_there(self, write_coco):
        refused(f"{write_coco(instances())}:train2017", "no split 'train2017'", "val2017")

    @pytest.mark.parametrize(
        ("change", "fault"),
        [
            (lambda c: c.pop("annotations"), "'annotations'"),
            (lambda c: c["annotations"][0].pop("bbox"), "'bbox'"),
            (lambda c: c["annotations"][0].update(bbox=[1, 2, 3]), "at fault: not enough values"),
            (lambda c: c["annotations"][0].update(bbox=None), "at fault"),
            (lambda c: c["annotations"][0].update(image_id=8), "8"),
            (lambda c: c["annotations"][0].update(category_id=91), "91"),
            (lambda c: c["images"][0].pop("height"), "'height'"),
        ],
    )
    def test_incomplete_files(self, write_coco, change, fault):
        content = instances()
        change(content)
        refused(f"{write_coco(content)}:val2017", "instances_val2017.json", fault)

    def test_a_file_that_is_not_json(self, write_coco):
        refused(f"{write_coco('{')}:val2017", "cannot be read as JSON")


def test_other_formats(tmp_path):
    (tmp_path / "table.csv").write_text("image,labels\n")
    for spec in (tmp_path, tmp_path / "table.csv", tmp_path / "nothing"):
        refused(spec, str(spec), "Pascal VOC", "COCO")


def real(*parts):
    """A folder of real data; the test is skipped where it is not."""
    beside = Path(__file__).parents[3] / "shared" / "data"
    folder = Path(os.environ.get("DIDVIT_DATA", beside)).joinpath(*parts)
    if not folder.is_dir():
        pytest.skip(f"there are no photographs at {folder}; set DIDVIT_DATA to their folder")
    return folder


def check_inside(images):
    for image in images:
        height, width = image.size
        for x0, y0, x1, y1 in image.boxes:
            assert 0 <= x0 < x1 <= width
            assert 0 <= y0 < y1 <= height
    for image in images[::9]:
        assert read_image(image.image).shape == (*image.size, 3)


class TestReal:
    def test_voc(self):
        folder = real("VOCdevkit", "VOC2007")
        images = read_boxes(f"{folder}:trainval", VOC_LABELS)
        check_inside(images)
        for image in images:
            text = (folder / "Annotations" / f"{image.image.stem}.xml").read_text()
            expected = []
            for item in re.findall(r"<object>.*?</object>", text, flags=re.DOTALL):
                if "<difficult>1<" not in item:
                    item = re.sub(r"<part>.*?</part>", "", item, flags=re.DOTALL)
                    label = re.search("<name>(.*?)<", item)[1]
                    x0, y0, x1, y1 = (
                        int(float(re.search(f"<{side}>(.*?)<", item)[1]))
                        for side in ("xmin", "ymin", "xmax", "ymax")
                    )
                    expected.append((VOC_LABELS.index(label), (x0 - 1, y0 - 1, x1, y1)))
            assert list(zip(image.labels, image.boxes, strict=True)) == expected
        assert len(images) == 64

    def test_coco(self):
        folder = real("coco80")
        content = json.loads((folder / "annotations" / "instances_val2017.json").read_text())
        labels = tuple(item["name"] for item in content["categories"])
        images = read_boxes(f"{folder}:val2017", labels)
        check_inside(images)
        objects = [item for item in content["annotations"] if not item["iscrowd"]]
        assert sum(len(image.boxes) for image in images) == len(objects)
        total = sum((x1 - x0) * (y1 - y0) for image in images for x0, y0, x1, y1 in image.boxes)
        assert total == pytest.approx(sum(w * h for _, _, w, h in (o["bbox"] for o in objects)))

    def test_labels_of_coco_on_voc(self):
        folder = real("VOCdevkit", "VOC2007")
        names = tuple(COCO_NAMES.get(label, label) for label in VOC_LABELS)
        assert read_boxes(f"{folder}:test", names) == read_boxes(f"{folder}:test", VOC_LABELS)
