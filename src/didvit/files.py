"""Files that appear whole or not at all. What is no file, a pipe say, is written to as it is."""

import errno
import io
import json
import os
import re
import shutil
import stat
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TextIO

TEMPORARY = ".*-????????????.*"
"""Names of the files that are not yet whole."""

READER_SECONDS = 10
"""Time that the reader of a named pipe has to come."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``, which takes its place when the block ends without error.

    The folder is made where it is missing. After an error nothing is left behind, and what stood
    at ``path`` stays. A link keeps leading to where it leads: the file there is the one that is
    replaced. A device or a pipe is not replaced: it gets the content when the block ends.

    Raises:
        OSError: The file cannot be written; the error names ``path``.
    """
    with _naming(path):
        if is_stream(path):
            with tempfile.TemporaryDirectory() as folder:
                temporary = Path(folder, f"content{path.suffix}")
                yield temporary
                with temporary.open("rb") as content, open_stream(path) as stream:
                    shutil.copyfileobj(content, stream)
            return
        target = link_target(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.stem[:40]}-{uuid.uuid4().hex[:12]}{target.suffix}")
        with _naming(path, temporary):
            try:
                temporary.touch()
                mode = temporary.stat().st_mode
                temporary.unlink()
                yield temporary
                temporary.chmod(mode)  # some writers leave a file that its owner alone may read
                _flush(temporary)
                temporary.replace(target)
                if os.name == "posix":
                    _flush(target.parent)
            finally:
                temporary.unlink(missing_ok=True)


@contextmanager
def line_file(path: Path) -> Iterator[TextIO]:
    """A text file in UTF-8 that others may read while it grows.

    It has ``.partial`` behind its name until the block ends without error, and keeps it otherwise.
    A device or a pipe gets the lines as they come.

    Raises:
        OSError: The file cannot be written; the error names ``path``.
    """
    if is_stream(path):
        with _naming(path), io.TextIOWrapper(open_stream(path), encoding="utf-8") as lines:
            yield lines
        return
    target, partial = link_target(path), partial_path(path)
    with _naming(path), _naming(path, partial):
        target.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8") as lines:
            yield lines
        partial.replace(target)


def partial_path(path: Path) -> Path:
    """Name of a `line_file` that is not yet complete."""
    target = link_target(path)
    return target.with_name(target.name + ".partial")


def link_target(path: Path) -> Path:
    """The file that a link leads to, whether or not it exists; any other path as it is."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def is_stream(path: Path) -> bool:
    """Whether a path stands for a device, a pipe or an open file of a process.

    >>> is_stream(Path("/dev/null")), is_stream(Path("result.json"))
    (True, False)
    """
    if os.path.abspath(path).startswith(("/dev/", "/proc/")):
        return True
    return path.exists() and not path.is_file() and not path.is_dir()


def open_stream(path: Path) -> BinaryIO:
    """Open a device or a pipe, to write to it.

    Raises:
        OSError: It cannot be written to, or nothing comes to read the pipe.
    """
    if os.name != "posix":
        return path.open("wb")
    if own := _OWN_STREAM.fullmatch(os.path.abspath(path)):
        name = own.group(1)
        # A copy shares the place in the file that standard output may lead to.
        return os.fdopen(os.dup(int(_STANDARD.get(name, name))), "wb")
    until = time.monotonic() + READER_SECONDS
    while True:
        try:
            # To wait for a reader in the system's way is to wait for ever.
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK)
            break
        except OSError as error:
            if error.errno != errno.ENXIO or not stat.S_ISFIFO(path.stat().st_mode):
                raise
            if time.monotonic() > until:
                raise OSError(
                    errno.ENXIO, "nothing reads this pipe; start its reader first", str(path)
                ) from error
            time.sleep(0.05)
    os.set_blocking(descriptor, True)
    return os.fdopen(descriptor, "wb")


def write_json(path: Path, content: Any) -> None:
    """Write JSON in UTF-8, whole or not at all; bytes of file names that are not text are escaped.

    Raises:
        ValueError: The content holds NaN or infinity, which JSON has no word for.
    """
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


@contextmanager
def _naming(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Errors of the system that name no file, or the temporary one, name ``path``.

    A write that fails, to a full disk say, does not know its file's name.
    """
    try:
        yield
    except OSError as error:
        nameless = error.filename is None and error.errno in _WRITING
        if not nameless and (temporary is None or error.filename != str(temporary)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


_OWN_STREAM = re.compile(r"/(?:dev|dev/fd|proc/self/fd)/(\d+|stdout|stderr)")
_STANDARD = {"stdout": "1", "stderr": "2"}

_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Errors of writing: other nameless ones may concern another file."""


def _flush(path: Path) -> None:
    """Have the disk hold it: else a power cut could leave the new name with nothing behind it."""
    descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
