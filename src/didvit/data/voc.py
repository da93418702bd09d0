"""The Pascal VOC challenges in their official layout: ``VOCdevkit/VOC2007``, ``VOCdevkit/VOC2012``.

Whether an image has a label is told by lists, ``ImageSets/Main/CLASS_SPLIT.txt``, of lines ``IMAGE
1``, ``-1`` (absent) or ``0`` (only objects that are difficult to recognize); or, where there are no
lists, follows from the objects in ``Annotations/IMAGE.xml``.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

from didvit.data.table import DataError, Entry, Listing, split_error

LABELS = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
"""The 20 classes of 2007 and later, in the official order."""

Difficult = Literal["ignore", "positive", "negative"]
"""What a label is to an image that has difficult objects of it alone: unknown, present, absent."""

State = Literal["present", "absent", "difficult", "unknown"]
POLICY: dict[Difficult, State] = {
    "ignore": "unknown",
    "positive": "present",
    "negative": "absent",
}
MARKS: dict[str, State] = {"1": "present", "-1": "absent", "0": "difficult"}


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


def list_voc(folder: Path, split: str | None, difficult: Difficult = "ignore") -> Listing:
    """The images of a split, with the 20 `LABELS`.

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
    states_of_images = _states(folder, path.stem, [image for _, image in lines])
    meaning: dict[State, State] = {"difficult": POLICY[difficult]}
    entries = []
    for (where, image), states in zip(lines, states_of_images, strict=True):
        final = {label: meaning.get(state, state) for label, state in states.items()}
        present, unknown = (
            frozenset(label for label in LABELS if final[label] == state)
            for state in ("present", "unknown")
        )
        entries.append(Entry(where, folder / "JPEGImages" / f"{image}.jpg", present, unknown))
    name = f"{folder}:{split}"
    return Listing(name, entries, LABELS, ordered=True, folder=folder / "JPEGImages")


def find_list(folder: Path, split: str | None) -> Path:
    """The list of the images of a split.

    Raises:
        DataError: There is no such split.
    """
    main = folder / "ImageSets" / "Main"
    of_classes = tuple(f"{label}_" for label in LABELS)
    splits = sorted(p.stem for p in main.glob("*.txt") if not p.stem.startswith(of_classes))
    if split not in splits:
        raise split_error(folder, split, splits)
    return main / f"{split}.txt"


def read_list(path: Path) -> list[tuple[str, str]]:
    """(where, name without suffix) of every image of a list."""
    return [(where, words[0]) for where, words in _lines(path)]


def _states(folder: Path, split: str, images: list[str]) -> list[dict[str, State]]:
    """Of every image, the state of every label."""
    lists = [folder / "ImageSets" / "Main" / f"{label}_{split}.txt" for label in LABELS]
    annotations = [folder / "Annotations" / f"{image}.xml" for image in images]
    if all(path.is_file() for path in lists):
        columns = [_read_marks(path, images) for path in lists]
        return [dict(zip(LABELS, row, strict=True)) for row in zip(*columns, strict=True)]
    if all(path.is_file() for path in annotations):
        return [_states_of(path) for path in annotations]
    if split == "test":
        # Annotations of some of its images are for the other tasks, and do not name every object.
        return [dict.fromkeys(LABELS, "unknown") for _ in images]
    missing = next(path for path in annotations if not path.is_file())
    raise DataError(
        f"{folder}: the labels of {split} are told by the lists CLASS_{split}.txt, of all 20 "
        f"classes, or by the annotations of all its images; there is no {missing}"
    )


def _lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    """(where, words) of every line that is not blank."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as a list of images ({error})") from error
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield f"{path}, line {number}", line.split()


def _read_marks(path: Path, images: list[str]) -> list[State]:
    states = {}
    for where, words in _lines(path):
        if len(words) != 2 or words[1] not in MARKS:
            raise DataError(f"{where}: expected an image and 1, -1 or 0, got {' '.join(words)!r}")
        states[words[0]] = MARKS[words[1]]
    missing = [image for image in images if image not in states]
    if missing:
        raise DataError(f"{path}: {len(missing)} images of the split lack, such as {missing[0]}")
    return [states[image] for image in images]


def _states_of(path: Path) -> dict[str, State]:
    states: dict[str, State] = dict.fromkeys(LABELS, "absent")
    for label, is_difficult, _ in read_annotation(path)[1]:
        if not is_difficult:
            states[label] = "present"
        elif states[label] == "absent":
            states[label] = "difficult"
    return states


def read_annotation(
    path: Path,
) -> tuple[ElementTree.Element, list[tuple[str, bool, ElementTree.Element]]]:
    """``Annotations/IMAGE.xml``; and of every object in it: label, whether difficult, element.

    Raises:
        DataError: It is not there, no XML, or has an object that is not of the 20 `LABELS`.
    """
    try:
        annotation = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, OSError) as error:
        raise DataError(f"{path}: cannot be read as XML ({error})") from error
    objects = []
    for item in annotation.findall("object"):
        label = item.findtext("name", "").strip()
        if label not in LABELS:
            raise DataError(
                f"{path}: the object {label!r} is not of one of VOC's 20 classes; bring data with "
                "labels of your own as a CSV file"
            )
        objects.append((label, item.findtext("difficult", "0").strip() == "1", item))
    return annotation, objects


def download_voc(root: Path, year: Literal["2007", "2012"], split: str) -> Path:
    """Have torchvision download the archive with a split to ``root``, unless it is there.

    Args:
        root: Receives the archive, some 0.5 to 2 GB, and ``VOCdevkit``.
        year: Of the challenge.
        split: train, val, trainval, or test of 2007; that of 2012 has to be asked of its server.

    Returns:
        The folder of the year, ``root/VOCdevkit/VOC2007``.

    Raises:
        DataError: It cannot be downloaded.
    """
    from torchvision.datasets import VOCDetection

    try:
        VOCDetection(root, year=year, image_set=split, download=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(
            f"VOC {year} {split} cannot be downloaded to {root} ({str(error).splitlines()[0]}); "
            "download it from host.robots.ox.ac.uk/pascal/VOC by other means and unpack it there"
        ) from error
    return root / "VOCdevkit" / f"VOC{year}"
