"""COCO 2014 and 2017 in their official layout, and files of that kind that other tools write.

``annotations/instances_val2017.json`` names the images, of the folder ``val2017``, and the objects
in them. A crowd of objects (``iscrowd``) counts as its label's presence, as any object does.
"""

import json
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from didvit.data.labels import fault_of
from didvit.data.table import DataError, Entry, Listing, split_error
from didvit.data.wording import first_few, quoted

PREFIX = "instances_"
ROBOFLOW = "_annotations.coco.json"
"""What Roboflow calls a file of instances, beside its images."""

TRIED = 20
"""Images that tell which folder they are in."""


class Instances(NamedTuple):
    """A file of instances, checked.

    Attributes:
        categories: Names of categories by id, in the order of the ids.
        images: Items of images by id, in the order of the file.
        annotations: Items of objects; their images and categories exist.
        notes: What was assumed.
    """

    categories: dict[int | str, str]
    images: dict[int | str, dict[str, Any]]
    annotations: list[dict[str, Any]]
    notes: tuple[str, ...] = ()


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

    Where the images are, `image_folder` finds.

    Raises:
        DataError: The file is damaged, not of this kind, or an id stands there twice.
    """
    with open_instances(path) as content:
        present: dict[int | str, set[str]] = {image: set() for image in content.images}
        for item in content.annotations:
            present[item["image_id"]].add(content.categories[item["category_id"]])
        files = {image: item["file_name"] for image, item in content.images.items()}
    folder, notes = image_folder(path, list(files.values()))
    entries = [
        Entry(f"{path}, image {image}", folder / name, frozenset(present[image]))
        for image, name in files.items()
    ]
    labels = tuple(dict.fromkeys(content.categories.values()))
    return Listing(
        str(path), entries, labels, ordered=True, folder=folder, notes=(*content.notes, *notes)
    )


def image_folder(path: Path, names: Sequence[str]) -> tuple[Path, tuple[str, ...]]:
    """Where the images of a file of instances are, and what was assumed of it.

    COCO's own place is the folder that the file is named after, beside the folder of the file.
    Where none of the first images is there, folders are tried in which other tools put them.
    """
    split = path.stem.removeprefix(PREFIX)
    official = path.parent.parent / split
    others = [
        *(path.parent.parent / "images" / split, path.parent.parent / "images"),
        *(path.parent / split, path.parent / "images", path.parent),
    ]
    for folder in (official, *others):
        if any((folder / name).is_file() for name in islice(names, TRIED)):
            note = f"{path}: its images are read from {folder}, as there are none in {official}"
            return folder, () if folder == official else (note,)
    return official, (f"{path}: its images are sought in {first_few([official, *others])}",)


@contextmanager
def open_instances(path: Path) -> Iterator[Instances]:
    """A file of instances; what lacks in it where it is read is a `DataError`.

    Raises:
        DataError: It is no JSON; or not of this kind.
    """
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError, OSError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(content, dict):
        raise DataError(
            f"{path}: expected COCO's instances, an object, got {type(content).__name__}; rows of "
            "images and labels go into a .jsonl file, one object a line"
        )
    try:
        yield _checked(path, content)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path}: expected COCO's instances: 'images' with id and file_name, 'categories' with "
            f"id and name, 'annotations' with an image_id and category_id of these (for boxes: "
            f"images with height and width, annotations with bbox); at fault: {error}"
        ) from error


def _checked(path: Path, content: dict[str, Any]) -> Instances:
    categories = _by_id(path, "categories", _objects(path, content, "categories", "name"))
    images = _by_id(path, "images", _objects(path, content, "images", "file_name"))
    for image, item in images.items():
        if not isinstance(item["file_name"], str) or not item["file_name"].strip():
            raise DataError(
                f"{path}, image {image!r}: expected a path under 'file_name', got "
                f"{item['file_name']!r}"
            )
    annotations = _objects(path, content, "annotations", "image_id", "category_id")
    for number, item in enumerate(annotations):
        for key, known in (("image_id", images), ("category_id", categories)):
            where = f"{path}, annotation {item.get('id', f'number {number}')}"
            if not isinstance(item[key], Hashable) or item[key] not in known:
                raise DataError(
                    f"{where}: its {key} is {item[key]!r}; expected the id of one of the "
                    f"{'images' if key == 'image_id' else 'categories'}, such as "
                    f"{first_few([repr(one) for one in known], 3) or 'none'}"
                )
    names, notes = _names(path, categories)
    return Instances(names, images, annotations, notes)


def _objects(path: Path, content: dict[str, Any], kind: str, *keys: str) -> list[dict[str, Any]]:
    """The list under a key, of objects that have an id (but for annotations) and other keys."""
    items = content.get(kind)
    if not isinstance(items, list):
        got = "nothing" if kind not in content else type(items).__name__
        raise DataError(f"{path}: expected COCO's instances, with a list under {kind!r}, got {got}")
    needed = keys if kind == "annotations" else ("id", *keys)
    for number, item in enumerate(items):
        missing = [key for key in needed if not isinstance(item, dict) or key not in item]
        if missing:
            raise DataError(
                f"{path}: of its {kind}, number {number} has no {missing[0]!r}; expected an object "
                f"with {', '.join(needed)}"
            )
    return items


def _by_id(path: Path, kind: str, items: list[dict[str, Any]]) -> dict[int | str, dict[str, Any]]:
    found = {item["id"]: item for item in items}
    if len(found) < len(items):
        twice = next(x for x, number in Counter(item["id"] for item in items).items() if number > 1)
        raise DataError(
            f"{path}: the id {twice!r} stands twice among its {kind}, as where two files were "
            "joined; give every one an id of its own"
        )
    types = {type(one) for one in found}
    if str in types and len(types) > 1:
        raise DataError(
            f"{path}: the ids of its {kind} are numbers and texts; expected one kind of them"
        )
    return found


def _names(
    path: Path, categories: dict[int | str, dict[str, Any]]
) -> tuple[dict[int | str, str], tuple[str, ...]]:
    """The name of every category, and what was assumed of them."""
    names: dict[int | str, str] = {}
    numbers = []
    for key in sorted(categories):  # of one type, which can be compared
        name = categories[key]["name"]
        if isinstance(name, int | float) and not isinstance(name, bool):
            name = str(name)
            numbers.append(name)
        if fault := fault_of(name):
            raise DataError(
                f"{path}, category {key!r}: its name {name!r} cannot be a label: {fault}"
            )
        names[key] = str(name).strip()
    notes = []
    if numbers:
        notes.append(f"{path}: names of categories are numbers, read as text: {first_few(numbers)}")
    twice = [name for name, number in Counter(names.values()).items() if number > 1]
    if twice:
        notes.append(
            f"{path}: several categories have one name, and are one label: {quoted(twice)}"
        )
    return names, tuple(notes)
