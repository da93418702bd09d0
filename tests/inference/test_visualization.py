import warnings
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from didvit.inference.prediction import Label, Maps, Prediction, Region
from didvit.inference.visualization import BACKGROUND, COLORS, draw_prediction, heat_map

GRAY = 127


def make(
    width, height, boxes=(), labels=None, names=None, maps=None, pixels=None, seen_in="image"
) -> Prediction:
    """A prediction on a gray picture; ``labels`` reach the threshold: all with a box, if None."""
    names = names or [f"thing {k}" for k in range(len(boxes))]
    labels = names if labels is None else labels
    rng = np.random.default_rng(0)
    if maps is None:
        maps = Maps(
            rng.random((len(boxes), 3, 4)), rng.random((3, 4)), rng.random((len(boxes), 3, 4))
        )
    return Prediction(
        image="gray.png",
        width=width,
        height=height,
        labels=tuple(Label(name, 0.9, 0.9, 0.9, seen_in) for name in labels),
        regions=tuple(Region(name, 0.7, box) for name, box in zip(names, boxes, strict=True)),
        scores=dict.fromkeys(names, 0.7),
        maps=maps,
        thresholds=dict.fromkeys(names, 0.8),
        source=np.full((height, width, 3), GRAY, np.uint8) if pixels is None else pixels,
    )


def photograph_top(picture: np.ndarray) -> int:
    """The first row of the gray photograph, found in its last column."""
    return int(np.flatnonzero((picture[:, picture.shape[1] - 1] == GRAY).all(-1))[0])


def four_boxes(width, height):
    """One box in every quarter, apart from one another and from the sides."""
    w, h = width // 2, height // 2
    return [
        (x + w // 8, y + h // 8, x + w - w // 8, y + h - h // 8) for y in (0, h) for x in (0, w)
    ]


@pytest.mark.parametrize(
    ("width", "height"), [(1, 1), (1, 4000), (4000, 1), (3000, 2000), (50, 40), (640, 480)]
)
def test_any_size_gives_a_legible_picture(width, height):
    for found in (1, 3, 4):
        labels = [f"thing {k}" for k in range(found)]
        picture = make(width, height, [(0, 0, width, height)] * 4, labels).plot()
        assert picture.mode == "RGB"
        assert 640 <= picture.width <= 1800
        assert 150 <= picture.height <= 2500


@pytest.mark.parametrize(("width", "height", "scale"), [(1000, 800, 1), (100, 80, 8)])
def test_every_box_has_its_color_at_its_edges(width, height, scale):
    boxes = four_boxes(width, height)
    picture = np.asarray(draw_prediction(make(width, height, boxes)))
    top = photograph_top(picture)
    for (x0, y0, x1, y1), color in zip(boxes, COLORS, strict=False):
        left, upper, right, lower = x0 * scale, y0 * scale, x1 * scale - 1, y1 * scale - 1
        middle_x, middle_y = (left + right) // 2, (upper + lower) // 2
        corners = (left, upper), (right, upper), (left, lower), (right, lower)
        edges = (middle_x, upper), (middle_x, lower), (left, middle_y), (right, middle_y)
        for x, y in (*corners, *edges):
            assert tuple(picture[top + y, x]) == color
        assert tuple(picture[top + middle_y, middle_x]) == (GRAY,) * 3
        for x, y in ((left - 1, middle_y), (right + 1, middle_y), (middle_x, lower + 1)):
            assert tuple(picture[top + y, x]) != color


def test_found_regions_have_the_thicker_line():
    boxes = four_boxes(1000, 800)
    picture = np.asarray(draw_prediction(make(1000, 800, boxes, ["thing 0"]), others=True))
    top, thickness = photograph_top(picture), []
    for (x0, y0, x1, y1), color in zip(boxes, COLORS, strict=False):
        row = picture[top + (y0 + y1) // 2, x0 : (x0 + x1) // 2]
        thickness.append(int((row == color).all(-1).sum()))
    assert thickness[0] > thickness[1] == thickness[2] == thickness[3] > 0


@pytest.mark.parametrize("found", [0, 1, 3, 6])
@pytest.mark.parametrize("others", [False, True])
def test_found_regions_are_drawn_and_others_where_they_are_asked_for(found, others):
    boxes = [(20 + 120 * k, 100, 100 + 120 * k, 700) for k in range(6)]
    prediction = make(1000, 800, boxes, [f"thing {k}" for k in range(found)])
    picture = np.asarray(draw_prediction(prediction, others))
    top = photograph_top(picture)
    outlined = [tuple(picture[top + 600, box[0]]) != (GRAY,) * 3 for box in boxes]
    assert outlined == [others or k < found for k in range(6)]


def test_tags_of_found_regions_are_filled_and_those_of_others_are_not():
    prediction = make(1000, 800, four_boxes(1000, 800), ["thing 0"])
    picture = np.asarray(draw_prediction(prediction, others=True))
    top = photograph_top(picture)
    for k, (x0, y0, _, _) in enumerate(four_boxes(1000, 800)):
        tag = picture[top + y0 + 3 : top + y0 + 25, x0 + 8 : x0 + 90]
        filled = (tag == COLORS[k]).all(-1).mean()
        assert filled > 0.5 if k == 0 else filled < 0.3


def test_nothing_found_is_a_photograph_and_a_line():
    pixels = np.random.default_rng(0).integers(0, 256, (800, 1000, 3), dtype=np.uint8)
    pixels[:, -1] = GRAY
    prediction = make(1000, 800, four_boxes(1000, 800), [], pixels=pixels)
    picture = np.asarray(draw_prediction(prediction))
    top = photograph_top(picture)
    np.testing.assert_array_equal(picture[top:], pixels)
    assert picture[:top].max() > 200  # a line says so
    assert top < 100


def test_what_is_not_found_stands_beside_its_own_threshold():
    nothing = make(1000, 800, four_boxes(1000, 800), [])
    higher = replace(nothing, thresholds={**nothing.thresholds, "thing 0": 0.9})
    of_another = replace(nothing, thresholds={**nothing.thresholds, "thing 1": 0.9})
    picture, *others = (np.asarray(draw_prediction(one)) for one in (nothing, higher, of_another))
    assert (picture != others[0]).any()  # the most likely is the first
    np.testing.assert_array_equal(picture, others[1])


@pytest.mark.parametrize("found", [1, 2, 4])
def test_the_sheet_of_an_upright_photograph_is_not_half_empty(found):
    boxes, labels = four_boxes(900, 1200), [f"thing {k}" for k in range(found)]
    pixels = np.full((1200, 900, 3), GRAY, np.uint8)
    picture = np.asarray(draw_prediction(make(900, 1200, boxes, labels, pixels=pixels)))
    empty = (picture == BACKGROUND).all(-1).mean()
    assert empty < 0.25
    assert picture.shape[0] < 1500


def test_a_label_without_a_region_says_where_it_was_seen():
    """The line below the labels differs from one place to the next, and is not there otherwise."""
    boxes, tops, lines = [(10, 10, 500, 500)], [], []
    for seen_in in ("image", "tile", "region"):
        prediction = make(1000, 800, boxes, ["thing 0", "tree"], seen_in=seen_in)
        picture = np.asarray(draw_prediction(prediction))
        tops.append(photograph_top(picture))
        lines.append(picture[: tops[-1]])
    without = np.asarray(draw_prediction(make(1000, 800, boxes, ["thing 0"])))
    assert tops[0] == tops[1] == tops[2] > photograph_top(without) + 10
    assert (lines[0] != lines[1]).any()
    assert (lines[1] != lines[2]).any()


def test_full_box_and_box_of_one_pixel():
    picture = np.asarray(
        draw_prediction(make(1000, 800, [(0, 0, 1000, 800), (500, 400, 501, 401)]))
    )
    # The gray column that `photograph_top` looks for is under the box: no labels, one line.
    top = photograph_top(np.asarray(draw_prediction(make(1000, 800))))
    for x, y in ((0, 400), (999, 400), (500, 799)):
        assert tuple(picture[top + y, x]) == COLORS[0]
    assert tuple(picture[top + 400, 500]) == COLORS[1]


def test_more_regions_than_colors_repeat_them():
    boxes = [(20 + 120 * k, 100, 100 + 120 * k, 700) for k in range(len(COLORS) + 1)]
    found = [f"thing {k}" for k in range(len(boxes))]
    picture = np.asarray(draw_prediction(make(1000, 800, boxes, found)))
    top = photograph_top(picture)
    assert tuple(picture[top + 600, boxes[-1][0]]) == COLORS[0]


def test_without_regions_there_are_no_maps():
    bare = draw_prediction(make(1000, 800))
    with_maps = draw_prediction(make(1000, 800, four_boxes(1000, 800)))
    top = photograph_top(np.asarray(bare))
    assert bare.size == (1000, top + 800)
    assert with_maps.height > bare.height + 100
    assert with_maps.width == bare.width


def test_photograph_is_unchanged_where_nothing_is_drawn():
    pixels = np.random.default_rng(0).integers(0, 256, (800, 1000, 3), dtype=np.uint8)
    pixels[:, -1] = GRAY
    prediction = make(1000, 800, pixels=pixels)
    picture = np.asarray(draw_prediction(prediction))
    np.testing.assert_array_equal(picture[photograph_top(picture) :], pixels)


def test_maps_are_those_of_the_prediction():
    """A bright spot at the lower right of one map moves its tile's brightness there."""
    spot = np.zeros((3, 4))
    spot[2, 3] = 1
    zeros = np.zeros((3, 4))
    boxes = [(0, 0, 10, 10)]
    dark = Maps(zeros[None], zeros, zeros[None])
    base = np.asarray(draw_prediction(make(1000, 800, boxes, maps=dark))).astype(int)
    changed = []
    for maps in (
        Maps(zeros[None], spot, zeros[None]),
        Maps(spot[None], zeros, zeros[None]),
        Maps(zeros[None], zeros, spot[None]),
    ):
        picture = np.asarray(draw_prediction(make(1000, 800, boxes, maps=maps))).astype(int)
        rows, columns = np.nonzero((picture != base).any(-1))
        changed.append((rows.min(), columns.min(), rows.max(), columns.max()))
    spatial, semantic, instance = changed
    # From left to right in one row: the spatial, the semantic and the instance map.
    assert spatial[3] < semantic[1]
    assert semantic[3] < instance[1]
    assert spatial[0] == semantic[0] == instance[0]


def test_many_labels_wrap():
    names = [f"label number {k}" for k in range(60)]
    few = np.asarray(draw_prediction(make(1000, 800, labels=names[:2])))
    many = np.asarray(draw_prediction(make(1000, 800, labels=names)))
    assert many.shape[1] == few.shape[1]
    assert photograph_top(many) > 3 * photograph_top(few)
    assert many.shape[0] - photograph_top(many) == 800


def test_labels_are_written_above_the_photograph():
    some = np.asarray(draw_prediction(make(1000, 800, labels=["cat"])))
    other = np.asarray(draw_prediction(make(1000, 800, labels=["dog"])))
    none = np.asarray(draw_prediction(make(1000, 800)))
    top = photograph_top(none)
    assert (some[:top] != other[:top]).any()
    assert (some[:top] != none[:top]).any()
    np.testing.assert_array_equal(some[top:], other[top:])


@pytest.mark.parametrize("name", ["a very long name " * 20, "unbroken" * 60, "ñandú 犬 🐕", "a"])
def test_any_label_name_fits(name):
    for width, height in ((1000, 800), (30, 900)):
        picture = make(width, height, [(5, 5, 25, 200)], [name], [name]).plot()
        assert 640 <= picture.width <= 1280


def test_label_name_of_two_lines():
    picture = make(1000, 800, [(10, 10, 200, 200)], ["two\nlines"], ["two\nlines"]).plot()
    assert picture.width == 1000


def test_twelve_regions_take_more_rows_than_four():
    heights = {}
    for count in (4, 12):
        boxes = [(10 * k, 10 * k, 100 + 10 * k, 100 + 10 * k) for k in range(count)]
        found = [f"thing {k}" for k in range(count)]
        picture = draw_prediction(make(1000, 800, boxes, found))
        assert picture.width == 1000
        heights[count] = picture.height - 800
    assert heights[12] > 1.5 * heights[4]


@pytest.mark.parametrize("value", [0.0, -3.5, 1e30])
def test_constant_maps_are_dark_without_warnings(value):
    flat = np.full((3, 4), value)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = heat_map(flat, Image.new("RGB", (20, 15)))
        make(1000, 800, [(0, 0, 10, 10)], maps=Maps(flat[None], flat, flat[None])).plot()
    assert picture.getextrema() == ((0, 0), (0, 0), (2, 2))


# 65 % of inferno's ends, (0, 0, 4) and (252, 255, 164), and 35 % of the gray below.
@pytest.mark.parametrize(
    ("gray", "dark", "bright"),
    [(0, (0, 0, 2), (163, 165, 106)), (255, (89, 89, 91), (253, 255, 195))],
)
def test_heat_map_colors(gray, dark, bright):
    ramp = np.array([[-2.0, 3.0]])
    picture = heat_map(ramp, Image.new("RGB", (40, 10), (gray,) * 3))
    assert picture.size == (40, 10)
    assert picture.mode == "RGB"
    for y in (0, 9):
        assert picture.getpixel((0, y)) == dark
        assert picture.getpixel((39, y)) == bright


def test_heat_map_rises_with_the_map():
    ramp = np.linspace(-1, 1, 8)[None].repeat(3, 0)
    picture = np.asarray(heat_map(ramp, Image.new("RGB", (64, 24)))).astype(int)
    brightness = picture.sum(-1)
    assert (np.diff(brightness, axis=1) >= 0).all()
    assert (brightness == brightness[:1]).all()
    mirrored = np.asarray(heat_map(-ramp, Image.new("RGB", (64, 24)))).astype(int)
    np.testing.assert_array_equal(mirrored[:, ::-1], picture)


def test_heat_map_is_over_its_own_range():
    ramp = np.random.default_rng(0).random((3, 4))
    image = Image.new("RGB", (40, 30), (90, 10, 200))
    np.testing.assert_array_equal(heat_map(ramp, image), heat_map(1000 * ramp - 7, image))
