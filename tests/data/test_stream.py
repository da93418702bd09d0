import dataclasses
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import Dataset

from didvit.data.stream import Batch, TrainingStream
from didvit.data.table import DataError, Table
from didvit.data.transforms import TRAIN_TRANSFORMS
from didvit.data.workers import WorkerError, read_lists

COUNT = 7


@pytest.fixture
def table(tmp_path):
    """Seven images, each of one color that tells its number, and labels that tell it too."""
    images = []
    for i in range(COUNT):
        images.append(tmp_path / f"{i}.png")
        y, x = np.mgrid[: 20 + i, : 30 - i]
        pixels = np.stack([np.full_like(x, i), y, x], axis=-1).astype(np.uint8)
        Image.fromarray(pixels).save(images[-1])
    labels = [frozenset(name for bit, name in enumerate("abc") if i >> bit & 1) for i in range(7)]
    return Table(tuple(images), tuple(labels), ("a", "b", "c"))


@pytest.fixture
def broken_table(table, tmp_path):
    """The table with one image that cannot be read."""
    (tmp_path / "broken.jpg").write_bytes(b"")
    images = (*table.images[:4], tmp_path / "broken.jpg", *table.images[5:])
    return dataclasses.replace(table, images=images)


def same(batches, others):
    return len(batches) == len(others) and all(
        len(one.sources) == len(other.sources)
        and all(map(torch.equal, one.sources, other.sources))
        and torch.equal(one.targets, other.targets)
        and one.names == other.names
        and one.failures == other.failures
        for one, other in zip(batches, others, strict=True)
    )


def numbers(batches):
    return [int(source[0, 0, 0]) for batch in batches for source in batch.sources]


def test_workers_and_repetition_do_not_change_the_batches(table):
    reference = list(TrainingStream(table, seed=5).batches(0, 6, 3))
    assert len(reference) == 6
    assert same(reference, list(TrainingStream(table, seed=5).batches(0, 6, 3)))
    assert same(reference, list(TrainingStream(table, seed=5).batches(0, 6, 3, workers=2)))


@pytest.mark.parametrize("start", [1, 3, 5])
def test_a_restart_gives_the_tail(table, start):
    reference = list(TrainingStream(table, seed=5).batches(0, 6, 3))
    assert same(reference[start:], list(TrainingStream(table, seed=5).batches(start, 6, 3)))


def joined(parts):
    """The parts of a step as one batch."""
    return Batch(
        [source for part in parts for source in part.sources],
        torch.cat([part.targets for part in parts]),
        [name for part in parts for name in part.names],
        [failure for part in parts for failure in part.failures],
    )


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.integers(0, 4),
    world_size=st.sampled_from([1, 2, 3, 6]),
    accumulate=st.sampled_from([1, 2, 3, 6]),
    transform=st.sampled_from(sorted(TRAIN_TRANSFORMS)),
    broken=st.booleans(),
)
def test_any_split_gives_the_same_images(
    table, broken_table, start, world_size, accumulate, transform, broken
):
    table = broken_table if broken else table
    batch_size = world_size * accumulate
    batch_size *= 6 // batch_size if batch_size < 6 else 1
    whole = list(TrainingStream(table, 5, transform).batches(0, 5, batch_size))
    assert all(len(batch.sources) == batch_size for batch in whole)
    ranks = [
        TrainingStream(table, 5, transform).batches(
            start, 5, batch_size, 0, rank, world_size, accumulate
        )
        for rank in range(world_size)
    ]
    for expected in whole[start:]:
        parts = [next(rank) for rank in ranks for _ in range(accumulate)]
        assert len({len(part.sources) for part in parts}) == 1
        assert same([joined(parts)], [expected])
    assert all(next(rank, None) is None for rank in ranks)


def test_workers_of_every_rank_and_start(table, broken_table):
    for data in (table, broken_table):
        reference = list(TrainingStream(data, seed=5).batches(0, 4, 6))
        parts = [
            list(TrainingStream(data, seed=5).batches(2, 4, 6, 1 + rank, rank, 2))
            for rank in range(2)
        ]
        assert same([joined(pair) for pair in zip(*parts, strict=True)], reference[2:])


@pytest.mark.parametrize("workers", [0, 1])
def test_global_random_state_is_left_as_it_is(table, workers):
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    list(TrainingStream(table, 5, "modern").batches(0, 2, 3, workers))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()


def test_global_random_state_has_no_part_in_it(table):
    torch.manual_seed(1)
    np.random.seed(1)
    reference = list(TrainingStream(table, seed=5).batches(0, 4, 3))
    torch.manual_seed(2)
    np.random.seed(2)
    assert same(reference, list(TrainingStream(table, seed=5).batches(0, 4, 3)))


def test_every_epoch_is_another_permutation(table):
    stream = TrainingStream(table, seed=5)
    drawn = numbers(stream.batches(0, 10, COUNT))
    epochs = [tuple(drawn[i : i + COUNT]) for i in range(0, len(drawn), COUNT)]
    assert all(sorted(epoch) == list(range(COUNT)) for epoch in epochs)
    assert len(set(epochs)) > 1


def test_batches_may_span_epochs(table):
    stream = TrainingStream(table, seed=5)
    assert numbers(stream.batches(0, 7, 3)) == numbers(stream.batches(0, 3, COUNT))


def test_seeds_differ_in_order_and_in_crops(table):
    one, other = (list(TrainingStream(table, seed=seed).batches(0, 3, 7)) for seed in (5, 6))
    assert numbers(one) != numbers(other)
    single = Table(table.images[:1], table.image_labels[:1], table.labels)
    one, other = (list(TrainingStream(single, seed=seed).batches(0, 3, 7)) for seed in (5, 6))
    assert not same(one, other)


def test_crops_of_an_image_differ_between_epochs(table):
    single = Table(table.images[:1], table.image_labels[:1], table.labels)
    sources = next(TrainingStream(single, seed=0).batches(0, 1, 12)).sources
    assert len({(source.shape, bytes(source.numpy())) for source in sources}) > 6


def test_images_come_with_their_own_targets(table):
    for batch in TrainingStream(table, seed=5).batches(0, 4, 5):
        assert batch.targets.dtype == torch.int8
        assert batch.failures == []
        for source, target in zip(batch.sources, batch.targets, strict=True):
            assert source.dtype == torch.uint8
            number = int(source[0, 0, 0])
            assert target.tolist() == [number >> bit & 1 for bit in range(3)]


def test_names_are_those_of_the_images(table):
    for batch in TrainingStream(table, seed=5).batches(0, 4, 5):
        for source, name in zip(batch.sources, batch.names, strict=True):
            assert name == str(table.images[int(source[0, 0, 0])])


def test_unknown_labels_are_minus_1(table):
    unknown = tuple(frozenset("c" if "c" not in labels else "") for labels in table.image_labels)
    table = dataclasses.replace(table, unknown=unknown)
    targets = next(TrainingStream(table, seed=5).batches(0, 1, COUNT)).targets
    assert sorted(targets[:, 2].tolist()) == [-1] * 4 + [1] * 3
    assert (targets[:, :2] >= 0).all()


def test_jpegs_are_decoded_no_smaller_than_asked(tmp_path):
    Image.fromarray(np.zeros((160, 240, 3), np.uint8)).save(tmp_path / "a.jpg")
    table = Table((tmp_path / "a.jpg",), (frozenset("a"),), ("a",))
    for least, expected in (
        (None, (160, 240)), ((40, 60), (40, 60)), ((41, 60), (80, 120)), ((160, 1), (160, 240)),
    ):  # fmt: skip
        (source,) = next(TrainingStream(table, 5, "resize", least).batches(0, 1, 1)).sources
        assert source.shape[1:] == expected


def test_without_augmentation_images_are_whole(table):
    for batch in TrainingStream(table, 5, "resize").batches(0, 2, COUNT):
        for source in batch.sources:
            number = int(source[0, 0, 0])
            assert source.shape == (3, 20 + number, 30 - number)
            assert torch.equal(source[2, 0], torch.arange(30 - number, dtype=torch.uint8))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_image_is_replaced_and_reported(table, workers):
    table.images[4].write_bytes(b"")
    stream = TrainingStream(table, seed=5)
    batches = list(stream.batches(0, 3, COUNT, workers))
    for batch in batches:
        assert len(batch.sources) == COUNT
        assert len(batch.failures) == 1
        assert str(table.images[4]) in batch.failures[0]
        assert "empty" in batch.failures[0]
    drawn = numbers(batches)
    assert set(drawn) == set(range(COUNT)) - {4}
    for batch in batches:
        for source, target in zip(batch.sources, batch.targets, strict=True):
            number = int(source[0, 0, 0])
            assert target.tolist() == [number >> bit & 1 for bit in range(3)]
    assert same(batches[1:], list(stream.batches(1, 3, COUNT)))


@pytest.mark.parametrize("workers", [0, 2])
def test_nothing_readable_is_a_data_error(table, workers):
    for image in table.images:
        image.write_bytes(b"")
    with pytest.raises(DataError, match="none of the 7 training images can be read") as caught:
        list(TrainingStream(table, seed=5).batches(0, 1, 2, workers))
    assert "Traceback" not in str(caught.value)
    assert "the file is empty" in str(caught.value)


class Slow(Dataset):
    """Items that take their time."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        time.sleep(0.05)
        return str(index)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="processes are killed otherwise here")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("number", ["SIGKILL", "SIGSEGV"])
def test_a_worker_that_dies_is_an_error_at_once(number):
    """The other one ignores SIGTERM, and was waited for without end."""
    before = signal.getsignal(signal.SIGCHLD)
    batches = read_lists(Slow(2000), 4, workers=2)
    next(batches)
    assert signal.getsignal(signal.SIGCHLD) == before  # an error comes where it is asked for
    first, second = multiprocessing.active_children()[-2:]
    os.kill(second.pid, getattr(signal, number))
    with pytest.raises(
        WorkerError, match=rf"a process that reads images died \({number}\); "
    ) as error:
        list(batches)
    assert str(error.value).endswith("read in the main process with --data.workers 0")
    first.join(5)
    assert not first.is_alive()
    assert isinstance(error.value, OSError)  # which the command reports in a line


@pytest.mark.timeout(60)
def test_workers_end_with_the_iterator():
    batches = read_lists(Slow(2000), 4, workers=2)
    next(batches)
    workers = multiprocessing.active_children()[-2:]
    assert all(worker.is_alive() for worker in workers)
    batches.close()
    assert not any(worker.is_alive() for worker in workers)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="processes are killed otherwise here")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_workers_leave_a_signal_to_end_to_the_process_that_asked_for_them(number):
    batches = read_lists(Slow(40), 4, workers=2)
    next(batches)
    for worker in multiprocessing.active_children()[-2:]:
        os.kill(worker.pid, number)
    assert len(list(batches)) == 9


def test_ten_thousand_labels_take_no_matrix(table):
    labels = tuple(f"label {i}" for i in range(10_000))
    images = table.images * 10_000
    large = Table(images, (frozenset(labels[:3]),) * len(images), labels)
    stream = TrainingStream(large, seed=5)
    batch = next(stream.batches(0, 1, 4))
    assert batch.targets.shape == (4, 10_000)
    assert batch.targets.sum(1).tolist() == [3] * 4
