"""Data sets of every format, told by what is found at a path."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from didvit.data.choices import Difficult, Missing, WithoutLabels
from didvit.data.formats.arrow import is_saved, list_saved
from didvit.data.formats.coco import ROBOFLOW, coco_splits, list_coco, list_coco_json
from didvit.data.formats.rows import list_csv, list_json_lines
from didvit.data.formats.shards import expand, list_shards
from didvit.data.formats.voc import find_voc, find_xml, list_voc, list_xml
from didvit.data.kinds import list_folder, merge_contents, notes_of, problems_of
from didvit.data.table import DataError, Entry, Listing, Table, join, split_error
from didvit.data.wording import counted, first_few

FORMATS = (
    "CSV (.csv, .tsv), JSON lines (.jsonl), COCO (a folder with annotations/instances_SPLIT.json, "
    "or its .json file), Pascal VOC (the folder of a year, or images with XML files), WebDataset "
    "(.tar), a folder with a folder of images per label, or with metadata.csv, metadata.jsonl, "
    "_classes.csv or _annotations.coco.json, and what Hugging Face's save_to_disk wrote; "
    "PATH:SPLIT is a part of a divided folder"
)
"""All formats in a sentence; docs/data.md describes each."""

FILE_READERS: dict[str, Callable[[Path], Listing]] = {
    ".csv": list_csv,
    ".tsv": list_csv,
    ".jsonl": list_json_lines,
    ".json": list_coco_json,
    ".tar": lambda path: list_shards(str(path), [path]),
}

FOLDER_READERS: dict[str, Callable[[Path], Listing]] = {
    "metadata.csv": list_csv,
    "metadata.jsonl": list_json_lines,
    "_classes.csv": list_csv,
    ROBOFLOW: list_coco_json,
}
"""Files that list the images of their folder."""

NO_LABELS = frozenset(
    ("images", "image", "imgs", "img", "jpegimages", "annotations", "annotation", "labels", "masks")
)
SPLITS = frozenset(
    ("train", "training", "val", "valid", "validation", "test", "testing", "trainval")
)
"""Names of folders, in lower case, that stand for parts of a data set and not for labels."""


def read_dataset(
    spec: str | Path,
    labels: Sequence[str] | None = None,
    *,
    difficult: Difficult = "ignore",
    without_labels: WithoutLabels = "keep",
    missing: Missing = "refuse",
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
    without_labels: WithoutLabels = "keep",
    missing: Missing = "refuse",
) -> Table:
    """Read one or several data sets, of any `FORMATS`, as one table.

    Args:
        specs: Of each, ``PATH`` or ``PATH:SPLIT``.
        labels: The labels that may occur, in order, for example a model's. None: those of the data
            sets: where a format has an order of them, in that order, then others alphabetically.
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
    if not os.path.isfile(path):
        raise DataError(f"{path}: not a regular file; save the data in one")
    reader = FILE_READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: a file of an unknown format; known are {FORMATS}")
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
    try:
        inside = sorted(item for item in path.iterdir() if not item.name.startswith("."))
    except OSError as error:
        raise DataError(f"{path}: the folder cannot be read ({error.strerror})") from error
    splits = coco_splits(path)
    if split not in splits and (voc := find_voc(path)):
        return list_voc(voc, split, difficult)
    if splits:
        return list_coco(path, split)
    if is_saved(path):
        return list_saved(path, split)
    folders = [item for item in inside if item.is_dir()]
    if split:
        if path / split not in folders:
            raise split_error(path, split, [folder.name for folder in folders])
        return _list_folder(path / split, None, difficult)
    for name, reader in FOLDER_READERS.items():
        if path / name in inside:
            return reader(path / name)
    if xml := find_xml(path):
        return list_xml(path, xml, difficult)
    if shards := [item for item in inside if item.suffix == ".tar"]:
        return list_shards(str(path), shards)
    # Beside a file that lists them, folders of images are no labels.
    listed = any(item.suffix in (".csv", ".tsv", ".jsonl") for item in inside)
    if not listed and (listing := list_label_folders(path, folders)).entries:
        return listing
    found = [item.name + "/" * item.is_dir() for item in inside]
    raise DataError(
        f"{path}: a folder of an unknown format, with {first_few(found) or 'nothing'} in it; known "
        f"are {FORMATS}"
    )


def list_label_folders(path: Path, folders: Sequence[Path]) -> Listing:
    """Images that have one label, the name of the folder that they are in.

    An image that is in two folders is two images. Folders without images are no labels. What is in
    the folders and passed over is told.

    Raises:
        DataError: A folder is called as a part of a data set is, and not as a label.
    """
    contents = {folder: list_folder(folder) for folder in folders}
    _check_names(path, [folder for folder, content in contents.items() if content.images])
    entries = [
        Entry(str(folder), image, frozenset([folder.name]))
        for folder, content in contents.items()
        for image in content.images
    ]
    beside = list_folder(path)
    whole = merge_contents(contents.values())
    problems = list(problems_of(whole.passed_over, path))
    if beside.images and entries:
        alone = first_few([image.name for image in beside.images], 3)
        problems.append(
            f"{path}: {counted(len(beside.images), 'image')} passed over beside the folders of "
            f"labels: {alone}"
        )
    empty = [
        folder.name
        for folder, content in contents.items()
        if not content.images and any(of.is_problem for of in content.passed_over)
    ]
    if empty:
        problems.append(
            f"{path}: {counted(len(empty), 'folder')} without an image that can be read directly "
            f"in it, so no label: {first_few(empty)}"
        )
    return Listing(
        str(path),
        entries,
        folder=path,
        links_differ=True,
        notes=notes_of(whole.passed_over, path),
        problems=tuple(problems),
    )


def _check_names(path: Path, folders: Sequence[Path]) -> None:
    """Refuse folders of images whose names are not those of labels."""
    of_images = [folder.name for folder in folders if folder.name.lower() in NO_LABELS]
    of_splits = [folder.name for folder in folders if folder.name.lower() in SPLITS]
    # 'train' beside 'bus' is a label; 'train' alone or beside 'val' is a part of the data.
    if of_images or len(of_splits) > 1 or (of_splits and len(of_splits) == len(folders)):
        name = (of_images or of_splits)[0]
        raise DataError(
            f"{path}: its folder {name!r} holds images, and its name is not taken for a label; "
            "list the images and their labels in a CSV file, or name the folder after a label. "
            f"Known formats are {FORMATS}"
        )
