"""From a decoded image, of whatever mode and depth, to upright RGB pixels."""

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image

TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns an image upright, by its EXIF orientation."""

LEAST_OF_255 = 16
"""Floats on the scale of 0 to 255 have a maximum of at least this; less fits no known scale."""

# Tags of TIFF.
BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339
DECLARED_MAXIMUM = (341, 281)
WHITE_IS_ZERO, SIGNED = 0, 2


class ImageError(ValueError):
    """An image cannot be read; the message names it and says why."""


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 (upright) where there is none or it cannot be read."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    # Cameras and editors write EXIF of every damaged kind; the pixels do not depend on it.
    except Exception:
        return 1
    return orientation if isinstance(orientation, int) and orientation in TRANSPOSES else 1


def pixels_of(image: Image.Image) -> UInt8[np.ndarray, "H W 3"]:
    """RGB pixels of a PIL image, turned upright as its EXIF orientation says.

    Transparent parts are laid over white. Gray of more than 8 bits is scaled (not clipped) by the
    depth that the file declares, and floats by their range: [0, 1] or [0, 255].

    Raises:
        ImageError: The image has no pixels, or it cannot be told which of its values is white.
    """
    if not image.width or not image.height:
        raise ImageError("the image has no pixels")
    image.load()
    inverted = _tiff_tag(image, PHOTOMETRIC) == WHITE_IS_ZERO
    greatest = _greatest_value(image)
    if (orientation := orientation_of(image)) != 1:
        image = image.transpose(TRANSPOSES[orientation])
    if image.mode.startswith("I") or image.mode == "F":
        gray = np.asarray(image)
        gray = _scaled_floats(gray) if image.mode == "F" else _scaled_integers(gray, greatest)
        image = Image.fromarray(255 - gray if inverted else gray)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))


def array_pixels(array: np.ndarray) -> UInt8[np.ndarray, "H W 3"]:
    """RGB pixels of an array: gray ``(H, W)`` or ``(H, W, 1)``, RGB, or RGBA laid over white.

    Values are 0 to 255 (uint8), 0 to 65535 (uint16), floats in [0, 1] or [0, 255], or booleans.

    >>> array_pixels(np.array([[0.0, 0.5, 1.0]])).tolist()
    [[[0, 0, 0], [128, 128, 128], [255, 255, 255]]]

    Raises:
        ImageError: The array has another shape or type, or its values fit no known scale.
    """
    got = f"an array {array.shape} of {array.dtype}"
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or not array.size:
        channels_first = array.ndim == 3 and array.shape[0] in (1, 3, 4)
        mend = "; its channels come first: pass array.transpose(1, 2, 0)" * channels_first
        raise ImageError(
            f"got {got}; expected gray (H, W), RGB (H, W, 3) or RGBA (H, W, 4), not empty{mend}"
        )
    if array.dtype == np.uint16:
        array = _scaled_integers(array, 65535)
    elif array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    elif np.issubdtype(array.dtype, np.floating):
        array = _scaled_floats(array)
    elif array.dtype != np.uint8:
        raise ImageError(f"got {got}; expected uint8, uint16, floats in [0, 1] or booleans")
    if array.shape[2] == 4:
        return pixels_of(Image.fromarray(np.ascontiguousarray(array), "RGBA"))
    return np.broadcast_to(array, (*array.shape[:2], 3)).copy()


def _scaled_integers(gray: np.ndarray, greatest: int | None) -> UInt8[np.ndarray, "..."]:
    least, most = int(gray.min()), int(gray.max())
    if greatest is None:
        raise ImageError(
            f"its values are 32-bit integers from {least} to {most}, and the file does not say "
            "which of them is white; save it with 8 or 16 bits"
        )
    if least < 0 or most > greatest:
        raise ImageError(
            f"its values are integers from {least} to {most}, and the file declares 0 to "
            f"{greatest}; save it with 8 or 16 bits"
        )
    return ((gray.astype(np.uint64) * 255 + greatest // 2) // greatest).astype(np.uint8)


def _scaled_floats(gray: np.ndarray) -> UInt8[np.ndarray, "..."]:
    least, most = float(gray.min()), float(gray.max())
    if not np.isfinite((least, most)).all():
        raise ImageError("some of its values are not finite; save it as an ordinary image")
    if least < 0 or most > 255 or 1 < most < LEAST_OF_255:
        raise ImageError(
            f"its values are floats from {least:.6g} to {most:.6g}; expected 0 to 1, or 0 to 255; "
            "save it with 8 or 16 bits"
        )
    # Half up: an even neighbor would move 127.5 of one file, and not that of another.
    return np.floor(gray.astype(np.float64) * (255 if most <= 1 else 1) + 0.5).astype(np.uint8)


def _greatest_value(image: Image.Image) -> int | None:
    """The value of white in a gray image of more than 8 bits; None where nothing declares it."""
    bits = _tiff_tag(image, BITS_PER_SAMPLE)
    if image.mode.startswith("I;16"):
        return 4095 if bits == 12 else 65535
    if image.mode == "I" and bits == 16 and _tiff_tag(image, SAMPLE_FORMAT) == SIGNED:
        return 32767
    if image.format in ("PNG", "PPM"):  # Pillow scales these to 16 bits
        return 65535
    declared = [_tiff_tag(image, tag) for tag in DECLARED_MAXIMUM]
    return next((int(value) for value in declared if isinstance(value, int) and value > 0), None)


def _tiff_tag(image: Image.Image, tag: int) -> object:
    value = getattr(image, "tag_v2", {}).get(tag)
    return value[0] if isinstance(value, tuple) and value else value
