"""What an image is known by, in whatever file: a digest of its bytes, and a hash of its looks."""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Int, UInt8, UInt64
from PIL import Image
from torch import Tensor

from didvit.data.images import StoredImage, read_image
from didvit.data.stream import read_each

NEAR = 4
"""Bits in which the hashes of two near-duplicates differ at most. Of the 66 million pairs of 11,500
COCO photographs, those up to 4 bits apart showed one scene without exception, and the first two
strangers were 6 apart. Saved anew, resized, gray or marked copies are almost all within 4; of those
with 2 % cut off every side, two thirds; with 5 %, few."""
LEAST_CONTRAST = 8
"""Gray levels between the darkest and the brightest part of a picture that has a hash."""
BITS_OF_BYTE = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(1)


class Fingerprint(NamedTuple):
    """Of a readable image.

    Attributes:
        digest: SHA-256 of the file's bytes.
        looks: `perceptual_hash` of the pixels.
        width: Of the upright image, in pixels.
        height: Likewise.
    """

    digest: bytes
    looks: int | None
    width: int
    height: int


def perceptual_hash(pixels: UInt8[Tensor, "3 H W"]) -> int | None:
    """64 bits that stay alike when an image is resized, saved anew, or made brighter.

    Each says whether one of the 64 lowest spatial frequencies (cosine transform of the gray image
    at 32x32 pixels) is above their median.

    Returns:
        None for an image of one color or nearly so: noise would be all that its hash is made of.
    """
    image = Image.fromarray(pixels.permute(1, 2, 0).numpy()).convert("L")
    gray = np.asarray(image.resize((32, 32), Image.Resampling.BOX), dtype=np.float32)
    if np.ptp(gray) < LEAST_CONTRAST:
        return None
    frequencies = cv2.dct(gray)[:8, :8].ravel()
    above = frequencies > np.median(frequencies[1:])  # the first is the mean brightness
    return int.from_bytes(np.packbits(above).tobytes())


def fingerprints(
    images: Sequence[Path | StoredImage], workers: int = 0
) -> Iterator[Fingerprint | str]:
    """The fingerprint of every image, in order; in place of an unreadable one, why it is.

    Each is read once, and decoded whole: only that finds every kind of damage.

    Args:
        images: Files, or images inside larger files.
        workers: Processes that read; 0 reads in this one.
    """
    for batch in read_each(images, _fingerprint, 16, workers):
        yield from batch


def _fingerprint(image: Path | StoredImage) -> Fingerprint:
    source = _ReadOnce(image)
    pixels = read_image(source)
    _, height, width = pixels.shape
    return Fingerprint(sha256(source.content).digest(), perceptual_hash(pixels), width, height)


class _ReadOnce:
    """An image that keeps its bytes when `read_image` reads it."""

    def __init__(self, image: Path | StoredImage):
        self.image = image
        self.name = str(image)
        self.content = b""

    def __str__(self) -> str:
        return self.name

    def resolve(self) -> "_ReadOnce":
        return self

    def read(self) -> bytes:
        self.content = (
            self.image.read_bytes() if isinstance(self.image, Path) else self.image.read()
        )
        return self.content


def near_pairs(hashes: UInt64[np.ndarray, " n"], threshold: int = NEAR) -> Int[np.ndarray, "m 2"]:
    """All i < j whose hashes differ in at most ``threshold`` bits (0 to 63), in order.

    Two such hashes agree in at least one of ``threshold + 1`` bands of their bits, so only hashes
    that share a band are compared.
    """
    found = [np.empty((0, 2), np.int64)]
    for band in np.array_split(np.arange(64, dtype=np.uint64), threshold + 1):
        keys = hashes & np.bitwise_or.reduce(np.uint64(1) << band)
        order = np.argsort(keys)
        keys, first, step = keys[order], np.arange(len(hashes)), 1
        # Equal keys are neighbors now: compare each hash with the next, the one after that, …
        while len(first := first[first + step < len(keys)]):
            first = first[keys[first] == keys[first + step]]
            pairs = np.sort(np.stack([order[first], order[first + step]], axis=1), axis=1)
            near = _differing_bits(hashes[pairs[:, 0]], hashes[pairs[:, 1]]) <= threshold
            found.append(pairs[near])
            step += 1
    return np.unique(np.concatenate(found), axis=0)


def exact_groups(digests: Sequence[bytes]) -> list[list[int]]:
    """Indices of files with the same bytes: groups of two and more, each in order."""
    return _groups(digests)


def near_groups(hashes: Sequence[int | None], threshold: int = NEAR) -> list[list[int]]:
    """Indices of images that look alike: groups of two and more, each in order.

    A group is connected by pairs of at most ``threshold`` bits; its ends may differ in more.
    """
    hashed = [index for index, looks in enumerate(hashes) if looks is not None]
    values, places = np.unique(
        np.array([hashes[index] for index in hashed], np.uint64), return_inverse=True
    )
    leader = list(range(len(values)))

    def lead(value: int) -> int:
        while leader[value] != value:
            leader[value] = value = leader[leader[value]]
        return value

    for a, b in near_pairs(values, threshold).tolist():
        leader[lead(b)] = lead(a)
    leaders = [lead(value) for value in places.tolist()]
    return [[hashed[index] for index in group] for group in _groups(leaders)]


def _groups(keys: Sequence[Hashable]) -> list[list[int]]:
    groups: defaultdict[Hashable, list[int]] = defaultdict(list)
    for index, key in enumerate(keys):
        groups[key].append(index)
    return [group for group in groups.values() if len(group) > 1]


def _differing_bits(
    a: UInt64[np.ndarray, " n"], b: UInt64[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    return BITS_OF_BYTE[(a ^ b).view(np.uint8).reshape(-1, 8)].sum(1)
