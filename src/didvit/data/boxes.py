"""Where objects are, by data sets that tell: for measuring boxes, never for learning.

Pascal VOC's ``difficult`` objects and COCO's crowds (``iscrowd``) are left out as if they were not
there, and so is an object whose box is empty (COCO has some).
"""

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from didvit.data.datasets import parse_spec
from didvit.data.formats.coco import coco_splits, find_instances, image_folder, open_instances
from didvit.data.formats.voc import LABELS as VOC_LABELS
from didvit.data.formats.voc import find_list, find_voc, read_list
from didvit.data.formats.xml import read_annotation
from didvit.data.table import DataError, split_error
from didvit.data.wording import first_few

Box = tuple[float, float, float, float]

VOC_SIZE = ("size/height", "size/width")
VOC_BOX = tuple(f"bndbox/{side}" for side in ("xmin", "ymin", "xmax", "ymax"))

COCO_NAMES = {
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}
"""VOC's labels that COCO calls otherwise."""


@dataclass(frozen=True)
class AnnotatedImage:
    """An image and its objects, of which there is at least one.

    Attributes:
        image: The file.
        size: Height and width that the boxes refer to.
        boxes: ``[x0, y0, x1, y1)`` of every object, in pixels of the upright image.
        labels: The index of every object's label.
    """

    image: Path
    size: tuple[int, int]
    boxes: tuple[Box, ...]
    labels: tuple[int, ...]

    @property
    def present(self) -> tuple[int, ...]:
        """Indices of the labels that the image has, ascending."""
        return tuple(sorted(set(self.labels)))


def read_boxes(spec: str | Path, labels: tuple[str, ...]) -> tuple[AnnotatedImage, ...]:
    """The objects of a data set that have one of the given labels.

    A label may be called as in VOC or as in COCO, whichever of them the data set is. Labels that
    the data set does not know have no box.

    Args:
        spec: ``PATH:SPLIT`` of Pascal VOC or COCO, or COCO's file of instances.
        labels: A model's.

    Returns:
        The images that have such an object, in the order of the data set.

    Raises:
        DataError: The data set is of another format, has no such split, is damaged, knows none of
            the labels, or has no object of them.
    """
    path, split = parse_spec(spec)
    if path.is_dir() and (year := find_voc(path)):
        images = _read_voc(year, split, labels)
    elif path.is_dir() and coco_splits(path):
        images = _read_coco(find_instances(path, split), labels)
    elif path.is_file() and path.suffix.lower() == ".json":
        if split:
            raise split_error(path, split, ())
        images = _read_coco(path, labels)
    else:
        raise DataError(
            f"{path}: boxes are read of Pascal VOC, as VOCdevkit/VOC2007:test, and of COCO, as "
            "coco:val2017 or a file instances_val2017.json; there is neither"
        )
    images = tuple(image for image in images if image.boxes)
    if not images:
        raise DataError(f"{spec}: no image has an object of the labels {first_few(labels)}")
    return images


def _columns(known: tuple[str, ...], labels: tuple[str, ...], path: Path) -> dict[str, int]:
    """Of every label of the data set that is among the labels, its index there."""
    index = {COCO_NAMES.get(label, label): i for i, label in enumerate(labels)}
    index |= {label: i for i, label in enumerate(labels)}  # of two names, the very one
    found = {label: index.get(label, index.get(COCO_NAMES.get(label, label))) for label in known}
    columns = {label: i for label, i in found.items() if i is not None}
    if not columns:
        raise DataError(
            f"{path}: none of its labels ({first_few(known)}) is among the labels to look for "
            f"({first_few(labels)}); use data that has some of them"
        )
    return columns


def _read_voc(year: Path, split: str | None, labels: tuple[str, ...]) -> list[AnnotatedImage]:
    names = [name for _, name in read_list(find_list(year, split))]
    paths = [year / "Annotations" / f"{name}.xml" for name in names]
    annotations = [read_annotation(path) for path in paths]
    own = {item.label for _, objects in annotations for item in objects}.difference(VOC_LABELS)
    columns = _columns((*VOC_LABELS, *sorted(own)), labels, year)
    images = []
    for name, path, (annotation, annotated) in zip(names, paths, annotations, strict=True):
        objects = [
            (_voc_box(element, path), columns[label])
            for label, is_difficult, element in annotated
            if label in columns and not is_difficult
        ]
        height, width = _numbers(annotation, VOC_SIZE, path)
        image = year / "JPEGImages" / f"{name}.jpg"
        images.append(_annotated(image, (int(height), int(width)), objects))
    return images


def _voc_box(element: ElementTree.Element, path: Path) -> Box:
    """VOC counts pixels from 1, and the last one belongs to the box."""
    x0, y0, x1, y1 = _numbers(element, VOC_BOX, path)
    return x0 - 1, y0 - 1, x1, y1


def _numbers(element: ElementTree.Element, names: tuple[str, ...], path: Path) -> list[float]:
    try:
        return [float(element.findtext(name, "")) for name in names]
    except ValueError as error:
        raise DataError(f"{path}: expected a number in each of {', '.join(names)}") from error


def _read_coco(path: Path, labels: tuple[str, ...]) -> list[AnnotatedImage]:
    with open_instances(path) as content:
        objects: dict[int | str, list[tuple[Box, int]]] = {image: [] for image in content.images}
        columns = _columns(tuple(content.categories.values()), labels, path)
        for item in content.annotations:
            column = columns.get(content.categories[item["category_id"]])
            if column is not None and not item.get("iscrowd", 0):
                x, y, width, height = map(float, item["bbox"])
                objects[item["image_id"]].append(((x, y, x + width, y + height), column))
        names = [item["file_name"] for item in content.images.values()]
        folder, _ = image_folder(path, names)
        return [
            _annotated(folder / item["file_name"], (item["height"], item["width"]), objects[image])
            for image, item in content.images.items()
        ]


def _annotated(
    image: Path, size: tuple[int, int], objects: list[tuple[Box, int]]
) -> AnnotatedImage:
    full = [(box, label) for box, label in objects if box[0] < box[2] and box[1] < box[3]]
    return AnnotatedImage(
        image, size, tuple(box for box, _ in full), tuple(label for _, label in full)
    )
