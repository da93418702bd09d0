"""Cases of COCO, VOC and WebDataset."""

import json
import shutil
from pathlib import Path

import pytest

from didvit.data.datasets import read_dataset


def use_names(kind: str) -> None:
    for split in ("tr", "va"):
        source = Path(f"annotations/instances_{split}.{kind}")
        shutil.copyfile(source, source.with_suffix(".json"))


def test_names_of_categories_that_are_numbers_are_text(case, didvit, tiny_training):
    """05: check, training and evaluation run to their ends."""
    case("05")
    use_names("int")
    result = didvit("data check .:tr")
    assert result.code == 0
    assert "names of categories are numbers, read as text: 1, 2" in result.notes
    result = didvit("train --data.train .:tr --data.val .:va --output run", *tiny_training)
    assert result.code == 0
    result = didvit("evaluate --model run --data .:va --workers 0 --device cpu --resamples 0")
    assert result.code == 0
    assert read_dataset(".:tr").labels == ("1", "2")


@pytest.mark.parametrize("name", [None, "", " ", "\ud800", "\n", "a\u2028b", ["x"], {"a": 1}, True])
def test_impossible_names_of_categories_are_refused(case, didvit, name):
    case("05")
    use_names("int")
    path = Path("annotations/instances_tr.json")
    content = json.loads(path.read_text())
    content["categories"][0]["name"] = name
    path.write_text(json.dumps(content))
    didvit("data check .:tr").assert_refused("instances_tr.json, category ", "its name ")


def test_the_refused_name_of_the_case(case, didvit, tiny_training):
    case("05")
    use_names("null")
    for command in ("data check .:tr", "train --data.train .:tr --data.val .:va --output run"):
        options = tiny_training if command.startswith("train") else ()
        didvit(command, *options).assert_refused("category 1: its name None cannot be a label")


def test_an_id_that_stands_twice_is_refused(case, didvit):
    """08: of images as of categories."""
    case("08")
    didvit("data check .:va").assert_refused("instances_va.json: the id 0 stands twice")
    path = Path("annotations/instances_va.json")
    content = json.loads(path.read_text())
    content["images"] = [{**image, "id": i} for i, image in enumerate(content["images"])]
    content["categories"].append({**content["categories"][0], "name": "another"})
    Path("annotations/instances_categories.json").write_text(json.dumps(content))
    shutil.copytree("va", "categories")
    didvit("data check .:categories").assert_refused("stands twice among its categories")


def test_samples_of_shards_are_read_or_counted(case, didvit):
    """09: names with dots, and kinds other than JPEG."""
    case("09")
    assert [image.name for image in read_dataset("dots.tar").images] == [
        *("dots.tar:b.jpg", "dots.tar:22.05.jpg")
    ] or {image.name for image in read_dataset("dots.tar").images} == {
        *("dots.tar:b.jpg", "dots.tar:22.05.jpg")
    }
    result = didvit("data check dots.tar")
    assert result.code == 0
    assert "1 sample with dots in their names" in result.notes
    result = didvit("data check kinds.tar")
    assert result.code == 0
    assert "4 images in 1 data set with 3 labels: 0 unreadable images" in result.notes


@pytest.mark.parametrize("kind", ["gb2312", "namespace"])
def test_annotations_are_read_in_their_encoding(case, didvit, kind):
    """13: what labeling tools write."""
    case("13")
    spec = f"{kind}/VOC2007:train"
    assert didvit(f"data check {spec}").code == 0
    table = read_dataset(spec)
    assert len(table) == 2
    assert all(table.image_labels)


def test_annotations_that_cannot_be_read_are_named(case, didvit):
    case("13")
    didvit("data check unknown-encoding/VOC2007:train").assert_refused(
        "unknown-encoding/VOC2007/Annotations/a.xml: cannot be read as XML (unknown encoding"
    )
    page = Path("namespace/VOC2007/Annotations/b.xml")
    page.write_text("<html><body>404</body></html>")
    didvit("data check namespace/VOC2007:train").assert_refused(
        f"{page}: expected an XML file of an <annotation>, got one of <html>"
    )


@pytest.mark.parametrize(
    ("split", "parts"),
    [
        ("missingimage", ("annotation 8: its image_id is 99;", "such as 0, 1, 2")),
        ("stringid", ("annotation 8: its image_id is '1';", "such as 0, 1, 2")),
    ],
)
def test_annotations_of_no_image_are_named(case, didvit, split, parts):
    """16: the annotation and its key."""
    case("16")
    didvit(f"data check .:{split}").assert_refused(f"instances_{split}.json, ", *parts)


def test_ids_of_two_types_are_refused(case, didvit):
    case("16")
    path = Path("annotations/instances_missingimage.json")
    content = json.loads(path.read_text())
    for i, category in enumerate(content["categories"]):
        category["id"] = category["id"] if i else str(category["id"])
    content["annotations"] = []
    path.with_name("instances_mixed.json").write_text(json.dumps(content))
    didvit("data check .:mixed").assert_refused("the ids of its categories are numbers and texts")


@pytest.mark.parametrize("split", ["bom", "train_v2"])
def test_lists_are_read_whatever_their_name(case, didvit, split):
    case("16")
    result = didvit(f"data check VOC2007:{split}")
    assert result.code == 3
    assert "1 label that no image is known to lack: 'cat'" in result.notes
    (image,) = read_dataset(f"VOC2007:{split}").images
    assert image.name == "a.jpg"


def test_names_with_spaces_are_said_to_be_one(case, didvit):
    case("16")
    Path("VOC2007/ImageSets/Main/spaces.txt").write_text("my photo\n")
    didvit("data check VOC2007:spaces").assert_refused("'my photo' is one name, with spaces")
    for folder, suffix in (("Annotations", "xml"), ("JPEGImages", "jpg")):
        path = Path("VOC2007", folder, f"a.{suffix}")
        shutil.copyfile(path, path.with_stem("my photo"))
    assert [image.name for image in read_dataset("VOC2007:spaces").images] == ["my photo.jpg"]
