"""Data sets that Hugging Face's ``datasets`` has saved with ``save_to_disk``."""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from didvit.data.formats.rows import parse_json
from didvit.data.images import ImageError, content_of
from didvit.data.table import DataError, Entry, Listing, split_error

if TYPE_CHECKING:
    from datasets import Dataset, Features


@dataclass(frozen=True)
class ArrowRow:
    """An image in a row of a saved data set; a `StoredImage`.

    Attributes:
        folder: Of the data set, or of one split.
        column: Where its images are.
        row: From 0.
    """

    folder: Path
    column: str
    row: int

    @property
    def name(self) -> str:
        """The path of the folder and the number of the row."""
        return f"{self.folder}:{self.row}"

    def __str__(self) -> str:
        return self.name

    def resolve(self) -> "ArrowRow":
        """The same in the resolved folder."""
        return replace(self, folder=self.folder.resolve())

    def read(self) -> bytes:
        """The bytes of the image file."""
        image = _images(self.folder, self.column)[self.row][self.column]
        if not image or (image["bytes"] is None and not image["path"]):
            raise ImageError(f"{self}: row {self.row} has no image in its column {self.column!r}")
        # Without bytes, it is a file that was not taken into the data set.
        return content_of(image["path"]) if image["bytes"] is None else image["bytes"]


@lru_cache(maxsize=8)  # for every process that reads images
def _images(folder: Path, column: str) -> "Dataset":
    """The images of a data set, not decoded."""
    from datasets import Image

    return _load(folder).select_columns([column]).cast_column(column, Image(decode=False))


def _load(folder: Path) -> "Dataset":
    try:
        from datasets import Dataset
    except ImportError as error:
        raise DataError(
            f"{folder}: reading a saved data set needs Hugging Face's datasets; "
            "install it with: pip install '.[hf]' in a clone of didvit"
        ) from error
    try:
        return Dataset.load_from_disk(folder).with_format(None)
    # Arrow and datasets raise errors of many kinds at damaged files.
    except Exception as error:
        raise DataError(f"{folder}: cannot be read as a saved data set ({error})") from error


def is_saved(folder: Path) -> bool:
    """Whether the folder was written by ``save_to_disk``, of a data set or a dict of splits."""
    return any((folder / name).is_file() for name in ("state.json", "dataset_dict.json"))


def list_saved(folder: Path, split: str | None) -> Listing:
    """The rows of a saved data set, or of a split of a saved dict of them.

    One column is of images. The labels are in the column ``labels`` or ``label``, or else the only
    one that can be: a class, a list of classes, or a list of strings. Classes are labels even where
    no image is of them; class -1, or none, leaves every label of the image unknown.

    Raises:
        DataError: There is no such split, a column cannot be told, or ``datasets`` is missing.
    """
    if (folder / "dataset_dict.json").is_file():
        path = folder / "dataset_dict.json"
        splits = parse_json(str(path), path.read_bytes()).get("splits", ())
        if split is None or split not in splits:
            raise split_error(folder, split, splits)
        return list_saved(folder / split, None)
    if split:
        raise split_error(folder, split, ())
    state = folder / "state.json"
    no_file = (
        state.is_file() and parse_json(str(state), state.read_bytes()).get("_data_files") == []
    )
    # The library cannot load a data set without a file of rows.
    if no_file or not len(dataset := _load(folder)):
        raise DataError(f"{folder}: the data set has no row")
    image_column, label_column = _columns(folder, dataset.features)
    kind = dataset.features[label_column]
    kind = getattr(kind, "feature", kind)  # of the items, where it is a list
    names = tuple(getattr(kind, "names", ()))
    entries = []
    for row, value in enumerate(dataset.select_columns([label_column])[:][label_column]):
        image = ArrowRow(folder, image_column, row)
        if names and value in (None, -1):
            entries.append(Entry(image.name, image, frozenset(), frozenset(names)))
            continue
        items = value if isinstance(value, list) else [value]
        try:
            present = {kind.int2str(item) if names else item.strip() for item in items} - {""}
        except (ValueError, TypeError, AttributeError) as error:
            raise DataError(
                f"{image.name}: expected labels in column {label_column!r}, got {value!r}"
            ) from error
        entries.append(Entry(image.name, image, frozenset(present)))
    return Listing(str(folder), entries, names, ordered=True)


def _columns(folder: Path, features: "Features") -> tuple[str, str]:
    """The columns of the images and of the labels."""
    from datasets import ClassLabel, Image, Value

    def can_be_labels(feature: Any) -> bool:
        item = getattr(feature, "feature", None)
        is_text = isinstance(item, Value) and item.dtype in ("string", "large_string")
        return is_text or isinstance(item or feature, ClassLabel)

    images = [column for column, feature in features.items() if isinstance(feature, Image)]
    labels = [column for column, feature in features.items() if can_be_labels(feature)]
    chosen = []
    for found, names, expected in (
        (images, ("image",), "images, of an Image feature"),
        (labels, ("labels", "label"), "labels, of a ClassLabel, a list of them, or one of strings"),
    ):
        found = [name for name in names if name in found] or found
        if not found or (len(found) > 1 and found[0] not in names):
            raise DataError(
                f"{folder}: expected one column of {expected}, named {' or '.join(names)} if there "
                f"are several; got {', '.join(f'{k}: {v}' for k, v in features.items())}"
            )
        chosen.append(found[0])
    return chosen[0], chosen[1]
