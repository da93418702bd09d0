"""The stream of training batches, a pure function of (seed, step)."""

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from didvit.data.images import ImageError, read_image
from didvit.data.table import DataError, Table
from didvit.data.transforms import multi_scale_crop, random_flip


class Batch(NamedTuple):
    """Images of a training step.

    Attributes:
        sources: One uint8 image ``(3, height, width)`` each, as cut from the photograph.
        targets: Float ``(B, C)``, 1 where the image has the label.
        failures: Why images could not be read; others took their places.
    """

    sources: list[Tensor]
    targets: Tensor
    failures: list[str]


class TrainingStream(Dataset):
    """Position → one augmented image. Every epoch is a new permutation of the table.

    What stands at a position depends on the seed and the position alone, so that any number of
    workers, and any restart, gives the same batches.

    Args:
        table: Images and labels.
        seed: Of the order, the crops and the flips.
        augment: Multi-scale crop and flip; False shows whole images.
    """

    def __init__(self, table: Table, seed: int, augment: bool = True):
        self.table = table
        self.targets = torch.from_numpy(table.targets).float()
        self.seed = seed
        self.augment = augment

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor, list[str]]:
        failures = []
        for attempt in range(position, position + len(self.table)):
            epoch, place = divmod(attempt, len(self.table))
            order = np.random.default_rng((self.seed, 0, epoch)).permutation(len(self.table))
            index = int(order[place])
            try:
                image = read_image(self.table.images[index])
            except ImageError as error:
                failures.append(str(error))
                continue
            if self.augment:
                rng = np.random.default_rng((self.seed, 1, position))
                image = random_flip(multi_scale_crop(image, rng), rng)
            return image, self.targets[index], failures
        raise DataError(f"none of the {len(self.table)} training images can be read: {failures[0]}")

    def batches(self, start: int, stop: int, batch_size: int, workers: int = 0) -> Iterator[Batch]:
        """Batches of the steps ``start`` to ``stop`` (exclusive)."""
        positions = range(start * batch_size, stop * batch_size)
        loader = DataLoader(
            self, batch_size, sampler=positions, num_workers=workers, collate_fn=_collate
        )
        return iter(loader)


def _collate(items: list[tuple[Tensor, Tensor, list[str]]]) -> Batch:
    sources, targets, failures = zip(*items, strict=True)
    return Batch(list(sources), torch.stack(targets), list(chain.from_iterable(failures)))
