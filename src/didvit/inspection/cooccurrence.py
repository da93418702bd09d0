"""Label co-occurrence: how often an image with one label has another too."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from didvit.data.findings import FEW
from didvit.inspection.incidence import Incidence

BLOCK = 64
"""Number of labels that are compared with all others at once, which bounds the memory."""


class LabelPair(NamedTuple):
    """Two labels that images have together.

    Attributes:
        label: The label that is given.
        other: The label that comes with it.
        num_images: Number of images that have both.
        probability: Of the images with ``label`` of which ``other`` is known, the part that has it.
    """

    label: str
    other: str
    num_images: int
    probability: float


class _Block(NamedTuple):
    """Pairs of labels, by their columns, that occur together."""

    a: Int[np.ndarray, " m"]
    b: Int[np.ndarray, " m"]
    together: Int[np.ndarray, " m"]
    probability: Float[np.ndarray, " m"]


@dataclass(frozen=True)
class Cooccurrence:
    """The labels of images, of which any part of the co-occurrence matrix is computed when asked.

    The whole matrix of ten thousand labels would fill a gigabyte.

    Attributes:
        labels: All labels, one for each column.
        present: Labels that each image has.
        group: Group of each image. Images with the same unknown labels are a group, as a whole data
            set may share thousands of them.
        unknown: Labels that are unknown of each group.
    """

    labels: tuple[str, ...]
    present: Incidence
    group: Int[np.ndarray, " N"]
    unknown: Incidence

    @property
    def num_images(self) -> Int[np.ndarray, " C"]:
        """Number of images that have each label."""
        return self.present.column_sums

    def most_frequent(self, count: int) -> list[int]:
        """Columns of the labels that most images have, the most frequent first."""
        return np.argsort(-self.num_images, kind="stable")[:count].tolist()

    def matrix(
        self, columns: Sequence[int]
    ) -> tuple[Int[np.ndarray, "c c"], Float[np.ndarray, "c c"]]:
        """Compare a few labels with each other.

        Returns:
            The number of images with both labels, and the probability of the column's label given
            the row's; see `LabelPair`. It is NaN where no image tells.
        """
        together, unanswered = (of[:, columns] for of in self._counts(np.array(columns, int)))
        given = together.diagonal()[:, None] - unanswered
        conditional = np.full(together.shape, np.nan)
        return together, np.divide(together, given, out=conditional, where=given > 0)

    def frequent_pairs(self, count: int) -> list[LabelPair]:
        """Pairs that most images have together; each pair once, the label of fewer columns first.

        The most frequent come first.
        """
        blocks = (
            _Block(*(values[block.a < block.b] for values in block)) for block in self._blocks(1)
        )
        return self._named(_first(blocks, count, lambda block: (block.together, block.probability)))

    def strongest_pairs(self, count: int) -> list[LabelPair]:
        """Pairs by the probability of the second given the first, which has at least `FEW` images.

        The most probable come first, and of those the most frequent.
        """
        return self._named(
            _first(self._blocks(FEW), count, lambda block: (block.probability, block.together))
        )

    def _named(self, pairs: _Block) -> list[LabelPair]:
        return [
            LabelPair(self.labels[a], self.labels[b], together, probability)
            for a, b, together, probability in zip(*(x.tolist() for x in pairs), strict=True)
        ]

    def _blocks(self, least: int) -> Iterator[_Block]:
        """All ordered pairs of different labels, of which the first has so many images."""
        num_images = self.num_images
        firsts = np.flatnonzero(num_images >= least)
        for start in range(0, len(firsts), BLOCK):
            rows = firsts[start : start + BLOCK]
            together, unanswered = self._counts(rows)
            together[np.arange(len(rows)), rows] = 0
            row, column = np.nonzero(together)
            together = together[row, column]
            given = num_images[rows[row]] - unanswered[row, column]
            yield _Block(rows[row], column, together, together / given)

    def _counts(
        self, rows: Int[np.ndarray, " m"]
    ) -> tuple[Int[np.ndarray, "m C"], Int[np.ndarray, "m C"]]:
        """Count, of the images with a row's label, those that have each label.

        Returns:
            Their number, and that of the images of which the label is unknown.
        """
        row, image = self.present.transposed.entries(rows)
        together = self.present.sums(image, row, len(rows))
        num_groups = len(self.unknown.ends) - 1
        pairs, times = np.unique(row * num_groups + self.group[image], return_counts=True)
        row, group = np.divmod(pairs, num_groups)
        return together, self.unknown.sums(group, row, len(rows), times)


def _first(
    blocks: Iterator[_Block],
    count: int,
    keys: Callable[[_Block], tuple[np.ndarray, np.ndarray]],
) -> _Block:
    """The pairs with the greatest first key, and of those the greatest second, in order."""
    empty = np.empty(0, int)
    best = _Block(empty, empty, empty, np.empty(0))
    for block in blocks:
        if len(best.a) == count:  # only what is better than the last of them
            first, second = keys(block)
            last_first, last_second = (key[-1] for key in keys(best))
            better = (first > last_first) | ((first == last_first) & (second > last_second))
            block = _Block(*(values[better] for values in block))
        both = _Block(*(np.concatenate(pair) for pair in zip(best, block, strict=True)))
        first, second = keys(both)
        order = np.lexsort((-second, -first))[:count]  # stable: columns in order
        best = _Block(*(values[order] for values in both))
    return best
