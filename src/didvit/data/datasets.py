"""Data sets of every format, told by what is found at a path."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from didvit.data.arrow import is_saved, list_saved
from didvit.data.coco import coco_splits, list_coco, list_coco_json
from didvit.data.images import IMAGE_SUFFIXES
from didvit.data.rows import list_csv, list_json_lines
from didvit.data.shards import expand, list_shards
from didvit.data.table import DataError, Entry, Listing, Table, join, split_error
from didvit.data.voc import Difficult, find_voc, list_voc

FORMATS = """\
  a CSV file: a header with image and labels (joined by '|'), or image and a column per label
  a .jsonl file: lines such as {"image": "a.jpg", "labels": ["cat"]}
  Pascal VOC: a folder with ImageSets/Main and JPEGImages, as VOCdevkit/VOC2007:trainval
  COCO: a folder with annotations/instances_SPLIT.json, as coco:val2017, or that .json file
  a folder with metadata.csv or metadata.jsonl; or with a folder of images per label
  a folder that Hugging Face's datasets has saved with save_to_disk
  WebDataset shards: .tar files, a folder of them, or a pattern such as train-{000..003}.tar
folders may be divided: PATH:SPLIT is the part SPLIT of PATH"""

FILE_READERS: dict[str, Callable[[Path], Listing]] = {
    ".csv": list_csv,
    ".jsonl": list_json_lines,
    ".json": list_coco_json,
    ".tar": lambda path: list_shards(str(path), [path]),
}


def read_dataset(
    spec: str | Path,
    labels: Sequence[str] | None = None,
    *,
    difficult: Difficult = "ignore",
    without_labels: Literal["keep", "drop"] = "keep",
    missing: Literal["refuse", "keep"] = "refuse",
) -> Table:
    """Read one data set; see `read_datasets`."""
    return read_datasets(
        [spec], labels, difficult=difficult, without_labels=without_labels, missing=missing
    )


def read_datasets(
    specs: Sequence[str | Path],
    labels: Sequence[str] | None = None,
    *,
    difficult: Difficult = "ignore",
    without_labels: Literal["keep", "drop"] = "keep",
    missing: Literal["refuse", "keep"] = "refuse",
) -> Table:
    """Read one or several data sets, of any `FORMATS`, as one table.

    Args:
        specs: Of each, ``PATH`` or ``PATH:SPLIT``.
        labels: The labels that may occur, in order, for example a model's. None: those of the data
            sets: VOC's and COCO's, in the official order, then others, alphabetically.
        difficult: Of VOC alone: what a label is to an image that has only difficult objects of it:
            unknown, present or absent.
        without_labels: Whether images that are known to have no label at all are kept. Papers
            differ in this on COCO, some of whose images have no object.
        missing: Whether images that do not exist are refused, or kept as long as others exist.

    Raises:
        DataError: There is nothing of a known format, no such split, a file is damaged, an image
            is missing or listed twice, a label is not among ``labels``, or nothing is left.
    """
    listings = [list_dataset(spec, difficult) for spec in specs]
    if without_labels == "drop":
        listings = [
            listing._replace(entries=[e for e in listing.entries if e.present or e.unknown])
            for listing in listings
        ]
    return join(listings, labels, missing)


def list_dataset(spec: str | Path, difficult: Difficult = "ignore") -> Listing:
    """What the data set at ``PATH`` or ``PATH:SPLIT`` lists.

    Raises:
        DataError: There is nothing of a known format there, or its reader says so.
    """
    path, split = parse_spec(spec)
    if os.path.isdir(path):
        return _list_folder(path, split, difficult)
    if not os.path.exists(path):
        shards = expand(str(path))
        if split or shards == [path]:
            raise DataError(f"{path}: there is no such file or folder")
        return list_shards(str(path), shards)
    reader = FILE_READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: a file of an unknown format; known are:\n{FORMATS}")
    if split:
        raise split_error(path, split, ())
    return reader(path)


def parse_spec(spec: str | Path) -> tuple[Path, str | None]:
    """Path and split. A path that exists has no split, nor has the colon of a Windows drive.

    >>> parse_spec("coco:val2017")[1], parse_spec("C:/coco:val2017")[1], parse_spec("C:/coco")[1]
    ('val2017', 'val2017', None)
    """
    path, _, split = str(spec).rpartition(":")
    is_drive = len(path) == 1 and not os.path.exists(path)
    if not path or is_drive or "/" in split or "\\" in split or os.path.exists(spec):
        return Path(spec), None
    return Path(path), split or None


def _list_folder(path: Path, split: str | None, difficult: Difficult) -> Listing:
    if voc := find_voc(path):
        return list_voc(voc, split, difficult)
    if coco_splits(path):
        return list_coco(path, split)
    if is_saved(path):
        return list_saved(path, split)
    inside = sorted(item for item in path.iterdir() if not item.name.startswith("."))
    folders = [item for item in inside if item.is_dir()]
    if split:
        if path / split not in folders:
            raise split_error(path, split, [folder.name for folder in folders])
        return _list_folder(path / split, None, difficult)
    for name, reader in (("metadata.csv", list_csv), ("metadata.jsonl", list_json_lines)):
        if path / name in inside:
            return reader(path / name)
    if shards := [item for item in inside if item.suffix == ".tar"]:
        return list_shards(str(path), shards)
    # Beside a file that lists them, folders of images are no labels.
    listed = any(item.suffix in (".csv", ".jsonl") for item in inside)
    if not listed and (listing := list_label_folders(path, folders)).entries:
        return listing
    found = [item.name + "/" * item.is_dir() for item in inside]
    raise DataError(
        f"{path}: a folder of an unknown format, with {', '.join(found[:8]) or 'nothing'}"
        f"{f' and {len(found) - 8} more' * (len(found) > 8)} in it; known are:\n{FORMATS}"
    )


def list_label_folders(path: Path, folders: Sequence[Path]) -> Listing:
    """Images that have one label, the name of the folder that they are in.

    An image that is in two folders is two images. Folders without images are no labels.
    """
    entries = [
        Entry(str(folder), image, frozenset([folder.name]))
        for folder in folders
        for image in sorted(folder.iterdir())
        if image.suffix.lower() in IMAGE_SUFFIXES and not image.name.startswith(".")
    ]
    return Listing(str(path), entries, folder=path, links_differ=True)
