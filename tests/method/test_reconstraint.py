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
        ("shifted", [[[2.0, 0.0]], [[0.0, 2.0]]]),
        ("scaled_sum", [[[2.0, 1.0]], [[1.0, 2.0]]]),
    ],
)
def test_literals(reconstraint, expected):
    """One spatial map serves both categories."""
    maps = torch.tensor([[[[2.0, -2.0]], [[0.0, 4.0]]]])
    assert RECONSTRAINTS[reconstraint](torch.full((1, 1, 2), 0.5), maps)[0].tolist() == expected


@pytest.mark.parametrize("reconstraint", ["shifted", "sigmoid", "scaled_sum"])
def test_ours_keep_a_negative_peak_that_the_product_turns_inside_out(reconstraint):
    maps = torch.tensor([[[[-4.0, -3.0, -4.0, -4.0]]]])
    spatial_map = torch.tensor([[[0.1, 0.7, 0.1, 0.1]]])
    assert RECONSTRAINTS[reconstraint](spatial_map, maps).argmax() == 1
    assert RECONSTRAINTS["hadamard"](spatial_map, maps).argmin() == 1


@pytest.mark.parametrize("reconstraint", ["shifted", "scaled_sum"])
def test_constant_maps_leave_the_spatial_map_or_nothing(reconstraint):
    spatial_map = torch.tensor([[[0.25, 0.5]]])
    result = RECONSTRAINTS[reconstraint](spatial_map, torch.full((1, 1, 1, 2), -3.0))
    expected = {"shifted": [0.0, 0.0], "scaled_sum": [0.5, 1.0]}[reconstraint]
    assert result.flatten().tolist() == expected
