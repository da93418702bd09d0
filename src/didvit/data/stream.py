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
        self._known_order: tuple[int, np.ndarray] = -1, np.empty(0)

    def __getitem__(self, position: int) -> tuple[Tensor | None, Tensor, list[str]]:
        failures = []
        for attempt in range(position, position + len(self.table)):
            epoch, place = divmod(attempt, len(self.table))
            index = int(self._order(epoch)[place])
            try:
                image = read_image(self.table.images[index])
            except ImageError as error:
                failures.append(str(error))
                continue
            if self.augment:
                rng = np.random.default_rng((self.seed, 1, position))
                image = random_flip(multi_scale_crop(image, rng), rng)
            # A copy of the crop alone: a view would send the whole photograph between processes.
            return image.contiguous(), self.targets[index], failures
        # An error raised here would reach the user with a worker's stack trace.
        return None, self.targets[0], failures

    def _order(self, epoch: int) -> np.ndarray:
        if self._known_order[0] != epoch:
            rng = np.random.default_rng((self.seed, 0, epoch))
            self._known_order = epoch, rng.permutation(len(self.table))
        return self._known_order[1]

    def batches(self, start: int, stop: int, batch_size: int, workers: int = 0) -> Iterator[Batch]:
        """Batches of the steps ``start`` to ``stop`` (exclusive).

        Raises:
            DataError: No image of the table can be read.
        """
        positions = range(start * batch_size, stop * batch_size)
        loader = DataLoader(
            self, batch_size, sampler=positions, num_workers=workers, collate_fn=list
        )
        for items in loader:
            sources, targets, failures = zip(*items, strict=True)
            if any(source is None for source in sources):
                reason = next(f[0] for s, f in zip(sources, failures, strict=True) if s is None)
                raise DataError(
                    f"none of the {len(self.table)} training images can be read: {reason}"
                )
            yield Batch(list(sources), torch.stack(targets), list(chain.from_iterable(failures)))
