import json
import os
from pathlib import Path

import pytest

from didvit.data.datasets import read_dataset
from didvit.data.images import read_image
from refusals import refused

CATEGORIES = [(3, "car"), (1, "person"), (90, "toothbrush"), (18, "dog")]
IMAGES = {7: "000000000007.jpg", 2: "000000000002.jpg", 5: "000000000005.jpg"}
OBJECTS = [(7, 18, 0), (7, 18, 0), (2, 1, 1), (7, 1, 0)]  # image, category, crowd


def instances():
    return {
        "info": {},
        "images": [
            {"id": i, "file_name": name, "height": 4, "width": 6} for i, name in IMAGES.items()
        ],
        "annotations": [
            {"id": n, "image_id": i, "category_id": c, "iscrowd": crowd, "bbox": [0, 0, 2, 2]}
            for n, (i, c, crowd) in enumerate(OBJECTS)
        ],
        "categories": [{"id": c, "name": name} for c, name in CATEGORIES],
    }


@pytest.fixture
def write(tmp_path):
    """A function that writes the instances of val2017; the folder of COCO."""

    def write_instances(content):
        for name in ("annotations", "val2017"):
            (tmp_path / name).mkdir(exist_ok=True)
        for name in IMAGES.values():
            (tmp_path / "val2017" / name).touch()
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / "annotations" / "instances_val2017.json").write_text(text)
        return tmp_path

    return write_instances


class TestRead:
    def test_labels_in_the_order_of_ids_and_images_in_that_of_the_file(self, write):
        folder = write(instances())
        table = read_dataset(f"{folder}:val2017")
        assert table.labels == ("person", "car", "dog", "toothbrush")
        assert table.images == tuple(folder / "val2017" / name for name in IMAGES.values())
        # The second has only a crowd, the third nothing.
        assert table.targets.tolist() == [[1, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]]

    def test_the_file_itself(self, write):
        folder = write(instances())
        path = folder / "annotations" / "instances_val2017.json"
        assert read_dataset(path) == read_dataset(f"{folder}:val2017")

    def test_images_without_objects_may_be_dropped(self, write):
        folder = write(instances())
        table = read_dataset(f"{folder}:val2017", without_labels="drop")
        assert [image.name for image in table.images] == [IMAGES[7], IMAGES[2]]
        assert len(table.labels) == 4

    def test_names_of_2014(self, write):
        content = instances()
        content["images"][0]["file_name"] = "COCO_val2014_000000000007.jpg"
        folder = write(content)
        (folder / "val2017").rename(folder / "val2014")
        path = folder / "annotations" / "instances_val2017.json"
        path.rename(path.with_name("instances_val2014.json"))
        (folder / "val2014" / "COCO_val2014_000000000007.jpg").touch()
        assert read_dataset(f"{folder}:val2014").images[0].name.startswith("COCO_val2014")


class TestOtherTools:
    def test_names_that_are_numbers(self, write):
        content = instances()
        content["categories"][1]["name"] = 1
        table = read_dataset(f"{write(content)}:val2017")
        assert table.labels == ("1", "car", "dog", "toothbrush")
        assert "names of categories are numbers, read as text: 1" in table.notes[0]

    def test_several_categories_of_one_name(self, write):
        content = instances()
        content["categories"][3]["name"] = " person "
        table = read_dataset(f"{write(content)}:val2017")
        assert table.labels == ("person", "car", "toothbrush")
        assert "several categories have one name, and are one label: 'person'" in table.notes[0]

    @pytest.mark.parametrize(
        ("place", "images"),
        [
            ("_annotations.coco.json", "."),  # Roboflow
            ("instances.json", "."),
            ("instances.json", "images"),
            ("annotations/instances.json", "images"),
            ("annotations/instances_val2017.json", "images/val2017"),
        ],
    )
    def test_where_other_tools_put_the_images(self, tmp_path, place, images):
        path = tmp_path / place
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(instances()))
        folder = tmp_path / images
        folder.mkdir(parents=True, exist_ok=True)
        for name in IMAGES.values():
            (folder / name).touch()
        table = read_dataset(path)
        assert table.images[0] == folder / IMAGES[7]
        assert f"its images are read from {folder}" in table.notes[0]
        if place.startswith("_"):
            assert read_dataset(tmp_path).images == table.images

    def test_the_folders_that_were_tried_are_named(self, tmp_path):
        path = tmp_path / "annotations" / "mine.json"
        path.parent.mkdir()
        path.write_text(json.dumps(instances()))
        refused(path, "there is no image", f"relative to the folder {tmp_path / 'mine'}")


class TestRefused:
    def test_without_a_split_those_there_are_named(self, write):
        folder = write(instances())
        (folder / "annotations" / "instances_train2017.json").touch()
        (folder / "annotations" / "captions_test2017.json").touch()
        refused(folder, "a split must be named", f"{folder}:train2017", "train2017, val2017")
        refused(f"{folder}:test2017", "no split 'test2017'", "there are: train2017, val2017")

    def test_a_file_has_no_splits(self, write):
        path = write(instances()) / "annotations" / "instances_val2017.json"
        refused(f"{path}:val2017", str(path), "no split 'val2017'", "there are none")

    @pytest.mark.parametrize(
        ("change", "fault"),
        [
            (lambda c: c.pop("images"), "'images'"),
            (lambda c: c.pop("categories"), "'categories'"),
            (lambda c: c.pop("annotations"), "'annotations'"),
            (
                lambda c: c["annotations"][0].update(image_id=8),
                "annotation 0: its image_id is 8; expected",
            ),
            (
                lambda c: c["annotations"][0].update(category_id="1"),
                "its category_id is '1'; expected the id of one of the categories, such as 3",
            ),
            (lambda c: c["images"][1].pop("file_name"), "'file_name'"),
        ],
    )
    def test_incomplete_files(self, write, change, fault):
        content = instances()
        change(content)
        refused(f"{write(content)}:val2017", "instances_val2017.json", fault)

    @pytest.mark.parametrize(
        ("kind", "items"),
        [
            ("images", [{"id": 2, "file_name": "b.jpg"}]),
            ("categories", [{"id": 3, "name": "cat"}]),
        ],
    )
    def test_ids_that_stand_twice(self, write, kind, items):
        """As two joined files have; the first was replaced by the second."""
        content = instances()
        content[kind] += items
        reason = f"the id {items[0]['id']} stands twice among its {kind}"
        refused(f"{write(content)}:val2017", "instances_val2017.json", reason)

    @pytest.mark.parametrize("name", [None, "", "  ", "a\ud800", "a\0b", True, ["cat"]])
    def test_names_that_cannot_be_labels(self, write, name):
        content = instances()
        content["categories"][1]["name"] = name
        refused(f"{write(content)}:val2017", "instances_val2017.json, category 1", "cannot be a")

    def test_ids_of_two_types(self, write):
        content = instances()
        content["categories"][1]["id"] = "person"
        refused(f"{write(content)}:val2017", "the ids of its categories are numbers and texts")

    @pytest.mark.parametrize("name", [None, "", 7])
    def test_images_without_a_path(self, write, name):
        content = instances()
        content["images"][1]["file_name"] = name
        refused(f"{write(content)}:val2017", "image 2: expected a path under 'file_name', got")

    @pytest.mark.parametrize("text", ["", "{", "[" * 100_000])
    def test_files_that_are_not_json(self, write, text):
        refused(f"{write(text)}:val2017", "instances_val2017.json", "cannot be read as JSON")

    def test_rows_of_images_are_told_where_they_go(self, write):
        text = '[{"image": "a.jpg", "labels": ["cat"]}]'
        refused(f"{write(text)}:val2017", "got list; rows of images and labels go into a .jsonl")

    @pytest.mark.parametrize("text", ["[]", "3", '{"images": 3}'])
    def test_other_json(self, write, text):
        refused(f"{write(text)}:val2017", "instances_val2017.json", "expected COCO's instances")

    def test_images_that_are_not_there(self, write):
        folder = write(instances())
        (folder / "val2017" / IMAGES[2]).unlink()
        refused(f"{folder}:val2017", "image 2:", IMAGES[2], "1 of 3", str(folder / "val2017"))


class TestReal:
    def test_photographs(self):
        beside = Path(__file__).parents[4] / "shared" / "data"
        folder = Path(os.environ.get("DIDVIT_DATA", beside)) / "coco80"
        if not folder.is_dir():
            pytest.skip(f"there are no photographs at {folder}; set DIDVIT_DATA to their folder")
        table = read_dataset(f"{folder}:val2017")
        assert len(table) == 86
        assert len(table.labels) == 80
        assert (table.labels[0], table.labels[-1]) == ("person", "toothbrush")
        content = json.loads((folder / "annotations" / "instances_val2017.json").read_text())
        names = {item["id"]: item["name"] for item in content["categories"]}
        for i in range(0, 86, 17):
            image = content["images"][i]
            objects = [a for a in content["annotations"] if a["image_id"] == image["id"]]
            assert table.image_labels[i] == {names[a["category_id"]] for a in objects}
            assert read_image(table.images[i]).shape == (image["height"], image["width"], 3)
