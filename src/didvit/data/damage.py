"""Damage of image files: of JPEG data that decoders pass over, and of PNG metadata."""

from typing import NamedTuple

import numpy as np
from PIL import Image

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_2000_STARTS = (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")
END_OF_CODESTREAM = b"\xff\xd9"
"""Marker of JPEG 2000, which compressed pixels never hold."""

PNG_KEPT = (b"tRNS", b"eXIf")
"""Chunks of a PNG that are not critical and yet change how it looks."""

JPEG_START = b"\xff\xd8"
# Markers of JPEG: a stuffed byte, ends, restarts, and those that a segment with a length follows.
STUFFED, FILL, END, START_OF_SCAN, RESTART_INTERVAL = 0x00, 0xFF, 0xD9, 0xDA, 0xDD
RESTARTS = range(0xD0, 0xD8)
FILLED = 125, 131
"""Least and greatest value of that gray, which rounding moves a little."""
SEGMENTS = (0xC4, 0xCC, 0xDA, 0xDB, 0xDC, 0xDD, *range(0xE0, 0xF0), 0xFE)


class JpegData(NamedTuple):
    """What the markers of a JPEG file say of its compressed pixels.

    Attributes:
        damage: What is wrong, for a message; None where nothing is seen.
        end: Where the pixels end; the length of the file where no marker says so.
    """

    damage: str | None
    end: int


def look_at_jpeg(content: bytes) -> JpegData:
    """Follow the markers of a JPEG file, without decoding it.

    Decoders fill up with gray where a marker stands that cannot stand there, and say nothing.
    Bytes that changed into others without such a marker are not seen. A file that ends too early is
    left to the decoder.
    """
    data = np.frombuffer(content, np.uint8)
    # Of every byte 255 that is no stuffing and no fill: its place.
    places = np.flatnonzero((data[:-1] == 0xFF) & (data[1:] != STUFFED) & (data[1:] != FILL))
    kinds = data[places + 1]
    position, interval = 2, 0
    while True:
        index = int(np.searchsorted(places, position))
        # Between two segments there may be anything; decoders look for the next marker.
        if index == len(places):
            return JpegData(None, len(content))
        place, kind = int(places[index]), int(kinds[index])
        if kind == END:
            return JpegData(None, place)
        length = int.from_bytes(content[place + 2 : place + 4])
        if kind == RESTART_INTERVAL:
            interval = int.from_bytes(content[place + 4 : place + 6])
        position = place + 2 + (0 if kind in RESTARTS else length)
        if kind != START_OF_SCAN:
            continue
        index, restarts = int(np.searchsorted(places, position)), 0
        while index < len(places) and kinds[index] in RESTARTS:
            if not interval or kinds[index] != RESTARTS[restarts % 8]:
                return _garbage(int(places[index]), content)
            index, restarts = index + 1, restarts + 1
        if index < len(places) and kinds[index] != END and kinds[index] not in SEGMENTS:
            return _garbage(int(places[index]), content)
        position = int(places[index]) if index < len(places) else len(content)


def _garbage(place: int, content: bytes) -> JpegData:
    damage = f"its compressed pixels are garbage at byte {place:,} of {len(content):,}"
    return JpegData(damage, len(content))


def ends_gray(image: Image.Image) -> bool:
    """Whether the last corner of a decoded image is of the gray that decoders fill up with."""
    corner = image.crop((max(image.width - 4, 0), max(image.height - 4, 0), *image.size))
    values = np.asarray(corner)
    return bool((values >= FILLED[0]).all() and (values <= FILLED[1]).all())


def lengthened(content: bytes, end: int) -> bytes:
    """A JPEG file with some more compressed pixels, which a whole image has no use for."""
    return content[:end] + b"\x5a" * 4096 + content[end:]


def without_png_metadata(content: bytes) -> bytes | None:
    """A PNG file without texts, profiles and whatever else does not change its pixels.

    Returns:
        None where the content is no PNG.
    """
    if not content.startswith(PNG_SIGNATURE):
        return None
    kept, position = [PNG_SIGNATURE], len(PNG_SIGNATURE)
    while position + 8 <= len(content):
        end = position + 12 + int.from_bytes(content[position : position + 4])
        kind = content[position + 4 : position + 8]
        if kind[:1].isupper() or kind in PNG_KEPT:
            kept.append(content[position:end])
        position = end
    return b"".join(kept)
