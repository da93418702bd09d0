"""WebDataset shards: tar files in which files of one name, but for the suffix, are one sample."""

import re
import tarfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from didvit.data.rows import labels_in_json, parse_json, split_labels
from didvit.data.table import DataError, Entry, Listing

IMAGE_KINDS = ("jpg", "jpeg", "png", "webp")
LABEL_KINDS = ("json", "cls", "txt")
RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


@dataclass(frozen=True)
class TarMember:
    """An image in a tar file that is not compressed; a `StoredImage`.

    Attributes:
        shard: The tar file.
        member: What the image is called in it.
        offset: Where its bytes begin.
        size: How many they are.
    """

    shard: Path
    member: str
    offset: int
    size: int

    @property
    def name(self) -> str:
        """The path of the shard and the name in it."""
        return f"{self.shard}:{self.member}"

    def __str__(self) -> str:
        return self.name

    def resolve(self) -> "TarMember":
        """The same in the resolved shard."""
        return replace(self, shard=self.shard.resolve())

    def read(self) -> bytes:
        """The bytes of the image file."""
        with self.shard.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


def expand(pattern: str) -> list[Path]:
    """The paths of a pattern with ranges in braces; a path without any is itself.

    >>> [path.name for path in expand("train-{08..10}.tar")]
    ['train-08.tar', 'train-09.tar', 'train-10.tar']
    """
    fixed, ranges = RANGE.split(pattern)[::3], RANGE.findall(pattern)
    numbers = [
        [f"{number:0{len(first)}}" for number in range(int(first), int(last) + 1)]
        for first, last in ranges
    ]
    return [
        Path("".join(text for pair in zip(fixed, (*choice, ""), strict=True) for text in pair))
        for choice in product(*numbers)
    ]


def list_shards(name: str, paths: Sequence[Path]) -> Listing:
    """The samples of all shards that have an image.

    Labels are the ``labels`` (and perhaps ``unknown``) of its ``.json``, lists of strings; or,
    where there are none, its ``.cls`` or ``.txt``, with a label a line or vertical bars between.

    Args:
        name: For messages.
        paths: The tar files; none of them compressed.

    Raises:
        DataError: A file is missing or damaged, or an image has no labels beside it or a twin.
    """
    return Listing(name, [entry for path in paths for entry in _entries(path)])


def _entries(path: Path) -> list[Entry]:
    images: dict[str, TarMember] = {}
    texts: dict[str, dict[str, bytes]] = defaultdict(dict)  # sample -> kind -> content
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                folder, _, file = member.name.rpartition("/")
                stem, _, kind = file.partition(".")
                sample, kind = f"{folder}/{stem}", kind.lower()
                if not member.isreg() or not stem:
                    continue
                if kind in IMAGE_KINDS:
                    if sample in images:
                        raise DataError(
                            f"{path}: {images[sample].member} and {member.name} are images of one "
                            "sample; name samples differently before the first dot"
                        )
                    images[sample] = TarMember(path, member.name, member.offset_data, member.size)
                elif kind in LABEL_KINDS and (content := tar.extractfile(member)):
                    texts[sample][kind] = content.read()
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file") from error
    except (tarfile.TarError, OSError) as error:
        raise DataError(f"{path}: cannot be read as an uncompressed tar file ({error})") from error
    return [
        Entry(image.name, image, *_labels(image.name, texts[sample]))
        for sample, image in images.items()
    ]


def _labels(where: str, texts: dict[str, bytes]) -> tuple[frozenset[str], frozenset[str]]:
    if "json" in texts:
        value = parse_json(f"{where}: its .json", texts["json"])
        # Tools that make shards put whatever they know of the image there.
        if "labels" in value or len(texts) == 1:
            return labels_in_json(f"{where}: its .json", value)
    for kind in ("cls", "txt"):
        if kind in texts:
            try:
                return split_labels(texts[kind].decode()), frozenset()
            except UnicodeDecodeError as error:
                raise DataError(f"{where}: its .{kind} is not text in UTF-8 ({error})") from error
    raise DataError(f"{where}: there is no .json, .cls or .txt with its labels beside it")
