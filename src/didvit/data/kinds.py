"""Kinds of files: which ones of a folder are images, and which images cannot be read and why."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from didvit.data.wording import counted, first_few

HEIF_SUFFIXES = frozenset((".heic", ".heif", ".hif"))
"""Photographs of telephones, which Pillow reads with the help of ``pillow-heif``."""

IMAGE_SUFFIXES = HEIF_SUFFIXES.union(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".avif", ".gif"),
    (".tif", ".tiff", ".bmp", ".dib", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    (".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".tga", ".qoi", ".pcx", ".sgi", ".ras"),
)
"""Files of a folder that count as images, beside those without a suffix that are images."""

RAW_SUFFIXES = frozenset(
    [
        *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".kdc"),
        *(".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl"),
        *(".sr2", ".srf", ".srw", ".x3f"),
    ]
)
"""What cameras write before an image is developed. Pillow would read the thumbnail in some."""

OTHER_IMAGE_SUFFIXES = frozenset(
    [
        *(".ai", ".avifs", ".dcm", ".djvu", ".eps", ".exr", ".fits", ".hdr", ".heics", ".heifs"),
        *(".icns", ".ico", ".jls", ".jxl", ".jxr", ".nii", ".psd", ".svg", ".svs", ".wdp"),
        *(".wmf", ".xcf"),
    ]
)
"""Images of kinds that are not read."""

HEIF_MEND = "install pillow-heif: pip install '.[heif]' in a clone of didvit"
RAW_MEND = "develop them into JPEG or TIFF"
OTHER_MEND = "convert them to JPEG or PNG"

SIGNATURES = (
    *(b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*"),
    *(b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51", b"qoif"),
)
"""How the files of some kinds begin."""

BRANDS = (b"avif", b"avis", b"heic", b"heix", b"hevc", b"mif1", b"msf1")
"""Of AVIF and HEIF, behind ``ftyp``."""


class PassedOver(NamedTuple):
    """Files and folders that are not read, for one reason.

    Attributes:
        reason: What they are, and how they could be read.
        paths: All of them.
        is_problem: They are images, or may hold some.
    """

    reason: str
    paths: tuple[Path, ...]
    is_problem: bool = True

    def __str__(self) -> str:
        kinds = Counter(path.suffix.lower() for path in self.paths)
        of_kinds = ", ".join(f"{number} {kind}" for kind, number in kinds.items() if kind)
        names = first_few([Path(*path.parts[-2:]) for path in self.paths], 3)
        what = f"{counted(len(self.paths), 'file')}{f' ({of_kinds})' if of_kinds else ''}"
        return f"{what} passed over, such as {names}: {self.reason}"


class FolderContent(NamedTuple):
    """What a folder holds.

    Attributes:
        images: Files that are to be read as images, sorted.
        passed_over: The others, but for hidden ones.
    """

    images: tuple[Path, ...]
    passed_over: tuple[PassedOver, ...] = ()


def merge_contents(contents: Iterable[FolderContent]) -> FolderContent:
    """What several folders hold, with one `PassedOver` per reason."""
    images: list[Path] = []
    by_reason: dict[tuple[str, bool], list[Path]] = defaultdict(list)
    for content in contents:
        images += content.images
        for reason, paths, is_problem in content.passed_over:
            by_reason[reason, is_problem] += paths
    passed_over = (PassedOver(reason, tuple(of), bad) for (reason, bad), of in by_reason.items())
    return FolderContent(tuple(images), tuple(passed_over))


def list_folder(folder: Path, *, below: bool = False) -> FolderContent:
    """The images in a folder, and what is passed over; hidden files and folders are left out.

    Images are told by their suffix; a file without one, by how it begins. A named pipe with the
    suffix of an image counts as one, for the reader to refuse.

    Args:
        folder: It exists.
        below: Whether the images of folders within the folder count too. Otherwise they are passed
            over.
    """
    try:
        with os.scandir(folder) as found:
            inside = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        reason = f"the folder cannot be read ({error.strerror})"
        return FolderContent((), (PassedOver(reason, (folder,)),))
    images: list[Path] = []
    others: dict[tuple[str, bool], list[Path]] = defaultdict(list)
    within: list[FolderContent] = []
    for entry in inside:
        path = Path(entry.path)
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if entry.is_symlink():  # it may lead back to a folder above
                others["links to folders; name those themselves", True].append(path)
            else:
                within.append(list_folder(path, below=True))
        elif is_image(path):
            images.append(path)
        else:
            others[_why_not(path)].append(path)
    inner = merge_contents(within)
    if below:
        images += inner.images
    elif inner.images:
        reason = "images in folders within; move them up, or list them in a file"
        others[reason, True] += inner.images
    passed_over = (PassedOver(reason, tuple(of), bad) for (reason, bad), of in others.items())
    own = FolderContent(tuple(sorted(images)), tuple(passed_over))
    return merge_contents((own, inner._replace(images=())))


def is_image(path: Path) -> bool:
    """Whether a file is to be read as an image: its suffix says so, or, without one, its start."""
    suffix = path.suffix.lower()
    if suffix in HEIF_SUFFIXES:
        return reads_heif()
    if suffix[1:].isdigit() or not suffix:
        return path.is_file() and begins_like_an_image(path)
    return suffix in IMAGE_SUFFIXES


def begins_like_an_image(path: Path) -> bool:
    """Whether the first bytes of a regular file are those of an image file."""
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError:
        return False
    is_webp = start[:4] == b"RIFF" and start[8:12] == b"WEBP"
    return start.startswith(SIGNATURES) or is_webp or is_heif_or_avif(start)


def is_heif_or_avif(start: bytes) -> bool:
    """Whether a file that begins so is of HEIF's family."""
    return start[4:8] == b"ftyp" and start[8:12] in BRANDS


def reads_heif() -> bool:
    """Whether ``pillow-heif`` is installed."""
    from importlib.util import find_spec

    return find_spec("pillow_heif") is not None


def _why_not(path: Path) -> tuple[str, bool]:
    """Why a file is passed over, and whether it is an image."""
    suffix = path.suffix.lower()
    if suffix in HEIF_SUFFIXES:
        return f"HEIF photographs; {HEIF_MEND}", True
    if suffix in RAW_SUFFIXES:
        return f"raw photographs of a camera; {RAW_MEND}", True
    if suffix in OTHER_IMAGE_SUFFIXES:
        return f"images of a kind that is not read; {OTHER_MEND}", True
    return "no images", False


def problems_of(passed_over: Iterable[PassedOver], where: Path) -> tuple[str, ...]:
    """Of files that are passed over, a sentence for every reason that is a problem."""
    return tuple(f"{where}: {of}" for of in passed_over if of.is_problem)


def notes_of(passed_over: Iterable[PassedOver], where: Path) -> tuple[str, ...]:
    """Of files that are passed over, a sentence for every reason that is none."""
    return tuple(f"{where}: {of}" for of in passed_over if not of.is_problem)
