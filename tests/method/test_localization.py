import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import oracles
from didvit.method.localization import (
    LOCALIZERS,
    _upsample,
    localize_largest_component,
    localize_mcar,
    localize_random,
)

BY_MAP = {"largest_component": localize_largest_component, "mcar": localize_mcar}
ORACLES = {"largest_component": oracles.component_box, "mcar": oracles.mcar_box}


def box_of(rows, patch, threshold=0.5, least=None, localize=localize_largest_component):
    """Box of one map, given as nested lists, of patches ``patch`` pixels wide."""
    instance_map = np.array(rows, np.float32)
    size = (patch * instance_map.shape[0], patch * instance_map.shape[1])
    least = patch if least is None else least
    boxes = localize(instance_map[None, None], size, threshold, (least, least), None)
    return tuple(boxes[0, 0].tolist())


def is_near_a_tie(instance_map, size, threshold, localization):
    """Whether some value is so close to the threshold that rounding may decide."""
    if localization == "largest_component":
        scaled = [oracles.min_max(oracles.upsample(instance_map, size))]
    else:
        scaled = map(oracles.min_max, oracles.mcar_profiles(instance_map, size))
    return any(values is None or np.abs(values - threshold).min() < 1e-5 for values in scaled)


def maps_away_from_ties(grid, size, threshold, localization, count):
    rng, maps = np.random.default_rng(0), []
    while len(maps) < count:
        instance_map = rng.normal(size=grid).astype(np.float32).astype(np.float64)
        if not is_near_a_tie(instance_map, size, threshold, localization):
            maps.append(instance_map)
    return maps


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("threshold", [0.05, 0.6, 0.95])
@pytest.mark.parametrize(
    ("localization", "grid", "patch"),
    [
        *[(name, (3, 4), 8) for name in BY_MAP],
        *[(name, (4, 2), 14) for name in BY_MAP],
        *[(name, (2, 2), 16) for name in BY_MAP],
        *[(name, (5, 5), 4) for name in BY_MAP],
        ("largest_component", (1, 3), 8),  # a constant axis for MCAR: tested below
    ],
)
def test_equals_the_loop(localization, batch, threshold, grid, patch):
    size, categories = (grid[0] * patch, grid[1] * patch), 2
    maps = maps_away_from_ties(grid, size, threshold, localization, batch * categories)
    boxes = LOCALIZERS[localization](
        np.stack(maps).astype(np.float32).reshape(batch, categories, *grid),
        size,
        threshold,
        (patch, patch),
        None,
    )
    assert boxes.shape == (batch, categories, 4)
    assert boxes.dtype == np.int64
    assert [tuple(box) for box in boxes.reshape(-1, 4).tolist()] == [
        ORACLES[localization](instance_map, size, threshold, (patch, patch))
        for instance_map in maps
    ]


# Whole numbers of up to 8 and patches of a power of two: upsampling is exact, in any order of
# additions, so that the tests below compare boxes without a tolerance.


@st.composite
def whole_maps(draw):
    height, width = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    numbers = st.lists(st.integers(-8, 8), min_size=width, max_size=width)
    rows = draw(st.lists(numbers, min_size=height, max_size=height))
    return np.array(rows, np.float32)


patches = st.sampled_from([1, 2, 4, 8])
thresholds = st.sampled_from([0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9])


def component_box(instance_map, patch, threshold, least=1):
    size = (patch * instance_map.shape[0], patch * instance_map.shape[1])
    boxes = localize_largest_component(
        instance_map[None, None], size, threshold, (least, least), None
    )
    return boxes[0, 0].tolist()


@given(whole_maps(), patches, thresholds, st.booleans())
@settings(max_examples=100, deadline=None)
def test_component_box_equals_the_loop_ties_included(instance_map, patch, threshold, grows):
    least = patch if grows else 1
    size = (patch * instance_map.shape[0], patch * instance_map.shape[1])
    expected = oracles.component_box(
        instance_map.astype(np.float64), size, threshold, (least, least)
    )
    assert tuple(component_box(instance_map, patch, threshold, least)) == expected


@given(
    whole_maps(),
    patches,
    thresholds,
    st.sampled_from([0.125, 0.5, 2.0, 64.0]),
    st.integers(-16, 16),
)
@settings(max_examples=100, deadline=None)
def test_box_does_not_change_with_scale_and_offset(instance_map, patch, threshold, scale, offset):
    box = component_box(instance_map, patch, threshold)
    assert component_box(scale * instance_map + offset, patch, threshold) == box


@given(whole_maps(), patches, thresholds)
@settings(max_examples=100, deadline=None)
def test_box_follows_flips(instance_map, patch, threshold):
    size = height, width = patch * instance_map.shape[0], patch * instance_map.shape[1]
    scaled = oracles.min_max(oracles.upsample(instance_map, size))
    assume(scaled is not None)
    sizes = sorted(len(pixels) for pixels in oracles.components(scaled > threshold))
    assume(len(sizes) == 1 or sizes[-1] > sizes[-2])
    x0, y0, x1, y1 = component_box(instance_map, patch, threshold)
    horizontal = component_box(instance_map[:, ::-1], patch, threshold)
    vertical = component_box(instance_map[::-1], patch, threshold)
    assert horizontal == [width - x1, y0, width - x0, y1]
    assert vertical == [x0, height - y1, x1, height - y0]


@pytest.mark.parametrize("localization", BY_MAP)
@given(whole_maps(), patches, thresholds)
@settings(max_examples=50, deadline=None)
def test_boxes_hold_a_peak_and_are_a_patch_at_least(localization, instance_map, patch, threshold):
    size = height, width = patch * instance_map.shape[0], patch * instance_map.shape[1]
    boxes = BY_MAP[localization](instance_map[None, None], size, threshold, (patch, patch), None)
    x0, y0, x1, y1 = boxes[0, 0].tolist()
    assert 0 <= x0 <= x1 - patch <= width - patch
    assert 0 <= y0 <= y1 - patch <= height - patch


@pytest.mark.parametrize("localization", BY_MAP)
def test_batch_equals_one_by_one(localization):
    maps = np.random.default_rng(0).standard_normal((3, 4, 5, 3))
    arguments = ((40, 24), 0.6, (8, 8), None)
    boxes = BY_MAP[localization](maps, *arguments)
    for image in range(3):
        for k in range(4):
            alone = BY_MAP[localization](maps[image : image + 1, k : k + 1], *arguments)
            assert alone[0, 0].tolist() == boxes[image, k].tolist()


# Literal edge cases of the largest component.


@pytest.mark.parametrize("localization", BY_MAP)
@pytest.mark.parametrize("value", [0.0, -3.5, 0.1, 0.30103, -0.62327, 1e-30, 7e7])
@pytest.mark.parametrize(("grid", "patch"), [((3, 2), 14), ((5, 3), 8), ((1, 2), 32), ((6, 6), 7)])
def test_constant_map_gives_the_whole_image(localization, value, grid, patch):
    rows = np.full(grid, value).tolist()
    box = box_of(rows, patch, 0.6, localize=BY_MAP[localization])
    assert box == (0, 0, patch * grid[1], patch * grid[0])


@pytest.mark.parametrize(
    ("row", "column", "expected"),
    [
        (0, 0, (0, 0, 8, 8)),
        (0, 2, (16, 0, 24, 8)),
        (2, 0, (0, 16, 8, 24)),
        (2, 2, (16, 16, 24, 24)),
        (1, 1, (8, 8, 16, 16)),
    ],
)
def test_lone_peak_grows_to_a_patch_and_stays_inside(row, column, expected):
    rows = np.zeros((3, 3))
    rows[row, column] = 1
    assert box_of(rows.tolist(), 8, threshold=0.85) == expected


def test_lone_pixel_grows_around_its_center():
    rows = np.zeros((9, 9))
    rows[4, 2] = 1
    assert box_of(rows.tolist(), 1, least=1) == (2, 4, 3, 5)
    assert box_of(rows.tolist(), 1, least=3) == (1, 3, 4, 6)
    assert box_of(rows.tolist(), 1, least=7) == (0, 1, 7, 8)  # from -1: shifted to stay inside


def test_growth_is_by_axis_and_by_the_patchs_own_sides():
    instance_map = np.zeros((1, 1, 9, 9))
    instance_map[0, 0, 4, 3:8] = 1
    boxes = localize_largest_component(instance_map, (9, 9), 0.5, (3, 1), None)
    assert boxes.tolist() == [[[3, 3, 8, 6]]]
    boxes = localize_largest_component(instance_map, (9, 9), 0.5, (1, 7), None)
    assert boxes.tolist() == [[[2, 4, 9, 5]]]


PICTURES = {
    "of two equal components the one that starts higher": (
        """
        . . . # #
        # # . . .
        . . . . .
        """,
        (3, 0, 5, 1),
    ),
    "of two equal components in one row the left one": (
        """
        # . # . .
        # . # . .
        . . . . .
        """,
        (0, 0, 1, 2),
    ),
    "the first pixel counts, not the left edge": (
        """
        . . # . .
        # . # . .
        # . . . .
        """,
        (2, 0, 3, 2),
    ),
    "the larger one comes last": (
        """
        # # . . .
        . . . # #
        . . . # .
        """,
        (3, 1, 5, 3),
    ),
    "three components, the two larger ones equal": (
        """
        # . . # #
        . . . . .
        # # . . .
        """,
        (3, 0, 5, 1),
    ),
    "diagonal neighbors are connected": (
        """
        # . . . #
        . # . . #
        . . # . .
        """,
        (0, 0, 3, 3),
    ),
    "the other diagonal as well": (
        """
        # # . . #
        . . . # .
        . . # . .
        """,
        (2, 0, 5, 3),
    ),
    "a hole takes its pixels away": (
        """
        # # # . . # # #
        # . # . . # # #
        # # # . . # # #
        """,
        (5, 0, 8, 3),
    ),
    "a component within a hole is another one": (
        """
        # # # # # . .
        # . . . # . .
        # . # . # . .
        # . . . # . .
        # # # # # . .
        """,
        (0, 0, 5, 5),
    ),
    "a thin wide component beats a compact one of fewer pixels": (
        """
        # # # # # # #
        . . . . . . .
        . . # # # . .
        . . # # # . .
        """,
        (0, 0, 7, 1),
    ),
    "a compact one beats a thin one of larger extent": (
        """
        # # # # # # #
        . . . . . . .
        . # # # # . .
        . # # # # . .
        """,
        (1, 2, 5, 4),
    ),
    "all but one pixel": (
        """
        # # #
        # . #
        # # #
        """,
        (0, 0, 3, 3),
    ),
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures(name):
    picture, expected = PICTURES[name]
    rows = [[float(c == "#") for c in line.split()] for line in picture.strip().splitlines()]
    assert box_of(rows, 1, least=1) == expected


def test_threshold_is_exclusive():
    rows = [[0.0, 0.5, 1.0, 0.5, 0.0]]
    assert box_of(rows, 1, 0.5, least=1) == (2, 0, 3, 1)
    assert box_of(rows, 1, 0.499, least=1) == (1, 0, 4, 1)


def test_threshold_near_its_ends():
    rows = [[0.0, 1.0, 2.0, 3.0, 4.0]]
    assert box_of(rows, 1, 1e-6, least=1) == (1, 0, 5, 1)  # the minimum itself is never foreground
    assert box_of(rows, 1, 1 - 1e-6, least=1) == (4, 0, 5, 1)
    assert box_of(rows, 8, 1 - 1e-6) == (32, 0, 40, 8)


def test_negative_maps_are_scaled_by_their_own_range():
    assert box_of([[-9.0, -5.0, -1.0, -1.0]], 1, 0.6, least=1) == (2, 0, 4, 1)


def test_upsampling_by_two():
    """Half-pixel centers: 0 and 4 become 0, 1, 3, 4."""
    assert box_of([[0.0, 4.0]], 2, 0.2, least=1) == (1, 0, 4, 2)
    assert box_of([[0.0, 4.0]], 2, 0.5, least=1) == (2, 0, 4, 2)
    assert box_of([[0.0, 4.0]], 2, 0.8, least=1) == (3, 0, 4, 2)


def test_range_is_that_of_the_upsampled_map():
    """The peak 16 of a grid of twos becomes 9 at its best pixel: λ counts from there."""
    rows = np.zeros((3, 3))
    rows[1, 1] = 16
    # At one side of the center: 16·3/4 = 12 along an axis, 16·(3/4)² = 9 in two. 9/9 > 0.7.
    assert box_of(rows.tolist(), 2, 0.7, least=1) == (2, 2, 4, 4)


# The comparators.


def test_mcar_interval_holds_the_peak_only_between_values_below():
    """Two bumps on the x axis; the interval is around the higher one."""
    rows = [[-9.0, 3.0, -9.0, -9.0, 9.0, 2.0, -9.0, -9.0]]
    rows = [[-9.0] * 8, *rows, [-9.0] * 8]
    box = box_of(rows, 1, 0.5, least=1, localize=localize_mcar)
    assert box == (4, 1, 6, 2)


def test_mcar_threshold_is_exclusive():
    """A sigmoid of exactly 0, 1/2 and 1."""
    rows = [[-200.0, 0.0, 200.0, 0.0, -200.0], [-200.0] * 5]
    assert box_of(rows, 1, 0.5, least=1, localize=localize_mcar) == (2, 0, 3, 1)
    assert box_of(rows, 1, 0.499, least=1, localize=localize_mcar) == (1, 0, 4, 1)


def test_mcar_takes_the_first_of_equal_peaks():
    rows = [[-9.0] * 5, [-9.0, 2.0, -9.0, 2.0, -9.0], [-9.0] * 5]
    assert box_of(rows, 1, 0.5, least=1, localize=localize_mcar) == (1, 1, 2, 2)


def test_mcar_interval_is_an_eighth_of_the_side_at_least():
    rows = np.full((16, 33), -9.0)
    rows[0, 16] = 9
    box = box_of(rows.tolist(), 1, 0.5, least=1, localize=localize_mcar)
    # 33/8 rounds up to 5, around 16.5; 16/8 = 2, shifted to stay inside.
    assert box == (14, 0, 19, 2)


def test_mcar_axis_without_a_difference_gives_the_whole_side():
    """Every row has the same maximum; only x has a peak."""
    rows = [[-2.0, 1.3, -2.0, -2.0]] * 3
    box = box_of(rows, 14, 0.6, localize=localize_mcar)
    assert (box[1], box[3]) == (0, 42)
    assert 14 <= box[0] < box[2] <= 28


def test_random_boxes_are_valid_and_spread_uniformly():
    count, (height, width) = 4000, (300, 900)
    maps, rng = np.zeros((1, count, 2, 2)), np.random.default_rng(0)
    boxes = localize_random(maps, (height, width), 0.5, (1, 1), rng)[0].astype(float)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, :2] < boxes[:, 2:]).all()
    assert (boxes[:, 2] <= width).all()
    assert (boxes[:, 3] <= height).all()
    # The lower of two uniform draws has mean 1/3 and variance 1/18; the higher mirrors it.
    mean = boxes.mean(0) / (width, height, width, height)
    error = 5 * (1 / 18 / count) ** 0.5 + 1 / height
    assert np.abs(mean - np.array([1, 1, 2, 2]) / 3).max() < error


def test_random_boxes_are_a_patch_at_least():
    maps, rng = np.zeros((2, 300, 2, 3)), np.random.default_rng(0)
    boxes = localize_random(maps, (32, 48), 0.5, (16, 16), rng)
    assert (boxes[..., 2:] - boxes[..., :2] >= 16).all()
    assert boxes.min() >= 0
    assert boxes[..., 2].max() <= 48
    assert boxes[..., 3].max() <= 32


def test_random_follows_its_generator():
    def draw(seed):
        rng = np.random.default_rng(seed)
        return localize_random(np.zeros((2, 5, 2, 2)), (64, 64), 0.5, (8, 8), rng).tolist()

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


# All of them.


@pytest.mark.parametrize("localization", LOCALIZERS)
def test_no_selected_category(localization):
    boxes = LOCALIZERS[localization](np.zeros((2, 0, 3, 4)), (24, 32), 0.6, (8, 8), None)
    assert boxes.shape == (2, 0, 4)
    assert boxes.dtype == np.int64


@pytest.mark.parametrize(
    ("localization", "value"),
    [
        ("largest_component", float("nan")),
        ("largest_component", float("inf")),
        ("largest_component", -float("inf")),
        ("mcar", float("nan")),  # infinity has a sigmoid
    ],
)
def test_map_that_is_not_finite(localization, value):
    maps = np.zeros((1, 2, 3, 4))
    maps[0, 1, 2, 3] = value
    with pytest.raises(ValueError, match="NaN or infinity"):
        LOCALIZERS[localization](maps, (24, 32), 0.6, (8, 8), None)


@pytest.mark.parametrize(
    "maps",
    [
        1 + 1e-12 * np.arange(12.0),
        1e300 * np.arange(12.0),
        np.linspace(-3e38, 3e38, 12).astype(np.float32),
        np.float32(1e-44) * np.arange(12, dtype=np.float32),
    ],
    ids=["range below float32", "values above float32", "range above float32", "denormal"],
)
def test_extreme_finite_maps_give_a_valid_box(maps):
    boxes = localize_largest_component(maps.reshape(1, 1, 3, 4), (24, 32), 0.6, (8, 8), None)
    x0, y0, x1, y1 = boxes[0, 0].tolist()
    assert 0 <= x0 <= x1 - 8 <= 24
    assert 0 <= y0 <= y1 - 8 <= 16


@pytest.mark.parametrize("localization", BY_MAP)
@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_other_float_types_give_the_same_boxes(localization, dtype):
    """Eighths, which every type holds exactly."""
    if (localization, dtype) == ("mcar", np.float16):
        pytest.skip("a half-precision sigmoid is rounded")
    maps = np.random.default_rng(0).integers(-8, 9, (2, 3, 4, 5)).astype(np.float32) / 8
    arguments = ((32, 40), 0.6137, (8, 8), None)
    boxes = LOCALIZERS[localization](maps.astype(dtype), *arguments)
    assert boxes.tolist() == LOCALIZERS[localization](maps, *arguments).tolist()


@pytest.mark.parametrize("grid", [(1, 1), (1, 5), (3, 2), (7, 9)])
@pytest.mark.parametrize("patch", [1, 7, 16])
def test_enlarging_is_that_of_pytorch(grid, patch):
    maps = np.random.default_rng(0).standard_normal((1, 2, *grid)).astype(np.float32)
    size = grid[0] * patch, grid[1] * patch
    expected = F.interpolate(torch.from_numpy(maps), size, mode="bilinear", align_corners=False)
    for large, one in zip(_upsample(maps, size), expected[0].numpy(), strict=True):
        np.testing.assert_allclose(large, one, rtol=0, atol=2e-6)


@pytest.mark.parametrize("localization", LOCALIZERS)
@pytest.mark.parametrize("patch", [1, 8])
def test_maps_are_not_changed(localization, patch):
    maps = np.random.default_rng(0).standard_normal((1, 2, 3, 4)).astype(np.float32)
    before = maps.copy()
    LOCALIZERS[localization](maps, (3 * patch, 4 * patch), 0.6, (patch, patch), None)
    np.testing.assert_array_equal(maps, before)
