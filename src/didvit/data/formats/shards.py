"""WebDataset shards: tar files in which files of one name, but for the suffix, are one sample."""

import math
import re
import tarfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import NamedTuple

from didvit.data.formats.cells import split_labels
from didvit.data.formats.rows import labels_in_json, parse_json
from didvit.data.kinds import HEIF_SUFFIXES, IMAGE_SUFFIXES, reads_heif
from didvit.data.table import DataError, Entry, Listing
from didvit.data.wording import counted, first_few

LABEL_KINDS = ("json", "cls", "txt")
MOST_SHARDS = 1_000_000
"""Files that a pattern may stand for; more are a slip of the keyboard."""

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


class _Shard(NamedTuple):
    """What a tar file holds.

    Attributes:
        samples: Files by sample and kind.
        links: Names of links, which are passed over.
        end: What is wrong with its end; None where nothing is.
    """

    samples: dict[str, dict[str, "TarMember | bytes"]]
    links: list[str]
    end: str | None


def expand(pattern: str) -> list[Path]:
    """The paths of a pattern with ranges in braces; a path without any is itself.

    >>> [path.name for path in expand("train-{08..10}.tar")]
    ['train-08.tar', 'train-09.tar', 'train-10.tar']

    Raises:
        DataError: There are more than `MOST_SHARDS`.
    """
    fixed, ranges = RANGE.split(pattern)[::3], RANGE.findall(pattern)
    number = math.prod(max(int(last) - int(first) + 1, 0) for first, last in ranges)
    if number > MOST_SHARDS:
        raise DataError(f"{pattern}: stands for {number:,} files; expected at most {MOST_SHARDS:,}")
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

    A sample is told by its name up to the first dot. Where that leaves it without an image, its
    name goes up to the last dot. Samples that still have labels and no image are counted among the
    problems.

    Args:
        name: For messages.
        paths: The tar files; none of them compressed.

    Raises:
        DataError: A file is missing or damaged, or an image has no labels beside it or a twin.
    """
    entries, dotted, bare, links, problems = [], [], [], [], []
    for path in paths:
        shard = _read(path)
        links += shard.links
        if shard.end:
            problems.append(f"{path}: {shard.end}")
        for sample, files in shard.samples.items():
            parts = {sample: files}
            if not _images(files) and any("." in kind for kind in files):
                parts = _up_to_the_last_dot(sample, files)
                dotted += [part for part, of in parts.items() if _images(of)]
            for part, of in parts.items():
                if images := _images(of):
                    entries.append(_entry(path, part, images, of))
                elif any(kind in LABEL_KINDS for kind in of) or any(map(_looks_like_image, of)):
                    bare.append(f"{part.removeprefix('/')}.{first_few(sorted(of), 3)}")
    notes = []
    if dotted:
        names = first_few([part.removeprefix("/") for part in dotted], 3)
        notes.append(
            f"{name}: {counted(len(dotted), 'sample')} with dots in their names are told apart at "
            f"the last dot: {names}"
        )
    known = "README", "readme", "LICENSE"
    bare = [one for one in bare if not one.startswith(known)]
    if bare:
        problems.append(
            f"{name}: {counted(len(bare), 'sample')} without an image that can be read, passed "
            f"over: {first_few(bare, 3)}"
        )
    if links:
        problems.append(
            f"{name}: {counted(len(links), 'link')} in tar files passed over: {first_few(links, 3)}"
        )
    return Listing(name, entries, notes=tuple(notes), problems=tuple(problems))


def _read(path: Path) -> _Shard:
    samples: dict[str, dict[str, TarMember | bytes]] = defaultdict(dict)
    links = []
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                folder, _, file = member.name.rpartition("/")
                stem, _, kind = file.partition(".")
                if not stem or member.isdir():  # hidden, as the metadata of a Macintosh are
                    continue
                if not member.isreg():
                    links.append(member.name)
                    continue
                files, kind = samples[f"{folder}/{stem}"], kind.lower()
                if kind in files:
                    raise DataError(f"{path}: {member.name} stands twice in it")
                content = None
                if kind.rpartition(".")[2] in LABEL_KINDS:
                    content = tar.extractfile(member)
                files[kind] = (
                    content.read()
                    if content
                    else TarMember(path, member.name, member.offset_data, member.size)
                )
            end = _fault_of_end(tar)
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file") from error
    except (tarfile.TarError, OSError) as error:
        mend = "; it is compressed: unpack it with gunzip" if _is_gzip(path) else ""
        raise DataError(
            f"{path}: cannot be read as an uncompressed tar file ({error}){mend}"
        ) from error
    return _Shard(samples, links, end)


def _is_gzip(path: Path) -> bool:
    """Whether a file begins as gzip's do."""
    try:
        with path.open("rb") as file:
            return file.read(2) == b"\x1f\x8b"
    except OSError:
        return False


def _fault_of_end(tar: tarfile.TarFile) -> str | None:
    """What is wrong behind the last member that was found; None where the file ends well.

    A tar file ends with blocks of zeros. What stands behind them, or instead of them, is not read.
    """
    file, place = tar.fileobj, tar.offset
    assert file is not None
    file.seek(place)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        return f"it is cut off or damaged at byte {place:,}, and what follows is not read"
    while chunk := file.read(2**20):
        if any(chunk):
            return "there is more behind its end, as where tar files were joined, and is not read"
    return None


def _up_to_the_last_dot(
    sample: str, files: dict[str, TarMember | bytes]
) -> dict[str, dict[str, TarMember | bytes]]:
    parts: dict[str, dict[str, TarMember | bytes]] = defaultdict(dict)
    for kind, content in files.items():
        middle, dot, last = kind.rpartition(".")
        parts[f"{sample}.{middle}" if dot else sample][last] = content
    return parts


def _images(files: dict[str, TarMember | bytes]) -> list[TarMember]:
    return [
        content
        for kind, content in files.items()
        if _is_image_kind(f".{kind}") and isinstance(content, TarMember)
    ]


def _is_image_kind(suffix: str) -> bool:
    return suffix in IMAGE_SUFFIXES and (suffix not in HEIF_SUFFIXES or reads_heif())


def _looks_like_image(kind: str) -> bool:
    return f".{kind.rpartition('.')[2]}" in IMAGE_SUFFIXES


def _entry(
    path: Path, sample: str, images: list[TarMember], files: dict[str, TarMember | bytes]
) -> Entry:
    if len(images) > 1:
        raise DataError(
            f"{path}: {images[0].member} and {images[1].member} are images of one sample; name "
            "samples differently before the first dot"
        )
    (image,) = images
    texts = {
        kind: content
        for kind, content in files.items()
        if kind in LABEL_KINDS and isinstance(content, bytes)
    }
    return Entry(image.name, image, *_labels(image.name, texts))


def _labels(where: str, texts: dict[str, bytes]) -> tuple[frozenset[str], frozenset[str]]:
    if "json" in texts:
        value = parse_json(f"{where}: its .json", texts["json"])
        # Tools that make shards put whatever they know of the image there.
        if "labels" in value or len(texts) == 1:
            return labels_in_json(f"{where}: its .json", value)
    for kind in ("cls", "txt"):
        if kind in texts:
            try:
                return split_labels(texts[kind].decode("utf-8-sig")), frozenset()
            except UnicodeDecodeError as error:
                raise DataError(f"{where}: its .{kind} is not text in UTF-8 ({error})") from error
    raise DataError(f"{where}: there is no .json, .cls or .txt with its labels beside it")
