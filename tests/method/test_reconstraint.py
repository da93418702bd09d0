import pytest
import torch

import oracles
from didvit.method.reconstraint import RECONSTRAINTS


@pytest.mark.parametrize("reconstraint", RECONSTRAINTS)
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(("categories", "grid"), [(1, (1, 1)), (4, (2, 5)), (2, (3, 2))])
def test_equals_the_loop(reconstraint, batch, categories, grid):
    spatial_map = torch.rand(batch, *grid, dtype=torch.float64)
    maps = torch.randn(batch, categories, *grid, dtype=torch.float64)
    result = RECONSTRAINTS[reconstraint](spatial_map, maps)
    for image in range(batch):
        expected = oracles.reconstrain(
            spatial_map[image].numpy(), maps[image].numpy(), reconstraint
        )
        torch.testing.assert_close(result[image], torch.from_numpy(expected))


@pytest.mark.parametrize(
    ("reconstraint", "expected"),
    [
        ("hadamard", [[[1.0, -1.0]], [[0.0, 2.0]]]),
        ("sum", [[[2.5, -1.5]], [[0.5, 4.5]]]),
        ("none", [[[2.0, -2.0]], [[0.0, 4.0]]]),
    ],
)
def test_literals(reconstraint, expected):
    """One spatial map serves both categories."""
    maps = torch.tensor([[[[2.0, -2.0]], [[0.0, 4.0]]]])
    assert RECONSTRAINTS[reconstraint](torch.full((1, 1, 2), 0.5), maps)[0].tolist() == expected
