from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from didvit.data.transforms import OFFSETS, SCALES, multi_scale_crop, random_flip

# Width and height indices into the scales, at most two steps apart, written out.
PAIRS = {(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (1, 3), (2, 0), (2, 1), (2, 2)}
PAIRS |= {(2, 3), (2, 4), (3, 1), (3, 2), (3, 3), (3, 4), (4, 2), (4, 3), (4, 4)}


class Draws:
    """A generator whose draws are given."""

    def __init__(self, *draws):
        self.draws = list(draws)

    def integers(self, high):
        draw = self.draws.pop(0)
        assert 0 <= draw < high
        return draw

    def random(self):
        return self.draws.pop(0)


def numbered(height, width):
    """An image whose pixels tell their places: channel 0 is y, channel 1 is x."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([y, x, torch.zeros_like(x)])


def box(crop):
    """left, top, width, height of a crop of a numbered image, every pixel of which is checked."""
    left, top = int(crop[1, 0, 0]), int(crop[0, 0, 0])
    height, width = crop.shape[1:]
    rows, columns = torch.arange(top, top + height), torch.arange(left, left + width)
    assert torch.equal(crop[0], rows[:, None].expand(height, width))
    assert torch.equal(crop[1], columns.expand(height, width))
    return left, top, width, height


def test_the_scales_and_the_thirteen_places_are_the_papers():
    assert SCALES == (1.0, 0.875, 0.75, 0.66, 0.5)
    assert len(OFFSETS) == len(set(OFFSETS)) == 13
    even = {(x, y) for x in (0, 2, 4) for y in (0, 2, 4)}
    assert set(OFFSETS) == even | {(1, 1), (3, 1), (1, 3), (3, 3)}


@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 10**6))
def test_a_crop_is_inside_and_its_sides_are_an_allowed_pair(height, width, seed):
    crop = multi_scale_crop(numbered(height, width), np.random.default_rng(seed))
    left, top, crop_width, crop_height = box(crop)
    assert 0 <= left <= width - crop_width
    assert 0 <= top <= height - crop_height
    allowed = {
        (max(round(width * SCALES[i]), 1), max(round(height * SCALES[j]), 1)) for i, j in PAIRS
    }
    assert (crop_width, crop_height) in allowed


def test_every_pair_and_every_place_comes_up_about_as_often():
    size, crops = 512, 13 * 19 * 12
    image, rng = numbered(size, size), np.random.default_rng(0)
    sides = {round(size * scale): index for index, scale in enumerate(SCALES)}
    pairs, places = Counter(), Counter()
    for _ in range(crops):
        crop = multi_scale_crop(image, rng)
        left, top = int(crop[1, 0, 0]), int(crop[0, 0, 0])
        height, width = crop.shape[1:]
        pairs[sides[width], sides[height]] += 1
        if width < size and height < size:
            quarters = 4 * left / (size - width), 4 * top / (size - height)
            places[tuple(round(quarter) for quarter in quarters)] += 1
    assert set(pairs) == PAIRS
    assert set(places) == set(OFFSETS)
    # Five standard deviations of a binomial count.
    for counts in (pairs, places):
        mean = sum(counts.values()) / len(counts)
        assert all(abs(count - mean) < 5 * mean**0.5 for count in counts.values())


@pytest.mark.parametrize(
    ("pair", "offset", "expected"),
    [
        (0, 0, (0, 0, 400, 200)),  # the whole
        (18, 0, (0, 0, 200, 100)),  # half of each side, at the upper left
        (18, 3, (200, 100, 200, 100)),  # at the lower right
        (18, 4, (100, 50, 200, 100)),  # in the middle
        (18, 10, (150, 25, 200, 100)),  # three quarters across, one quarter down
        (2, 7, (0, 0, 400, 150)),  # as wide as the image: it can move only down
        (2, 8, (0, 50, 400, 150)),
    ],
)
def test_literal_crops(pair, offset, expected):
    assert box(multi_scale_crop(numbered(200, 400), Draws(pair, offset))) == expected


@pytest.mark.parametrize("seed", range(20))
def test_a_single_pixel_is_its_own_crop(seed):
    image = torch.tensor([[[1]], [[2]], [[3]]], dtype=torch.uint8)
    assert torch.equal(multi_scale_crop(image, np.random.default_rng(seed)), image)


def test_a_flip_mirrors_left_and_right():
    image = numbered(2, 3)
    assert torch.equal(random_flip(image, Draws(0.49))[1], torch.tensor([[2, 1, 0], [2, 1, 0]]))
    assert torch.equal(random_flip(image, Draws(0.49))[0], image[0])
    assert torch.equal(random_flip(image, Draws(0.5)), image)


def test_half_of_the_images_are_flipped():
    image, rng = numbered(1, 2), np.random.default_rng(0)
    flipped = sum(int(random_flip(image, rng)[1, 0, 0]) for _ in range(1000))
    assert 420 < flipped < 580
