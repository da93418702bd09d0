"""Silence while images are read: what Pillow and libtiff would say names no file.

Both settings belong to the whole process, and several threads read at once.
"""

import ctypes
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from PIL import Image


class Shared:
    """A context that threads share: the first to come enters it, and the last to go leaves it.

    Args:
        make: Makes the context.
    """

    def __init__(self, make: Callable[[], AbstractContextManager[None]]):
        self._make = make
        self._lock = threading.Lock()
        self._inside = 0
        self._context: AbstractContextManager[None]

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Be inside, beside whoever else is."""
        with self._lock:
            if not self._inside:
                self._context = self._make()
                self._context.__enter__()
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if not self._inside:
                    self._context.__exit__(None, None, None)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Drop Pillow's warnings, which are of metadata, and no others: other threads may warn."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(PIL|pillow_heif)\b")
        yield


@contextmanager
def _without_messages() -> Iterator[None]:
    """Take off the functions by which Pillow's libtiff writes to the standard error output.

    Where the library is built into another, they cannot be reached, and its messages are seen.
    """
    try:
        library = ctypes.CDLL(Image.core.__file__)
        setters = [library.TIFFSetErrorHandler, library.TIFFSetWarningHandler]
    except (OSError, AttributeError):
        yield
        return
    for setter in setters:
        setter.restype, setter.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    before = [setter(None) for setter in setters]
    try:
        yield
    finally:
        for setter, handler in zip(setters, before, strict=True):
            setter(handler)


SILENT_PILLOW = Shared(_without_warnings)
SILENT_LIBTIFF = Shared(_without_messages)
