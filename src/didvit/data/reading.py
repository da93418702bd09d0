"""Images read in order, by threads that keep a little ahead of what is used."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from jaxtyping import UInt8

from didvit.data.images import ImageError, read_image

Reading = TypeVar("Reading")

BATCHES_AHEAD = 2
"""Number of batches that are read, or being read, beside the one that is used."""


def read_each(
    images: Sequence, read: Callable[[Any], Reading], batch_size: int, workers: int = 0
) -> Iterator[list[Reading | str]]:
    """Give what reading the images gives, in batches; in place of an unreadable one, the reason.

    At most `BATCHES_AHEAD` batches are read ahead, or as many images as there are threads if that
    is more. All threads have ended when the iterator ends, fails or is closed.

    Args:
        images: What ``read`` takes. Without any, there is no batch.
        read: Reads an image; several threads call it at once. It raises `ImageError` where an
            image is unreadable; any other error ends the iterator.
        batch_size: Number of images of a batch, 1 or more; the last batch may have fewer.
        workers: Number of threads that read; 0 reads in the caller's own, when a batch is asked
            for.
    """
    if not workers:
        for start in range(0, len(images), batch_size):
            yield [_attempt(read, image) for image in images[start : start + batch_size]]
        return
    pool = ThreadPoolExecutor(workers, "didvit-reading")
    waiting = (pool.submit(_attempt, read, image) for image in images)
    try:
        ahead = deque(islice(waiting, max(BATCHES_AHEAD * batch_size, workers)))
        while ahead:
            yield [_next_of(ahead, waiting) for _ in range(min(batch_size, len(ahead)))]
    finally:
        pool.shutdown(cancel_futures=True)


def read_in_order(
    images: Sequence,
    batch_size: int,
    workers: int = 0,
    least_size: tuple[int, int] | None = None,
) -> Iterator[list[UInt8[np.ndarray, "H W 3"] | str]]:
    """Give the pixels of images in batches; see `read_each`.

    Args:
        images: Paths, or what else `read_image` takes.
        batch_size: Number of images of a batch, 1 or more; the last batch may have fewer.
        workers: Number of threads that read; 0 reads in the caller's own.
        least_size: Height and width that are enough; see `read_image`.
    """
    return read_each(images, partial(read_image, least_size=least_size), batch_size, workers)


def _attempt(read: Callable[[Any], Reading], image: Any) -> Reading | str:
    try:
        return read(image)
    except ImageError as error:
        return str(error)


def _next_of(ahead: deque[Future[Reading | str]], waiting: Iterator[Future]) -> Reading | str:
    """Wait for the first reading, and have another started in its place."""
    result = ahead.popleft().result()
    ahead.extend(islice(waiting, 1))
    return result
