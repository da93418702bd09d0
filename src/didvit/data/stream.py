"""Images of training in a stream, which is a pure function of (seed, step)."""

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from didvit.data.images import ImageError, read_image
from didvit.data.table import DataError, Table
from didvit.data.transforms import TRAIN_TRANSFORMS
from didvit.data.workers import read_lists


class Batch(NamedTuple):
    """Images of a training step, or of one part of it.

    Attributes:
        sources: One uint8 image ``(3, height, width)`` each, as cut from the photograph.
        targets: int8 ``(B, C)``: 1 where the image has the label, 0 where not, -1 unknown.
        names: Of the images.
        failures: Why images could not be read; others took their places.
    """

    sources: list[Tensor]
    targets: Tensor
    names: list[str]
    failures: list[str]


class TrainingStream(Dataset):
    """Position → one augmented image. Every epoch is a new permutation of the table.

    What stands at a position depends on the seed and the position alone, so that any number of
    workers or processes, and any restart, gives the same batches.

    Args:
        table: Images and labels.
        seed: Of the order, the crops and the flips.
        transform: Of `TRAIN_TRANSFORMS`.
        least_size: JPEGs are decoded at a reduced scale as long as they are no smaller than this
            height and width; None: never.
    """

    def __init__(
        self,
        table: Table,
        seed: int,
        transform: str = "multi_scale_crop",
        least_size: tuple[int, int] | None = None,
    ):
        self.table = table
        self.seed = seed
        self.transform = TRAIN_TRANSFORMS[transform]
        self.least_size = least_size
        self._known_order: tuple[int, np.ndarray] = -1, np.empty(0)

    def __getitem__(self, position: int) -> tuple[Tensor | None, Tensor, str, list[str]]:
        failures = []
        epoch, place = divmod(position, len(self.table))
        for attempt in range(len(self.table)):
            index = int(self._order(epoch)[(place + attempt) % len(self.table)])
            name = str(self.table.images[index])
            try:
                pixels = read_image(self.table.images[index], self.least_size)
            except ImageError as error:
                failures.append(str(error))
                continue
            image = torch.from_numpy(pixels).permute(2, 0, 1)
            image = self.transform(image, np.random.default_rng((self.seed, 1, position)))
            # A copy of the crop alone: a view would send the whole photograph between processes.
            return image.contiguous(), self._target(index), name, failures
        # An error raised here would reach the user with a worker's stack trace.
        return None, self._target(0), "", failures

    def _target(self, index: int) -> Tensor:
        return torch.from_numpy(self.table.target_of(index))

    def _order(self, epoch: int) -> np.ndarray:
        if self._known_order[0] != epoch:
            rng = np.random.default_rng((self.seed, 0, epoch))
            self._known_order = epoch, rng.permutation(len(self.table))
        return self._known_order[1]

    def batches(
        self,
        start: int,
        stop: int,
        batch_size: int,
        workers: int = 0,
        rank: int = 0,
        world_size: int = 1,
        accumulate: int = 1,
    ) -> Iterator[Batch]:
        """Batches of the steps ``start`` to ``stop`` (exclusive).

        Args:
            start: The first step.
            stop: One past the last.
            batch_size: Images of a step, over all processes.
            workers: Processes that read images; 0 reads in this one.
            rank: Which of the processes this one is; it gets its share of every step.
            world_size: The number of processes.
            accumulate: Batches that the share is cut into.

        Raises:
            DataError: No image of the table can be read.
            WorkerError: A process that reads images died.
        """
        share = batch_size // world_size
        positions = [
            step * batch_size + rank * share + i
            for step in range(start, stop)
            for i in range(share)
        ]
        for items in read_lists(self, share // accumulate, workers, positions):
            sources, targets, names, failures = zip(*items, strict=True)
            if any(source is None for source in sources):
                reason = next(f[0] for s, f in zip(sources, failures, strict=True) if s is None)
                raise DataError(
                    f"none of the {len(self.table)} training images can be read: {reason}"
                )
            problems = list(chain.from_iterable(failures))
            yield Batch(list(sources), torch.stack(targets), list(names), problems)
