"""COCO 2014 and 2017 in their official layout.

``annotations/instances_val2017.json`` names the images, of the folder ``val2017``, and the objects
in them. A crowd of objects (``iscrowd``) counts as its label's presence, as any object does.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from didvit.data.table import DataError, Entry, Listing, split_error

PREFIX = "instances_"


def coco_splits(folder: Path) -> list[str]:
    """The splits of which the folder has instances; none: it is not COCO's layout."""
    paths = folder.glob(f"annotations/{PREFIX}*.json")
    return sorted(path.stem.removeprefix(PREFIX) for path in paths)


def list_coco(folder: Path, split: str | None) -> Listing:
    """The images of a split, such as ``val2017``; see `list_coco_json`.

    Raises:
        DataError: There is no such split, or its file is damaged.
    """
    return list_coco_json(find_instances(folder, split))


def find_instances(folder: Path, split: str | None) -> Path:
    """The file of instances of a split.

    Raises:
        DataError: There is no such split.
    """
    splits = coco_splits(folder)
    if split not in splits:
        raise split_error(folder, split, splits)
    return folder / "annotations" / f"{PREFIX}{split}.json"


def list_coco_json(path: Path) -> Listing:
    """The images of a file of instances, with its categories, in the order of their ids, as labels.

    Images stand in the folder that the file is named after, beside the folder of the file.

    Raises:
        DataError: The file is damaged, or not of this kind.
    """
    with open_instances(path) as content:
        categories = {item["id"]: item["name"] for item in content["categories"]}
        files = {item["id"]: item["file_name"] for item in content["images"]}
        present: dict[int, set[str]] = {image: set() for image in files}
        for item in content["annotations"]:
            present[item["image_id"]].add(categories[item["category_id"]])
        labels = tuple(categories[category] for category in sorted(categories))
        folder = image_folder(path)
        entries = [
            Entry(f"{path}, image {image}", folder / files[image], frozenset(present[image]))
            for image in files
        ]
    return Listing(str(path), entries, labels, ordered=True, folder=folder)


def image_folder(path: Path) -> Path:
    """Where the images of a file of instances stand."""
    return path.parent.parent / path.stem.removeprefix(PREFIX)


@contextmanager
def open_instances(path: Path) -> Iterator[dict[str, Any]]:
    """A file of instances as it stands; what lacks in it where it is read is a `DataError`.

    Raises:
        DataError: It is no JSON; or, at the end, not of this kind.
    """
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError, OSError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error})") from error
    try:
        yield content
    except DataError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: expected COCO's instances: 'images' with id and file_name, 'categories' with "
            f"id and name, 'annotations' with an image_id and category_id of these (for boxes: "
            f"images with height and width, annotations with bbox); at fault: {error}"
        ) from error
