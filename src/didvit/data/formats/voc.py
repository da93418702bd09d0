"""The Pascal VOC challenges in their official layout: ``VOCdevkit/VOC2007``, ``VOCdevkit/VOC2012``.

Whether an image has a label is told by lists, ``ImageSets/Main/CLASS_SPLIT.txt``, of lines ``IMAGE
1``, ``-1`` (absent) or ``0`` (only objects that are difficult to recognize); or, where there are no
lists, follows from the objects in ``Annotations/IMAGE.xml``. Annotations may be of classes of one's
own; folders of images with such XML files need no lists.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

from didvit.data.choices import Difficult
from didvit.data.formats.xml import VocObject, read_annotation
from didvit.data.kinds import list_folder, problems_of
from didvit.data.table import DataError, Entry, Listing, split_error
from didvit.data.wording import counted, first_few, quoted

LABELS = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
"""The 20 classes of 2007 and later, in the official order."""

OFFICIAL_SPLITS = ("train", "val", "trainval", "test")

IMAGE_FOLDERS = ("images", "jpegimages", "image", "imgs", "img")
XML_FOLDERS = ("annotations", "annotation", "xml", "xmls", "labels", "label")
"""What tools call the folders of images and of their XML files, in lower case."""

State = Literal["present", "absent", "difficult", "unknown"]
POLICY: dict[Difficult, State] = {
    "ignore": "unknown",
    "positive": "present",
    "negative": "absent",
}
MARKS: dict[str, State] = {"1": "present", "-1": "absent", "0": "difficult"}


class XmlFolders(NamedTuple):
    """Where images and their XML files are; it may be the same folder."""

    images: Path
    annotations: Path


def find_voc(path: Path) -> Path | None:
    """The folder of a year: the path itself, or the only one in it; None where there is none.

    Raises:
        DataError: There are several years.
    """
    if (path / "ImageSets" / "Main").is_dir():
        return path
    years = sorted(main.parent.parent for main in path.glob("VOC*/ImageSets/Main"))
    if len(years) > 1:
        names = ", ".join(year.name for year in years)
        raise DataError(f"{path}: there are several years, {names}; name one, as in {years[0]}")
    return years[0] if years else None


def find_xml(path: Path) -> XmlFolders | None:
    """The folders of images and of XML files in a folder without lists; None where there are none.

    The XML files are in a folder beside that of the images, or beside the images themselves.
    """
    folders = {item.name.lower(): item for item in path.iterdir() if item.is_dir()}
    images = next((folders[name] for name in IMAGE_FOLDERS if name in folders), None)
    annotations = next(
        (
            folders[name]
            for name in XML_FOLDERS
            if name in folders and next(folders[name].glob("*.xml"), None)
        ),
        None,
    )
    if annotations:
        return XmlFolders(images or path, annotations)
    for folder in (images, path):
        if folder and next(folder.glob("*.xml"), None):
            return XmlFolders(folder, folder)
    return None


def list_voc(folder: Path, split: str | None, difficult: Difficult = "ignore") -> Listing:
    """The images of a split, with the 20 `LABELS`, or with those that the annotations name.

    Where neither lists nor annotations tell, as with the test data of 2012, whose labels are kept
    on the evaluation server, every label of every image is unknown.

    Args:
        folder: Of the year.
        split: For example ``trainval``.
        difficult: See `Difficult`; the official evaluation ignores such images.

    Raises:
        DataError: There is no such split, or its files are incomplete or damaged.
    """
    path = find_list(folder, split)
    lines = read_list(path)
    states = _states(folder, path.stem, [image for _, image in lines])
    file_of = _files(folder / "JPEGImages")
    images = [(where, file_of(image)) for where, image in lines]
    name = f"{folder}:{split}"
    own = {label for of_image in states for label in of_image}.difference(LABELS)
    entries = _entries(images, states, () if own else LABELS, difficult)
    if own:
        note = f"{name}: its labels are not VOC's 20, but those that its files name: "
        note += quoted(sorted({x for states_of in states for x in states_of}))
        return Listing(name, entries, folder=folder / "JPEGImages", notes=(note,))
    return Listing(name, entries, LABELS, ordered=True, folder=folder / "JPEGImages")


def list_xml(path: Path, folders: XmlFolders, difficult: Difficult = "ignore") -> Listing:
    """Images that have an XML file of their own, in VOC's form, and no lists.

    Args:
        path: For messages.
        folders: Where they are.
        difficult: See `Difficult`.

    Raises:
        DataError: An annotation is damaged.
    """
    annotations = sorted(folders.annotations.glob("*.xml"))
    content = list_folder(folders.images)
    file_of = _files(folders.images)
    images = [(str(path), file_of(path.stem)) for path in annotations]
    states = [_states_of(read_annotation(path)[1]) for path in annotations]
    annotated = {image for _, image in images}
    alone = [image.name for image in content.images if image not in annotated]
    problems = list(problems_of(content.passed_over, path))
    if alone:
        problems.append(
            f"{path}: {counted(len(alone), 'image')} without an XML file passed over: "
            f"{first_few(alone)}"
        )
    note = f"{path}: labels are read from {counted(len(annotations), 'XML file')} in VOC's form"
    return Listing(
        str(path),
        _entries(images, states, (), difficult),
        folder=folders.images,
        notes=(note,),
        problems=tuple(problems),
    )


def _entries(
    images: Sequence[tuple[str, Path]],
    states_of_images: Sequence[dict[str, State]],
    labels: Sequence[str],
    difficult: Difficult,
) -> list[Entry]:
    entries = []
    for (where, image), states in zip(images, states_of_images, strict=True):
        final = {
            label: POLICY[difficult] if state == "difficult" else state
            for label, state in states.items()
        }
        present, unknown = (
            frozenset(label for label, value in final.items() if value == state)
            for state in ("present", "unknown")
        )
        entries.append(Entry(where, image, present, unknown))
    return entries


def _files(folder: Path) -> Callable[[str], Path]:
    """From the name of an image to its file: ``NAME.jpg``, else what there is with that stem."""

    @cache
    def others() -> dict[str, Path]:
        return {image.stem: image for image in list_folder(folder).images}

    def find(name: str) -> Path:
        path = folder / f"{name}.jpg"
        return path if path.is_file() else others().get(name, path)

    return find


def find_list(folder: Path, split: str | None) -> Path:
    """The list of the images of a split.

    Raises:
        DataError: There is no such split.
    """
    main = folder / "ImageSets" / "Main"
    splits = sorted({path.stem for path in main.glob("*.txt")}.difference(_class_lists(main)))
    if split not in splits:
        raise split_error(folder, split, splits)
    return main / f"{split}.txt"


def _class_lists(main: Path) -> dict[str, tuple[str, str]]:
    """Of the lists that are of one class: class and split, by the name of the list."""
    stems = {path.stem for path in main.glob("*.txt")}
    found = {}
    for stem in stems:
        for place in (i for i, character in enumerate(stem) if character == "_"):
            label, split = stem[:place], stem[place + 1 :]
            official = label in LABELS and split in OFFICIAL_SPLITS
            if official or (label and split in stems and _has_marks(main / f"{stem}.txt")):
                found[stem] = label, split
    return found


def _has_marks(path: Path) -> bool:
    """Whether the first line of a list ends with what an image is to a class."""
    _, line = next(_lines(path), ("", ""))
    return len(line.split()) > 1 and line.split()[-1] in MARKS


def read_list(path: Path) -> list[tuple[str, str]]:
    """(where, name without suffix) of every image of a list; a name may have spaces.

    Raises:
        DataError: It cannot be read, or a name leads out of the folder of images.
    """
    lines = list(_lines(path))
    for where, name in lines:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise DataError(f"{where}: expected the name of an image without suffix, got {name!r}")
    return lines


def _states(folder: Path, split: str, images: list[str]) -> list[dict[str, State]]:
    """Of every image, the state of labels; one that is not named is absent."""
    main = folder / "ImageSets" / "Main"
    lists = {
        label: main / f"{stem}.txt"
        for stem, (label, of) in sorted(_class_lists(main).items())
        if of == split
    }
    annotations = [folder / "Annotations" / f"{image}.xml" for image in images]
    annotated = all(path.is_file() for path in annotations)
    if lists.keys() >= set(LABELS) or (lists and not annotated and not lists.keys() & set(LABELS)):
        columns = [_read_marks(path, images) for path in lists.values()]
        return [dict(zip(lists, row, strict=True)) for row in zip(*columns, strict=True)]
    if annotated:
        return [_states_of(read_annotation(path)[1]) for path in annotations]
    if split == "test":
        # Annotations of some of its images are for the other tasks, and do not name every object.
        return [dict.fromkeys(LABELS, "unknown") for _ in images]
    missing = next(path for path in annotations if not path.is_file())
    spaces = next((name for name in images if " " in name), None)
    hint = f"; {missing.stem!r} is one name, with spaces" if spaces == missing.stem else ""
    raise DataError(
        f"{folder}: the labels of {split} are told by the lists CLASS_{split}.txt, of all 20 "
        f"classes, or by the annotations of all its images; there is no {missing}{hint}"
    )


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """(where, text) of every line that is not blank."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as a list of images ({error})") from error
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield f"{path}, line {number}", line.strip()


def _read_marks(path: Path, images: list[str]) -> list[State]:
    states: dict[str, State] = {}
    for where, line in _lines(path):
        words = line.rsplit(maxsplit=1)
        if len(words) != 2 or words[1] not in MARKS:
            raise DataError(f"{where}: expected an image and 1, -1 or 0, got {line!r}")
        if words[0] in states:
            raise DataError(f"{where}: the image {words[0]!r} is listed there twice")
        states[words[0]] = MARKS[words[1]]
    missing = [image for image in images if image not in states]
    if missing:
        raise DataError(
            f"{path}: {counted(len(missing), 'image')} of the split lack, such as {missing[0]!r}"
        )
    return [states[image] for image in images]


def _states_of(objects: Sequence[VocObject]) -> dict[str, State]:
    states: dict[str, State] = {}
    for label, is_difficult, _ in objects:
        if not is_difficult:
            states[label] = "present"
        else:
            states.setdefault(label, "difficult")
    return states
