"""Which image files a user's paths stand for, and where the picture made of each one goes."""

import glob
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from didvit.config import ConfigError
from didvit.data.images import ImageError
from didvit.data.kinds import IMAGE_SUFFIXES, FolderContent, PassedOver, list_folder, merge_contents

PICTURE_MARK = "a picture by didvit predict"
"""Comment in the JPEG files that are made, by which they are told from photographs."""


class FoundImages(NamedTuple):
    """What paths stand for.

    Attributes:
        images: Image files in order, each once. One that does not exist is kept, for the reader to
            report.
        base: The folder that all of them are in or below.
        passed_over: Files and folders of the folders that are not read.
        pictures: Files in the output folder, which are left out.
        failures: For each path that stands for nothing, the path and why.
    """

    images: tuple[Path, ...]
    base: Path
    passed_over: tuple[PassedOver, ...]
    pictures: tuple[Path, ...]
    failures: dict[str, str]


class _Expanded(NamedTuple):
    """What one path stands for, and the folder that its images are below."""

    content: FolderContent
    base: Path
    searched: bool


def find_images(paths: Iterable[str | Path]) -> list[Path]:
    """The image files that files, folders and globs stand for, in order, each once.

    A folder stands for the images in it and below it, sorted, hidden ones left out.

    Raises:
        ImageError: A folder has no images, a glob matches nothing, or a path is impossible.
    """
    images: dict[Path, None] = {}
    for path in paths:
        images |= dict.fromkeys(_expand(path).content.images)
    return list(images)


def search(paths: Iterable[str | Path], output: Path | None = None) -> FoundImages:
    """`find_images` for a run: every path is tried, and earlier pictures are left out.

    Args:
        paths: Files, folders and globs.
        output: The folder for pictures. What a folder or a glob finds there is left out, and so
            are pictures of an earlier run that are named one by one.
    """
    images: dict[Path, None] = {}
    pictures: dict[Path, None] = {}
    failures: dict[str, str] = {}
    contents: list[FolderContent] = []
    bases: list[Path] = []
    for path in paths:
        try:
            expanded = _expand(path)
        except ImageError as error:
            failures[str(path)] = str(error)
            continue
        bases.append(expanded.base)
        for image in expanded.content.images:
            left_out = output and _is_left_out(image, output, expanded)
            (pictures if left_out else images)[image] = None
        contents.append(expanded.content)
    base = Path(os.path.commonpath(bases)) if bases else Path.cwd()
    passed_over = merge_contents(contents).passed_over
    return FoundImages(tuple(images), base, passed_over, tuple(pictures), failures)


def picture_names(images: Sequence[Path], base: Path, output: Path) -> dict[Path, Path]:
    """Where the picture of each image goes: its own path below ``base``, below ``output``.

    Names of one folder that collide are numbered.

    Raises:
        ConfigError: A picture would lie in a folder of the images, and could replace one.
    """
    folders = {_true_path(image.parent): image for image in images}
    taken: set[Path] = set()
    names: dict[Path, Path] = {}
    for image in images:
        folder = output / Path(os.path.abspath(image)).parent.relative_to(base)
        if (there := folders.get(_true_path(folder))) is not None:
            raise ConfigError(
                f"--output {output}: pictures would lie among the photographs, in the folder of "
                f"{there}, and could replace them; choose a folder of their own, such as "
                f"--output {output / 'pictures'}"
            )
        stem = image.stem[:100]  # long names leave no room for a number
        picture, number = folder / f"{stem}.jpg", 1
        while _folded(picture) in taken:
            number += 1
            picture = folder / f"{stem}-{number}.jpg"
        taken.add(_folded(picture))
        names[image] = picture
    return names


def check_pictures(pictures: Mapping[Path, Path], overwrite: bool) -> None:
    """Refuse to replace pictures unasked, and ever to replace what is none of ours.

    Raises:
        ConfigError: Names the first file that is in the way.
    """
    existing = [path for path in pictures.values() if path.exists()]
    strange = [path for path in existing if not is_own_picture(path)]
    if strange:
        raise ConfigError(
            f"--output: {strange[0]} exists, and is no picture that 'didvit predict' made; choose "
            "another folder"
        )
    if existing and not overwrite:
        raise ConfigError(
            f"--output: {len(existing)} of the pictures exist, such as {existing[0]}; choose "
            "another folder, or replace them with --overwrite"
        )


def is_own_picture(path: Path) -> bool:
    """Whether ``didvit predict`` made this file, by the comment in it."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return PICTURE_MARK.encode() in file.read(4096)


def _expand(path: str | Path) -> _Expanded:
    if not str(path):
        raise ImageError("a path is empty; expected a file, a folder or a glob")
    path = Path(path)
    try:
        exists, is_folder = path.exists(), path.is_dir()
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}") from error
    absolute = Path(os.path.abspath(path))
    if is_folder:
        content = list_folder(path, below=True)
        if not content.images:
            raise ImageError(f"{path}: {_why_empty(content)}")
        return _Expanded(content, absolute, True)
    if exists or not glob.has_magic(str(path)):
        return _Expanded(FolderContent((path,)), absolute.parent, False)
    matches = sorted(Path(match) for match in glob.glob(str(path), recursive=True))
    images = tuple(match for match in matches if match.is_file())
    if not images:
        more = "; folders do, which are read by their own names" if matches else ""
        raise ImageError(f"{path}: no file matches{more}")
    fixed = next(parent for parent in absolute.parents if not glob.has_magic(str(parent)))
    return _Expanded(FolderContent(images), fixed, True)


def _why_empty(content: FolderContent) -> str:
    problems = [str(of) for of in content.passed_over if of.is_problem]
    kinds = " ".join(sorted(IMAGE_SUFFIXES))
    return "; ".join(["there are no images in this folder", *problems]) + f" ({kinds})"


def _true_path(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _folded(path: Path) -> Path:
    """A name by which file systems that do not tell upper from lower case know a file."""
    return path.with_name(path.name.lower())


def _is_left_out(image: Path, output: Path, found: _Expanded) -> bool:
    """Whether an image lies in the output folder, and is no photograph that the user means."""
    output = _true_path(output)
    if output not in _true_path(image).parents:
        return False
    is_within = found.searched and _true_path(found.base) in output.parents
    return is_within or is_own_picture(image)
