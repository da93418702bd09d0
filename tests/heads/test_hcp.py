import numpy as np
import pytest

from didvit.heads.hcp import OVERLAP, THRESHOLDS, localize_hypotheses
from didvit.method.localization import localize_largest_component

SIZE, PATCH = (32, 48), (8, 8)


def iou(one, other):
    x = min(one[2], other[2]) - max(one[0], other[0])
    y = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(x, 0) * max(y, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared)


def slow_hypotheses(maps, threshold):
    """Of one image, its maps ``(K, h, w)``."""
    hypotheses = []
    for one in maps:
        proposals = [
            localize_largest_component(one[None, None], SIZE, t, PATCH)[0, 0].tolist()
            for t in (threshold, *THRESHOLDS)
        ]
        free = [p for p in proposals if all(iou(p, h) <= OVERLAP for h in hypotheses)]
        hypotheses.append((free or proposals)[0])
    return hypotheses


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("threshold", [0.2, 0.6])
def test_equals_the_loop(seed, threshold):
    maps = np.random.default_rng(seed).standard_normal((3, 4, 4, 6))
    boxes = localize_hypotheses(maps, SIZE, threshold, PATCH)
    assert boxes.tolist() == [slow_hypotheses(of_image, threshold) for of_image in maps]


def test_two_things_are_two_hypotheses_each_of_its_own_map():
    maps = np.zeros((1, 2, 8, 12))
    maps[0, 0, 1:3, 1:3] = maps[0, 1, 5:7, 9:11] = 1
    boxes = localize_hypotheses(maps, (64, 96), 0.6, PATCH)[0].tolist()
    assert boxes == localize_largest_component(maps, (64, 96), 0.6, PATCH)[0].tolist()


def test_one_place_gives_one_cluster_and_then_the_box_of_each_map():
    """Four equal constant maps: every proposal is the whole image."""
    boxes = localize_hypotheses(np.ones((1, 4, 4, 6)), SIZE, 0.5, PATCH)
    assert boxes.tolist() == [[[0, 0, 48, 32]] * 4]


@pytest.mark.parametrize("shape", [(0, 4, 4, 6), (2, 0, 4, 6)])
def test_nothing_gives_nothing(shape):
    assert localize_hypotheses(np.ones(shape), SIZE, 0.5, PATCH).shape == (*shape[:2], 4)
