"""From the paths that a user names to image files, and from those to the pictures made of them."""

import glob
from collections.abc import Iterable
from pathlib import Path

from didvit.config import ConfigError
from didvit.data.images import IMAGE_SUFFIXES, ImageError


def find_images(paths: Iterable[str | Path], leave_out: Path | None = None) -> list[Path]:
    """The image files that files, folders and globs stand for, in order, each once.

    A folder stands for the images in it and below it, sorted, hidden ones left out. A path that
    does not exist is kept, for the reader to report.

    Args:
        paths: Files, folders and globs.
        leave_out: A folder whose images no other folder stands for: that of the pictures made.

    Raises:
        ImageError: A folder has no images, a glob matches nothing, or a path is impossible.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if not str(path):
            raise ImageError("a path is empty; expected a file, a folder or a glob")
        found |= dict.fromkeys(_expand(Path(path), leave_out and leave_out.resolve()))
    return list(found)


def picture_names(images: Iterable[Path], folder: Path) -> dict[str, Path]:
    """Where the picture of each image goes: ``folder/NAME.jpg``, numbered where names collide.

    Raises:
        ConfigError: An image lies in the folder itself: a picture could take its place.
    """
    taken: set[str] = set()
    names: dict[str, Path] = {}
    for image in images:
        if folder.exists() and image.parent.exists() and folder.samefile(image.parent):
            raise ConfigError(
                f"output {folder} is the folder of the image {image.name}, which a picture could "
                "overwrite; choose another folder"
            )
        stem = image.stem[:100]  # long names leave no room for a number
        name, number = stem, 1
        while name.lower() in taken:  # some file systems do not tell upper from lower case
            number += 1
            name = f"{stem}-{number}"
        taken.add(name.lower())
        names[str(image)] = folder / f"{name}.jpg"
    return names


def _expand(path: Path, leave_out: Path | None) -> list[Path]:
    try:
        exists, is_folder = path.exists(), path.is_dir()
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}") from error
    if is_folder:
        images = sorted(
            file
            for file in path.rglob("*")
            if file.suffix.lower() in IMAGE_SUFFIXES
            and file.is_file()
            and not any(part.startswith(".") for part in file.relative_to(path).parts)
            and leave_out not in file.resolve().parents
        )
        if not images:
            raise ImageError(
                f"{path}: there are no images in this folder ({' '.join(sorted(IMAGE_SUFFIXES))})"
            )
        return images
    if not exists and glob.has_magic(str(path)):
        matches = sorted(Path(match) for match in glob.glob(str(path), recursive=True))
        images = [file for match in matches for file in ([match] if match.is_file() else [])]
        if not images:
            more = "; folders do, which are read by their own names" if matches else ""
            raise ImageError(f"{path}: no file matches{more}")
        return images
    return [path]
