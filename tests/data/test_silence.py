import threading
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from didvit.data import silence
from didvit.data.images import ImageError, read_image
from didvit.data.reading import read_in_order
from didvit.data.silence import SILENT_LIBTIFF, SILENT_PILLOW, Shared


@pytest.fixture
def bad_tiffs(tmp_path):
    """Compressed pixels that libtiff complains about."""
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.tif", compression="tiff_lzw")
    content = np.frombuffer((tmp_path / "whole.tif").read_bytes(), np.uint8).copy()
    content[200:4000:7] ^= 0x55
    paths = [tmp_path / f"{i}.tif" for i in range(8)]
    for path in paths:
        path.write_bytes(content.tobytes())
    return paths


@contextmanager
def nothing():
    yield


def reaches_libtiff():
    with SILENT_LIBTIFF.shared():
        library = silence.ctypes.CDLL(Image.core.__file__)
        return hasattr(library, "TIFFSetErrorHandler")


@pytest.mark.skipif(not reaches_libtiff(), reason="this Pillow has libtiff built in")
@pytest.mark.parametrize("workers", [0, 3])
def test_messages_of_libtiff(bad_tiffs, capfd, workers, monkeypatch):
    for batch in read_in_order(bad_tiffs, 2, workers):
        for path_and_reason in batch:
            assert "damaged" in path_and_reason
    assert capfd.readouterr() == ("", "")
    # Afterwards they are as they were, for whoever wants them.
    monkeypatch.setattr("didvit.data.images.SILENT_LIBTIFF", Shared(nothing))
    with pytest.raises(ImageError):
        read_image(bad_tiffs[0])
    assert "Using code not yet in table" in capfd.readouterr().err


def test_where_libtiff_cannot_be_reached_images_are_read(bad_tiffs, monkeypatch):
    def absent(path):
        raise OSError(f"no library {path}")

    monkeypatch.setattr(silence.ctypes, "CDLL", absent)
    assert read_image(bad_tiffs[0].with_name("whole.tif")).shape == (60, 60, 3)


def test_warnings_of_others_are_heard():
    with SILENT_PILLOW.shared():
        with pytest.warns(UserWarning, match="of another"):
            warnings.warn("of another", stacklevel=1)
        with warnings.catch_warnings(record=True) as caught:
            warnings.warn_explicit("of Pillow", UserWarning, "a.py", 1, "PIL.TiffImagePlugin")
            warnings.warn_explicit("of another", UserWarning, "a.py", 1, "PILOT")
        assert [str(warning.message) for warning in caught] == ["of another"]


def test_the_filters_are_as_before_whatever_the_order_of_threads():
    """The first to enter leaves first; by itself, it would put back what the last then undoes."""
    before = list(warnings.filters)
    second_is_inside, first_has_left = threading.Event(), threading.Event()

    def second():
        with SILENT_PILLOW.shared():
            second_is_inside.set()
            first_has_left.wait(30)
            assert warnings.filters[0][0] == "ignore"

    thread = threading.Thread(target=second)
    with SILENT_PILLOW.shared():
        thread.start()
        second_is_inside.wait(30)
    assert warnings.filters != before
    first_has_left.set()
    thread.join(30)
    assert warnings.filters == before


def test_a_shared_context_is_entered_and_left_once():
    log = []

    @contextmanager
    def context():
        log.append("in")
        yield
        log.append("out")

    shared = Shared(context)
    for _ in range(2):
        with shared.shared():
            with shared.shared():
                assert log[-1] == "in"
            assert log[-1] == "in"
    with pytest.raises(ZeroDivisionError), shared.shared():
        raise ZeroDivisionError
    assert log == ["in", "out"] * 3
