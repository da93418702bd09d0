"""The measures of scripts/spatial_map.py."""

import importlib.util
from pathlib import Path

import pytest
import torch

from didvit.data.boxes import AnnotatedImage

ROOT = Path(__file__).parents[2]


def script(path: str):
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([(0, 0, 60, 40)], [[1, 1, 1], [1, 1, 1]]),
        ([(0, 0, 10, 10)], [[0, 0, 0], [0, 0, 0]]),  # ends before a center
        ([(0, 0, 10.5, 10.5)], [[1, 0, 0], [0, 0, 0]]),
        ([(10, 30, 11, 31), (50, 10, 51, 31)], [[0, 0, 1], [1, 0, 1]]),
    ],
)
def test_patches_in_objects_have_their_centers_in_a_box(boxes, expected):
    image = AnnotatedImage(Path("a.jpg"), (40, 60), tuple(boxes), (0,) * len(boxes))
    inside = script("scripts/spatial_map.py").object_patches(image, (2, 3))
    assert inside.int().tolist() == expected


def test_measures_of_a_spatial_map():
    spatial = torch.tensor([5.0, 1, 1, 4, 6, 1, 1, 1])  # peaks: 4, 0, 3
    norm = torch.tensor([9.0, 8, 7, 0, 0, 0, 0, 0])
    received = torch.stack((spatial.flip(0), spatial))
    inside = torch.tensor([True, True, False, False, True, False, False, False])
    measures = script("scripts/spatial_map.py").spatial_measures(spatial, norm, received, inside)
    assert measures == {
        "max_over_mean": pytest.approx(6 / 2.5),
        "mass_of_peaks": pytest.approx(15 / 20),
        "peaks_in_objects": pytest.approx(2 / 3),
        "mass_in_objects": pytest.approx(12 / 20),
        "peaks_of_largest_norm": pytest.approx(1 / 3),
        "peaks_of_first_block": pytest.approx(2 / 3),
        "peaks_of_last_block": 1,
    }
