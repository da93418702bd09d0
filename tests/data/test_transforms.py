import math
import pickle
import random
from collections import Counter
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from didvit.config import DataConfig
from didvit.data.transforms import (
    OFFSETS,
    SCALES,
    TRAIN_TRANSFORMS,
    multi_scale_crop,
    rand_augment,
    random_area_crop,
    random_flip,
)

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

    def uniform(self, low, high):
        """The given part of the way from low to high."""
        assert low <= high
        return low + self.draws.pop(0) * (high - low)


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


def assert_allowed_area_and_shape(crop_width, crop_height, width, height):
    """There is a real crop that rounds to these sides, of an allowed area and aspect ratio."""
    sides = {}
    for name, side, whole in (("x", crop_width, width), ("y", crop_height, height)):
        # A side less than a pixel long is rounded up to one.
        sides[name] = (side - 0.5 if side > 1 else 0, min(side + 0.5, whole))
    (x0, x1), (y0, y1) = sides["x"], sides["y"]
    tolerance = 1 + 1e-9
    assert x1 / max(y0, 1e-9) * tolerance >= 3 / 4
    assert x0 / y1 <= 4 / 3 * tolerance
    # No crop has more than the area of the largest with an allowed aspect ratio.
    long, short = max(width, height), min(width, height)
    largest = short * min(long, short * 4 / 3)
    least = min(largest, width * height / 4)
    assert x1 * y1 * tolerance >= least
    assert x0 * y0 <= largest * tolerance


@settings(max_examples=300)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 10**6))
@example(1, 1, 0)
@example(1, 500, 0)
@example(500, 1, 0)
@example(2, 3, 0)
@example(16, 3, 0)
@example(75, 100, 0)
def test_a_random_crop_is_inside_and_of_an_allowed_area_and_shape(height, width, seed):
    crop = random_area_crop(numbered(height, width), np.random.default_rng(seed))
    left, top, crop_width, crop_height = box(crop)
    assert 0 <= left <= width - crop_width
    assert 0 <= top <= height - crop_height
    assert_allowed_area_and_shape(crop_width, crop_height, width, height)


@pytest.mark.parametrize(
    ("size", "area", "shape", "place", "expected"),
    [
        # The greatest area of a 4:3 photograph is the whole: one shape is left, and one place.
        ((300, 400), 1, 0.5, (0, 0), (0, 0, 400, 300)),
        # The least, a quarter: 4:3 is its half, at the lower right; and a square in the middle.
        ((300, 400), 0, 1, (200, 150), (200, 150, 200, 150)),
        ((300, 300), 0, 0.5, (75, 75), (75, 75, 150, 150)),
        # A square's greatest crop is itself.
        ((300, 300), 1, 0, (0, 0), (0, 0, 300, 300)),
        # Of an image that is too long, the largest crop of the nearest shape, whatever is drawn.
        ((30, 400), 0, 0, (360, 0), (360, 0, 40, 30)),
        ((30, 400), 1, 1, (0, 0), (0, 0, 40, 30)),
        ((400, 30), 0.5, 0.5, (0, 360), (0, 360, 30, 40)),
    ],
)
def test_literal_random_crops(size, area, shape, place, expected):
    assert box(random_area_crop(numbered(*size), Draws(area, shape, *place))) == expected


def test_areas_shapes_and_places_spread_over_their_ranges():
    rng, side = np.random.default_rng(0), 1000
    image = numbered(side, side)
    areas, shapes, places = [], [], []
    for _ in range(2000):
        crop = random_area_crop(image, rng)
        height, width = crop.shape[1:]
        areas.append(width * height / side**2)
        shapes.append(math.log(width / height) / math.log(4 / 3))
        if width < side and height < side:
            places.append(
                (int(crop[1, 0, 0]) / (side - width), int(crop[0, 0, 0]) / (side - height))
            )
    # Uniform: every tenth of the range has its tenth, within five standard deviations.
    tenths = np.histogram(areas, bins=10, range=(0.25, 1))[0]
    assert tenths.sum() >= 1990
    assert (abs(tenths - 200) < 5 * math.sqrt(200)).all()
    # Small crops take any shape; and none is favored, wide or tall.
    assert min(shapes) < -0.95
    assert max(shapes) > 0.95
    assert abs(np.mean(shapes)) < 5 * np.std(shapes) / math.sqrt(len(shapes))
    for axis in (0, 1):
        fifths = np.histogram([place[axis] for place in places], bins=5, range=(0, 1))[0]
        assert (abs(fifths - len(places) / 5) < 5 * math.sqrt(len(places) / 5)).all()


def photograph(height, width, seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).permute(
        2, 0, 1
    )


SIZES = [(1, 1), (1, 500), (500, 1), (2, 2), (37, 53), (64, 48)]


def test_there_is_a_transform_for_every_choice_of_the_configuration():
    assert set(get_args(get_type_hints(DataConfig)["augmentation"])) == set(TRAIN_TRANSFORMS)


@pytest.mark.parametrize("name", TRAIN_TRANSFORMS)
@pytest.mark.parametrize("size", SIZES)
def test_transforms_give_colored_bytes_no_larger_than_the_image(name, size):
    image = photograph(*size)
    before = image.clone()
    for seed in range(12):
        result = TRAIN_TRANSFORMS[name](image, np.random.default_rng(seed))
        assert result.dtype == torch.uint8
        assert result.ndim == 3
        assert result.shape[0] == 3
        assert 1 <= result.shape[1] <= size[0]
        assert 1 <= result.shape[2] <= size[1]
        assert torch.equal(image, before)  # the image itself is left as it was


@pytest.mark.parametrize("name", TRAIN_TRANSFORMS)
def test_transforms_are_functions_of_the_generator_alone(name):
    image, results = photograph(40, 60), []
    for seed in range(12):
        torch.manual_seed(1)
        expected = TRAIN_TRANSFORMS[name](image, np.random.default_rng(seed))
        torch.manual_seed(2)
        assert torch.equal(TRAIN_TRANSFORMS[name](image, np.random.default_rng(seed)), expected)
        results.append(expected)
    different = {(tuple(result.shape), result.numpy().tobytes()) for result in results}
    assert len(different) == (1 if name == "resize" else 12)


@pytest.mark.parametrize("name", TRAIN_TRANSFORMS)
def test_transforms_leave_the_global_generators_alone(name):
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    TRAIN_TRANSFORMS[name](photograph(40, 60), np.random.default_rng(0))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]


@pytest.mark.parametrize("name", TRAIN_TRANSFORMS)
def test_transforms_survive_the_way_into_a_new_process(name):
    assert pickle.loads(pickle.dumps(TRAIN_TRANSFORMS[name])) is TRAIN_TRANSFORMS[name]


@pytest.mark.parametrize("seed", range(20))
def test_transforms_are_made_of_these_parts(seed):
    image = photograph(40, 60)

    def parts(*functions):
        result, rng = image, np.random.default_rng(seed)
        for function in functions:
            result = function(result, rng)
        return result

    expected = {
        "multi_scale_crop": parts(multi_scale_crop, random_flip),
        "random_resized_crop": parts(random_area_crop, random_flip),
        "modern": parts(random_area_crop, random_flip, rand_augment),
        "resize": image,
    }
    for name, result in expected.items():
        assert torch.equal(TRAIN_TRANSFORMS[name](image, np.random.default_rng(seed)), result)


def test_rand_augment_fills_with_gray():
    image = torch.full((3, 60, 60), 128, dtype=torch.uint8)
    results = [rand_augment(image, np.random.default_rng(seed)) for seed in range(100)]
    # A gray image that is moved shows no edge, unless its brightness was changed before. With
    # another color, each of two draws would have 5 chances in 14 of making one: 41 would have none.
    assert sum(len(result.unique()) == 1 for result in results) > 80


def test_rand_augment_changes_pixels_and_keeps_the_size():
    image = photograph(40, 60)
    for seed in range(30):
        result = rand_augment(image, np.random.default_rng(seed))
        assert result.shape == image.shape
        assert not torch.equal(result, image)
