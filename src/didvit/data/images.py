"""Images, from files of their own or out of larger ones, as upright RGB pixels."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor

IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm")
)
"""Files of a folder that count as images."""


class ImageError(ValueError):
    """An image cannot be read; the message names it and says why."""


class StoredImage(Protocol):
    """An image inside a larger file. It is small, and may be sent to another process to be read.

    ``str`` of it is its name, as ``str`` of a path is.
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


def read_image(
    image: str | PathLike[str] | StoredImage, least_size: tuple[int, int] | None = None
) -> UInt8[Tensor, "3 H W"]:
    """The pixels of an image: RGB, upright, the first frame of an animation.

    Args:
        image: A file, or an image inside one.
        least_size: Height and width, of the upright image, that are enough. A JPEG is then decoded
            at 1/2, 1/4 or 1/8 of its size (rounded up), the least at which both sides are enough;
            that costs a fraction of the time. Other kinds, and None: full size.

    Raises:
        ImageError: The file is missing, empty, damaged, not an image, or too large to be safe.
    """
    with _image_errors(str(image)), warnings.catch_warnings():
        # Twice Pillow's limit raises, and once warns: a picture that large is refused at once.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(_file_of(image)) as opened:
            if least_size:
                _decode_at_least(opened, *least_size)
            return pixels_of(opened)


def _file_of(image: str | PathLike[str] | StoredImage) -> Path | BytesIO:
    if isinstance(image, str | PathLike):
        path = Path(image)
        if not path.stat().st_size:
            raise ImageError(f"{image}: the file is empty")
        return path
    content = image.read()
    if not content:
        raise ImageError(f"{image}: the file is empty")
    return BytesIO(content)


def _decode_at_least(image: Image.Image, height: int, width: int) -> None:
    """Have a JPEG decoded at the smallest scale at which both sides suffice."""
    if image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8):  # it lies on its side
        height, width = width, height
    # Pillow takes the largest of 8, 4, 2 and 1 that goes into both ratios of sides, rounded down,
    # and does nothing to other kinds.
    image.draft(None, (width, height))


def decode(image: Image.Image) -> UInt8[Tensor, "3 H W"]:
    """`pixels_of` an image that may come from a damaged file.

    Raises:
        ImageError: Its pixels cannot be had.
    """
    with _image_errors(getattr(image, "filename", "") or "an image"):
        return pixels_of(image)


@contextmanager
def _image_errors(name: str) -> Iterator[None]:
    """Every error of reading the image ``name`` as an `ImageError`."""
    try:
        yield
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise ImageError(f"{name}: there is no such file") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: not an image, or of a kind that Pillow cannot read") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ImageError(
            f"{name}: more pixels than the limit of {Image.MAX_IMAGE_PIXELS:,} "
            "(PIL.Image.MAX_IMAGE_PIXELS)"
        ) from error
    # Pillow raises nearly anything at damaged files, and none of them may end a batch.
    except Exception as error:
        raise ImageError(f"{name}: the image is damaged or unreadable ({error})") from error


def pixels_of(image: Image.Image) -> UInt8[Tensor, "3 H W"]:
    """RGB pixels of a PIL image, turned upright as its EXIF orientation says.

    Transparent parts are laid over white, and 16-bit gray is scaled (not clipped) to 8 bits.
    """
    if not image.width or not image.height:
        raise ImageError("the image has no pixels")
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        gray = np.asarray(image).astype(np.uint32)
        image = Image.fromarray(((gray * 255 + 32767) // 65535).astype(np.uint8))
    elif image.mode in ("I", "F"):
        values = np.asarray(image, dtype=np.float64)
        # Pillow opens 16-bit PNG as I on some versions; values beyond 8 bits are on that scale.
        scale = 255 / 65535 if values.max(initial=0) > 255 else 1
        image = Image.fromarray((values * scale).clip(0, 255).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
