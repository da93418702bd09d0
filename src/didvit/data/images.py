"""Images, from files of their own or out of larger ones, as upright RGB pixels."""

import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, Self

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from didvit.data.damage import (
    END_OF_CODESTREAM,
    JPEG_2000_STARTS,
    JPEG_START,
    ends_gray,
    lengthened,
    look_at_jpeg,
    without_png_metadata,
)
from didvit.data.kinds import HEIF_MEND, RAW_MEND, RAW_SUFFIXES, is_heif_or_avif
from didvit.data.pixels import ImageError, orientation_of, pixels_of
from didvit.data.silence import SILENT_LIBTIFF, SILENT_PILLOW

MAX_PIXELS = 300_000_000
"""Pixels of the largest image that is read: telephones take photographs of 200 million. Another
limit is set by the environment variable ``DIDVIT_MAX_PIXELS``, or by ``PIL.Image.MAX_IMAGE_PIXELS``
where that is changed."""

LIMIT_VARIABLE = "DIDVIT_MAX_PIXELS"
PILLOW_LIMIT = 89_478_485
"""Pillow's own limit, unless somebody changes it."""

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""How the files of TIFF and BigTIFF begin."""

LIES_ON_ITS_SIDE = 5
"""EXIF orientations from this one on exchange height and width."""

_opening = threading.Lock()


class StoredImage(Protocol):
    """An image inside a larger file. It is small, and may be sent to another process to be read.

    Several threads may read at once. ``str`` of it is its name, as ``str`` of a path is.
    """

    @property
    def name(self) -> str:
        """What messages call it, for example ``shard.tar:000123.jpg``."""
        ...

    def resolve(self) -> Self:
        """The image under its one true name, by which it can be compared; see `Path.resolve`."""
        ...

    def read(self) -> bytes:
        """What an image file of its own would hold."""
        ...


class Photograph(NamedTuple):
    """An upright image, perhaps at a reduced scale.

    Attributes:
        pixels: Its pixels, RGB.
        height: Height of the original, in pixels.
        width: Width of the original, in pixels.
    """

    pixels: UInt8[np.ndarray, "h w 3"]
    height: int
    width: int


def read_image(
    image: str | PathLike[str] | StoredImage, least_size: tuple[int, int] | None = None
) -> UInt8[np.ndarray, "H W 3"]:
    """The pixels of an image, as `read_photograph` reads it."""
    return read_photograph(image, least_size).pixels


def read_photograph(
    image: str | PathLike[str] | StoredImage, least_size: tuple[int, int] | None = None
) -> Photograph:
    """The pixels of an image: RGB, upright, the first frame of an animation.

    Metadata that cannot be read do no harm, as long as the pixels are whole.

    Args:
        image: A file, or an image inside one.
        least_size: Height and width, of the upright image, that are enough. A JPEG is then decoded
            at 1/2, 1/4 or 1/8 of its size (rounded up), the least at which both sides are enough;
            that costs a fraction of the time. Other kinds, and None: full size.

    Raises:
        ImageError: The file is missing, empty, damaged, not an image, or has more than `MAX_PIXELS`
            pixels.
    """
    name = os.fspath(image) if isinstance(image, PathLike) else str(image)
    with _image_errors(name), SILENT_PILLOW.shared(), _open_file(image) as file:
        start = file.read(16)
        file.seek(0)
        _check_kind(name, start)
        if start.startswith(JPEG_START):
            return _decode_jpeg(file.read(), least_size)
        if start.startswith(TIFF_STARTS):
            with SILENT_LIBTIFF.shared():
                return _decode(file, least_size)
        if start.startswith(JPEG_2000_STARTS) and END_OF_CODESTREAM not in file.read():
            raise ImageError("the image is damaged (its compressed pixels end too early)")
        file.seek(0)
        try:
            return _decode(file, least_size)
        except ImageError:
            raise
        # Pillow raises nearly anything at damaged files.
        except Exception as error:
            file.seek(0)
            if isinstance(error, MemoryError) or not start.startswith(b"\x89PNG"):
                raise
            whole = without_png_metadata(file.read())
            return _decode(BytesIO(whole or b""), least_size)


def content_of(image: str | PathLike[str] | StoredImage) -> bytes:
    """The bytes of an image file.

    Raises:
        ImageError: The file is missing, empty or not a regular file.
    """
    with _image_errors(str(image)), _open_file(image) as file:
        return file.read()


def decode(image: Image.Image) -> UInt8[np.ndarray, "H W 3"]:
    """`pixels_of` an image that may come from a damaged file.

    Raises:
        ImageError: Its pixels cannot be had.
    """
    with _image_errors(str(getattr(image, "filename", "")) or "an image"):
        return pixels_of(image)


def _decode(file: BinaryIO, least_size: tuple[int, int] | None) -> Photograph:
    with _open_image(file) as opened:
        return _photograph(opened, least_size)


def _photograph(opened: Image.Image, least_size: tuple[int, int] | None) -> Photograph:
    width, height = opened.size
    # Of other kinds, nothing may be asked before the pixels: Pillow reads a PNG whole to find its
    # orientation, and forgets afterwards that it failed.
    if least_size and opened.format in ("JPEG", "MPO"):
        _decode_at_least(opened, *least_size)
    pixels = pixels_of(opened)
    if orientation_of(opened) >= LIES_ON_ITS_SIDE:
        width, height = height, width
    return Photograph(pixels, height, width)


def _decode_jpeg(content: bytes, least_size: tuple[int, int] | None) -> Photograph:
    """Pixels of a JPEG file whose data last to the end of the image."""
    damage, end = look_at_jpeg(content)
    if damage:
        raise ImageError(f"the image is damaged ({damage})")
    with _open_image(BytesIO(content)) as opened:
        photograph = _photograph(opened, least_size)
        is_gray = ends_gray(opened)
    if is_gray:
        whole = _decode(BytesIO(lengthened(content, end)), least_size)
        if not np.array_equal(photograph.pixels, whole.pixels):
            raise ImageError("the image is damaged (its compressed pixels end too early)")
    return photograph


def _open_image(file: BinaryIO) -> Image.Image:
    """Pillow's image of a file that has no more pixels than the limit."""
    with _opening:  # the limit is one for all threads
        before = Image.MAX_IMAGE_PIXELS
        limit = _pixel_limit(before)
        Image.MAX_IMAGE_PIXELS = limit
        try:
            opened = Image.open(file)
        except Image.DecompressionBombError as error:
            raise ImageError(f"it has more than twice {_limit_text(limit)}") from error
        finally:
            Image.MAX_IMAGE_PIXELS = before
    if limit is not None and opened.width * opened.height > limit:
        raise ImageError(f"it has {opened.width} x {opened.height}, more than {_limit_text(limit)}")
    return opened


def _pixel_limit(of_pillow: int | None) -> int | None:
    if text := os.environ.get(LIMIT_VARIABLE):
        if not text.isdecimal() or not int(text):
            raise ImageError(f"{LIMIT_VARIABLE} is {text!r}; expected a number of pixels")
        return int(text)
    return MAX_PIXELS if of_pillow == PILLOW_LIMIT else of_pillow


def _limit_text(limit: int | None) -> str:
    return f"the limit of {limit:,} pixels; the environment variable {LIMIT_VARIABLE} raises it"


def _open_file(image: str | PathLike[str] | StoredImage) -> BinaryIO:
    """The file of an image, open, regular and not empty."""
    if not isinstance(image, str | PathLike):
        content = image.read()
        if not content:
            raise ImageError("the file is empty")
        return BytesIO(content)
    status = os.stat(image)
    if stat.S_ISDIR(status.st_mode):
        raise ImageError("it is a directory; expected an image file")
    if not stat.S_ISREG(status.st_mode):
        raise ImageError("not a regular file, but a pipe, device or socket")
    if not status.st_size:
        raise ImageError("the file is empty")
    return Path(image).open("rb")


def _check_kind(name: str, start: bytes) -> None:
    """Have Pillow read HEIF, and refuse what it would misread."""
    if Path(name).suffix.lower() in RAW_SUFFIXES:
        raise ImageError(f"a raw photograph of a camera; {RAW_MEND}")
    if is_heif_or_avif(start) and start[8:11] != b"avi":
        try:
            from pillow_heif import register_heif_opener
        except ImportError as error:
            raise ImageError(f"a HEIF photograph; {HEIF_MEND}") from error
        register_heif_opener()


def _decode_at_least(image: Image.Image, height: int, width: int) -> None:
    """Have a JPEG decoded at the smallest scale at which both sides suffice."""
    if orientation_of(image) >= LIES_ON_ITS_SIDE:
        height, width = width, height
    # Pillow takes the largest of 8, 4, 2 and 1 that goes into both ratios of sides, rounded down,
    # and does nothing to other kinds.
    image.draft(None, (width, height))


@contextmanager
def _image_errors(name: str) -> Iterator[None]:
    """Every error of reading the image ``name`` as an `ImageError` that names it."""
    try:
        yield
    except ImageError as error:
        if str(error).startswith(f"{name}: "):
            raise
        raise ImageError(f"{name}: {error}") from error
    except FileNotFoundError as error:
        raise ImageError(f"{name}: there is no such file") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: not an image, or of a kind that Pillow cannot read") from error
    except MemoryError as error:
        raise ImageError(f"{name}: there is not enough memory for its pixels") from error
    # Pillow raises nearly anything at damaged files, and none of them may end a batch.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ImageError(f"{name}: the image is damaged or unreadable ({reason})") from error
