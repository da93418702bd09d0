import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import oracles
from didvit.method.boxes import TILE_SIZE, scale_boxes, tile_boxes
from didvit.method.views import crop_and_resize, resize_whole


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.uint8])
@pytest.mark.parametrize(
    ("box", "size"),
    [
        ((2, 3, 7, 6), (8, 12)),  # enlarges
        ((0, 0, 20, 16), (5, 8)),  # shrinks
        ((1, 2, 18, 5), (9, 6)),  # shrinks one side and enlarges the other
        ((5, 5, 6, 6), (3, 4)),  # one pixel
        ((0, 4, 20, 5), (4, 7)),  # one row
        ((3, 3, 9, 7), (4, 6)),  # keeps the size
    ],
)
def test_equals_the_loop(box, size, dtype, align_corners):
    image = torch.randint(0, 256, (3, 16, 20), generator=torch.Generator().manual_seed(0))
    image = image.to(torch.uint8) if dtype == torch.uint8 else image.double() / 255
    views = crop_and_resize([image], np.array([box]), size, align_corners)
    expected = oracles.crop_and_resize(image.numpy(), box, size, align_corners)
    assert views.shape == (1, 3, *size)
    torch.testing.assert_close(views[0].double(), torch.from_numpy(expected), rtol=1e-5, atol=1e-6)


def test_enlarging_is_plain_bilinear():
    image = torch.tensor([0.0, 1.0]).expand(3, 1, 2)
    views = crop_and_resize([image], np.array([[0, 0, 2, 1]]), (1, 4))
    assert views[0, 0].tolist() == [[0.0, 0.25, 0.75, 1.0]]


def test_shrinking_is_antialiased():
    """A fine checkerboard becomes gray; plain sampling at a few points would alias."""
    board = (torch.arange(64)[:, None] + torch.arange(64)) % 2
    image = board.float().expand(3, 64, 64)
    views = crop_and_resize([image], np.array([[0, 0, 64, 64]]), (4, 4))
    torch.testing.assert_close(views, torch.full((1, 3, 4, 4), 0.5), rtol=0, atol=0.01)


def test_aligned_corners_stay_in_the_corners():
    image = torch.arange(12.0).view(1, 3, 4).expand(3, 3, 4)
    view = crop_and_resize([image], np.array([[1, 0, 4, 3]]), (7, 9), align_corners=True)[0, 0]
    assert [view[0, 0], view[0, -1], view[-1, 0], view[-1, -1]] == [1.0, 3.0, 9.0, 11.0]


@pytest.mark.parametrize("align_corners", [False, True])
def test_full_box_of_the_wanted_size_is_the_identity(align_corners):
    images, boxes = torch.rand(3, 3, 9, 13), np.array([[0, 0, 13, 9]] * 3)
    assert torch.equal(crop_and_resize(list(images), boxes, (9, 13), align_corners), images)


def test_a_batch_is_as_good_as_a_sequence(unchecked_types):
    images, boxes = torch.rand(2, 3, 9, 13), np.array([[0, 1, 8, 9], [2, 0, 13, 4]])
    assert torch.equal(
        crop_and_resize(images, boxes, (8, 8)), crop_and_resize(list(images), boxes, (8, 8))
    )


def test_whole_images_are_the_views_of_their_full_boxes():
    images = [torch.rand(3, 9, 13), torch.randint(0, 256, (3, 30, 20), dtype=torch.uint8)]
    views = resize_whole(images, (9, 13))
    assert torch.equal(views[0], images[0])
    expected = oracles.crop_and_resize(images[1].numpy(), (0, 0, 20, 30), (9, 13))
    torch.testing.assert_close(views[1].double(), torch.from_numpy(expected), rtol=1e-5, atol=1e-6)
    assert resize_whole([], (9, 13)).shape == (0, 3, 9, 13)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 5), st.integers(0, 5), st.booleans())
@settings(max_examples=50, deadline=None)
def test_box_of_the_wanted_size_is_cut_unchanged(height, width, x, y, align_corners):
    image = torch.rand(3, height + 5, width + 5)
    boxes = np.array([[x, y, x + width, y + height]])
    view = crop_and_resize([image], boxes, (height, width), align_corners)[0]
    assert torch.equal(view, image[:, y : y + height, x : x + width])


def test_uint8_becomes_the_unit_interval():
    image = torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1).expand(3, 4, 4)
    view = crop_and_resize([image], np.array([[0, 0, 4, 4]]), (4, 4))[0]
    assert view.dtype == torch.float32
    assert torch.equal(view[:, 0, 0], torch.tensor([0.0, 51 / 255, 1.0]))


def test_every_box_is_of_its_own_image():
    """Images of several sizes and types make one batch, each as it would be alone."""
    images = [
        torch.rand(3, 10, 14),
        torch.randint(0, 256, (3, 33, 21), dtype=torch.uint8),
        torch.rand(3, 6, 40),
    ]
    boxes = np.array([[1, 2, 9, 10], [0, 5, 21, 30], [17, 0, 40, 6]])
    views = crop_and_resize(images, boxes, (8, 12))
    assert views.shape == (3, 3, 8, 12)
    for k, image in enumerate(images):
        assert torch.equal(crop_and_resize([image], boxes[k : k + 1], (8, 12))[0], views[k])


def test_values_stay_in_the_range_of_the_crop():
    image = torch.randint(0, 256, (3, 40, 50), dtype=torch.uint8)
    for size in [(7, 9), (80, 90)]:
        view = crop_and_resize([image], np.array([[3, 4, 49, 40]]), size)
        assert view.min() >= 0
        assert view.max() <= 1 + 1e-6


def test_no_boxes():
    assert crop_and_resize([], np.empty((0, 4), np.int64), (8, 12)).shape == (0, 3, 8, 12)


def test_images_and_boxes_must_be_as_many():
    with pytest.raises(ValueError, match="zip"):
        crop_and_resize([torch.rand(3, 4, 4)], np.array([[0, 0, 4, 4]] * 2), (4, 4))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_sources_of_other_float_types(dtype):
    """Floats in [0, 1] of any precision may be cut; boxes enlarge and shrink."""
    image = torch.rand(3, 20, 30)
    for box in [(2, 2, 7, 7), (0, 0, 30, 20)]:
        boxes = np.array([box])
        view = crop_and_resize([image.to(dtype)], boxes, (10, 12))
        expected = crop_and_resize([image], boxes, (10, 12))
        torch.testing.assert_close(view.float(), expected, rtol=0.02, atol=0.01)


def test_gradient_reaches_the_pixels_of_the_box_only():
    image = torch.rand(3, 8, 8, requires_grad=True)
    crop_and_resize([image], np.array([[2, 3, 5, 7]]), (8, 8)).sum().backward()
    inside = np.zeros((8, 8), dtype=bool)
    inside[3:7, 2:5] = True
    assert ((image.grad[0] != 0).numpy() == inside).all()


sides = st.integers(1, 700)


@st.composite
def boxes_and_sizes(draw):
    from_size, to_size = (draw(sides), draw(sides)), (draw(sides), draw(sides))
    x0, y0 = draw(st.integers(0, from_size[1] - 1)), draw(st.integers(0, from_size[0] - 1))
    x1, y1 = draw(st.integers(x0 + 1, from_size[1])), draw(st.integers(y0 + 1, from_size[0]))
    return (x0, y0, x1, y1), from_size, to_size


def scaled(box, from_size, to_size):
    return tuple(scale_boxes(np.array(box), from_size, to_size).tolist())


def mirrored(box, size):
    x0, y0, x1, y1 = box
    return size[1] - x1, size[0] - y1, size[1] - x0, size[0] - y0


@given(boxes_and_sizes())
@settings(max_examples=200, deadline=None)
def test_scaled_box_properties(drawn):
    box, from_size, to_size = drawn
    x0, y0, x1, y1 = result = scaled(box, from_size, to_size)
    assert result == oracles.scale_box(box, from_size, to_size)
    assert 0 <= x0 < x1 <= to_size[1]
    assert 0 <= y0 < y1 <= to_size[0]
    # It covers the exact box, by less than a pixel (cross-multiplied, to stay in whole numbers).
    (from_height, from_width), (to_height, to_width) = from_size, to_size
    assert 0 <= box[0] * to_width - x0 * from_width < from_width
    assert 0 <= box[1] * to_height - y0 * from_height < from_height
    assert 0 <= x1 * from_width - box[2] * to_width < from_width
    assert 0 <= y1 * from_height - box[3] * to_height < from_height
    assert scaled(mirrored(box, from_size), from_size, to_size) == mirrored(result, to_size)


@given(sides, sides, sides, sides)
@settings(max_examples=50, deadline=None)
def test_full_box_stays_full(from_height, from_width, to_height, to_width):
    full = scaled((0, 0, from_width, from_height), (from_height, from_width), (to_height, to_width))
    assert full == (0, 0, to_width, to_height)


@pytest.mark.parametrize(
    ("box", "from_size", "to_size", "expected"),
    [
        ((8, 16, 24, 32), (32, 48), (32, 48), (8, 16, 24, 32)),
        ((8, 16, 24, 32), (32, 48), (64, 480), (80, 32, 240, 64)),
        ((1, 1, 2, 2), (3, 3), (10, 10), (3, 3, 7, 7)),
        ((5, 5, 6, 6), (10, 10), (3, 3), (1, 1, 2, 2)),
        ((3, 3, 4, 4), (10, 10), (3, 3), (0, 0, 2, 2)),
        ((9, 0, 10, 10), (10, 10), (1, 1), (0, 0, 1, 1)),
    ],
)
def test_scaled_box_literals(box, from_size, to_size, expected):
    assert scaled(box, from_size, to_size) == expected


def test_boxes_of_any_leading_shape_are_scaled_alike():
    boxes = np.array([[[0, 0, 4, 8], [4, 0, 8, 4]]] * 3)
    result = scale_boxes(boxes, (8, 8), (4, 16))
    assert result.dtype == np.int64
    assert result.tolist() == [[[0, 0, 8, 4], [8, 0, 16, 2]]] * 3
    assert scale_boxes(boxes[:, :0], (8, 8), (4, 16)).shape == (3, 0, 4)


@pytest.mark.parametrize(
    ("tiles", "size", "expected"),
    [
        (0, (224, 224), []),
        (1, (100, 80), [[0, 0, 80, 100]]),
        (
            2,
            (224, 112),
            [[0, 0, 64, 128], [48, 0, 112, 128], [0, 96, 64, 224], [48, 96, 112, 224]],
        ),
        (2, (1, 3), [[0, 0, 2, 1], [1, 0, 3, 1], [0, 0, 2, 1], [1, 0, 3, 1]]),
    ],
)
def test_tiles(tiles, size, expected):
    assert tile_boxes(tiles, size).tolist() == expected


@given(st.integers(1, 6), st.integers(1, 300), st.integers(1, 300))
def test_tiles_cover_the_image_and_overlap(tiles, height, width):
    boxes = tile_boxes(tiles, (height, width)).tolist()
    assert len(boxes) == tiles**2
    covered = np.zeros((height, width), int)
    for x0, y0, x1, y1 in boxes:
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
        assert (x1 - x0, y1 - y0) == (boxes[0][2] - boxes[0][0], boxes[0][3] - boxes[0][1])
        covered[y0:y1, x0:x1] += 1
    assert covered.min() >= 1
    assert 0 <= boxes[0][2] - min(TILE_SIZE * width / tiles, width) < 1
    assert tiles == 1 or covered.max() > 1
