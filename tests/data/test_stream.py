import numpy as np
import pytest
import torch
from PIL import Image

from didvit.data.stream import TrainingStream
from didvit.data.table import DataError, Table

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


def same(batches, others):
    return len(batches) == len(others) and all(
        len(one.sources) == len(other.sources)
        and all(map(torch.equal, one.sources, other.sources))
        and torch.equal(one.targets, other.targets)
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
        assert batch.targets.dtype == torch.float32
        assert batch.failures == []
        for source, target in zip(batch.sources, batch.targets, strict=True):
            assert source.dtype == torch.uint8
            number = int(source[0, 0, 0])
            assert target.tolist() == [float(number >> bit & 1) for bit in range(3)]


def test_without_augmentation_images_are_whole(table):
    for batch in TrainingStream(table, seed=5, augment=False).batches(0, 2, COUNT):
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
            assert target.tolist() == [float(number >> bit & 1) for bit in range(3)]
    assert same(batches[1:], list(stream.batches(1, 3, COUNT)))


@pytest.mark.parametrize("workers", [0, 2])
def test_nothing_readable_is_a_data_error(table, workers):
    for image in table.images:
        image.write_bytes(b"")
    with pytest.raises(DataError, match="none of the 7 training images can be read") as caught:
        list(TrainingStream(table, seed=5).batches(0, 1, 2, workers))
    assert "Traceback" not in str(caught.value)
    assert "the file is empty" in str(caught.value)
