import io
import json
import tarfile
import threading
import time

import datasets as hf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from didvit.data.datasets import read_dataset
from didvit.data.images import ImageError, read_image
from didvit.data.reading import BATCHES_AHEAD, read_each, read_in_order

COUNT = 7


@pytest.fixture
def images(tmp_path):
    """Seven images of different sizes, of which number 4 cannot be read."""
    paths = [tmp_path / f"{i}.png" for i in range(COUNT)]
    for i, path in enumerate(paths):
        noise = np.random.default_rng(i).integers(0, 256, (20 + i, 30 - i, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
    paths[4].write_bytes(b"")
    return paths


@pytest.fixture
def own_threads():
    """A function that gives the threads started since; in the end there is none."""
    before = set(threading.enumerate())

    def started():
        return set(threading.enumerate()) - before

    yield started
    assert not started()


@pytest.mark.usefixtures("own_threads")
@pytest.mark.parametrize("workers", [0, 1, 2, 9])
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_reading_in_order(images, batch_size, workers):
    batches = list(read_in_order(images, batch_size, workers))
    assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    items = [item for batch in batches for item in batch]
    assert len(items) == COUNT
    for i, (item, path) in enumerate(zip(items, images, strict=True)):
        if i == 4:
            assert item == f"{path}: the file is empty"
        else:
            assert isinstance(item, np.ndarray)
            assert np.array_equal(item, read_image(path))


def in_any_time(number):
    """Later items are often read first; every fifth is unreadable."""
    time.sleep(0.002 * (number * 7 % 3))
    if number % 5 == 4:
        raise ImageError(f"{number}: unreadable")
    return number


@settings(max_examples=30)
@given(st.integers(0, 20), st.integers(1, 6), st.integers(0, 4))
def test_any_number_of_images_threads_and_batches(count, batch_size, workers):
    expected = [f"{i}: unreadable" if i % 5 == 4 else i for i in range(count)]
    assert list(read_each(range(count), in_any_time, batch_size, workers)) == [
        expected[start : start + batch_size] for start in range(0, count, batch_size)
    ]


@pytest.mark.parametrize("workers", [0, 2])
def test_reading_nothing(workers, own_threads):
    assert list(read_in_order((), 3, workers)) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_jpegs_are_decoded_no_smaller_than_asked(tmp_path, workers):
    Image.new("RGB", (240, 160)).save(tmp_path / "a.jpg")
    ((whole,),) = read_in_order([tmp_path / "a.jpg"], 2, workers)
    ((small,),) = read_in_order([tmp_path / "a.jpg"], 2, workers, (40, 60))
    assert (whole.shape, small.shape) == ((160, 240, 3), (40, 60, 3))


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 1), (1, 5), (4, 2), (3, 8)])
def test_no_more_than_two_batches_are_read_ahead(batch_size, workers):
    begun, ahead = [], max(BATCHES_AHEAD * batch_size, workers)
    batches = read_each(range(100), begun.append, batch_size, workers)
    assert begun == []  # nothing is read before it is asked for
    for number in range(1, 6):
        next(batches)
        expected = number * batch_size + ahead
        deadline = time.monotonic() + 10
        while len(begun) < expected and time.monotonic() < deadline:
            time.sleep(0.001)  # what may be read ahead is read though nobody asks
        time.sleep(0.01)  # and no more than that
        assert len(begun) == expected
    batches.close()


@pytest.mark.timeout(60)
def test_threads_read_at_once():
    """Each waits for the other; one after the other, they would wait without end."""
    together = threading.Barrier(3, timeout=30)
    reads = read_each(range(9), lambda number: together.wait() >= 0, 2, workers=3)
    assert [item for batch in reads for item in batch] == [True] * 9


def test_without_workers_the_thread_of_the_caller_reads():
    names = read_each(range(3), lambda number: threading.current_thread().name, 2)
    assert list(names) == [[threading.current_thread().name] * 2, [threading.current_thread().name]]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("how", ["close", "forget"])
def test_closing_early_ends_the_threads(how, own_threads):
    begun = []

    def slow(number):
        begun.append(number)
        time.sleep(0.05)

    batches = read_each(range(2000), slow, 4, workers=2)
    next(batches)
    assert len(own_threads()) == 2
    if how == "close":
        batches.close()
    del batches
    assert not own_threads()
    count = len(begun)
    assert count <= 4 + 2 + 2  # the batch, what was being read, and a little more
    time.sleep(0.1)
    assert len(begun) == count


@pytest.mark.parametrize("workers", [0, 2])
def test_other_errors_come_in_their_turn(workers, own_threads):
    def read(number):
        if number == 5:
            raise ZeroDivisionError
        return number

    batches = read_each(range(2000), read, 2, workers)
    assert [next(batches), next(batches)] == [[0, 1], [2, 3]]
    with pytest.raises(ZeroDivisionError):
        next(batches)
    assert not own_threads()
    assert list(batches) == []


@pytest.mark.timeout(60)
def test_an_error_of_the_caller_ends_the_threads(own_threads):
    def use():
        for _ in read_each(range(2000), in_any_time, 4, workers=2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        use()
    assert not own_threads()


def png(seed):
    noise = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file := io.BytesIO(), "PNG")
    return file.getvalue()


def save_shard(path):
    with tarfile.open(path, "w") as tar:
        for i in range(40):
            labels = json.dumps({"labels": ["cat"][i % 2 :]}).encode()
            for name, content in ((f"{i:02}.png", png(i)), (f"{i:02}.json", labels)):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))


def save_arrow(path):
    features = hf.Features({"image": hf.Image(), "labels": hf.ClassLabel(names=["cat", "dog"])})
    images = [{"bytes": png(i), "path": None} for i in range(40)]
    content = {"image": images, "labels": [i % 2 for i in range(40)]}
    hf.Dataset.from_dict(content, features=features).save_to_disk(path)


@pytest.mark.parametrize(("name", "save"), [("a.tar", save_shard), ("saved", save_arrow)])
def test_threads_share_a_file_with_many_images(tmp_path, name, save):
    save(tmp_path / name)
    images = read_dataset(tmp_path / name).images
    items = [item for batch in read_in_order(images, 8, workers=4) for item in batch]
    assert len(items) == 40
    for i, item in enumerate(items):
        assert np.array_equal(item, np.asarray(Image.open(io.BytesIO(png(i)))))
