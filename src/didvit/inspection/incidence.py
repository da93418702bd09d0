"""Sparse matrices of zeros and ones: which columns each row has."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TypeVar

import numpy as np
from jaxtyping import Int

Item = TypeVar("Item", bound=Hashable)

ENTRIES = 1 << 22
"""Number of entries that are added up at once, which bounds the memory."""


@dataclass(frozen=True, eq=False)
class Incidence:
    """Rows of zeros and ones.

    Attributes:
        columns: Columns of the ones, row after row.
        ends: Number of ones in all rows before each row; then that in all rows.
        num_columns: Number of columns.
    """

    columns: Int[np.ndarray, " n"]
    ends: Int[np.ndarray, " R1"]
    num_columns: int

    @classmethod
    def of_items(cls, rows: Sequence[Iterable[Item]], column: Mapping[Item, int]) -> "Incidence":
        """Make a matrix with 1 in the columns of each row's items.

        >>> Incidence.of_items(["ab", "", "b"], {"a": 0, "b": 1}).column_sums.tolist()
        [1, 2]
        """
        columns = [[column[item] for item in items] for items in rows]
        ends = np.cumsum([0, *map(len, columns)])
        return cls(np.fromiter(chain.from_iterable(columns), np.int32), ends, len(column))

    @property
    def column_sums(self) -> Int[np.ndarray, " C"]:
        """Number of rows that have each column."""
        return np.bincount(self.columns, minlength=self.num_columns)

    @cached_property
    def transposed(self) -> "Incidence":
        """The matrix whose rows are the columns of this one."""
        order = np.argsort(self.columns, kind="stable")
        row = np.repeat(np.arange(len(self.ends) - 1), np.diff(self.ends))
        ends = np.concatenate([[0], np.cumsum(self.column_sums)])
        return Incidence(row[order], ends, len(self.ends) - 1)

    def entries(
        self, rows: Int[np.ndarray, " m"]
    ) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"]]:
        """Find the ones of rows: for each the place of its row in ``rows``, and its column."""
        starts, lengths = self.ends[rows], self.ends[rows + 1] - self.ends[rows]
        place = np.repeat(np.arange(len(rows)), lengths)
        before = np.cumsum(lengths) - lengths
        return place, self.columns[np.arange(len(place)) + (starts - before)[place]]

    def sums(
        self,
        rows: Int[np.ndarray, " m"],
        group: Int[np.ndarray, " m"],
        num_groups: int,
        weights: Int[np.ndarray, " m"] | None = None,
    ) -> Int[np.ndarray, "G C"]:
        """Add up rows by groups.

        Args:
            rows: Rows to add, of which any may come several times.
            group: Group of each.
            num_groups: Number of groups.
            weights: How many times each row is added; None: once.

        Returns:
            The sum of the rows of each group.
        """
        total = np.zeros(num_groups * self.num_columns, np.int64)
        lengths = np.cumsum(self.ends[rows + 1] - self.ends[rows])
        cuts = np.searchsorted(lengths, np.arange(ENTRIES, lengths[-1:].sum(), ENTRIES))
        for part in np.split(np.arange(len(rows)), cuts):
            place, column = self.entries(rows[part])
            cell = group[part][place] * self.num_columns + column
            times = None if weights is None else weights[part][place]
            total += np.bincount(cell, times, len(total)).astype(np.int64)
        return total.reshape(num_groups, self.num_columns)
