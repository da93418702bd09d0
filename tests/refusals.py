"""What the tests of data sets ask of a refusal."""

from collections.abc import Callable

import pytest

from didvit.data.datasets import read_dataset
from didvit.data.table import DataError


def refused(source, *parts: str, read: Callable = read_dataset, **options) -> None:
    """Reading is refused, with a message that has every part."""
    with pytest.raises(DataError) as caught:
        read(source, **options)
    for part in parts:
        assert part in str(caught.value)
