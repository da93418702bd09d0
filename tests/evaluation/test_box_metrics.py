from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from didvit.data.boxes import AnnotatedImage
from didvit.evaluation.box_metrics import Found, contains, draw_images, intersection, iou, measure

MEASURES = ("pointing_game", "corloc", "mean_iou", "coverage")


def image(size, *objects):
    """Of ``(label, box)``."""
    labels, boxes = zip(*objects, strict=True)
    return AnnotatedImage(Path("image.jpg"), size, boxes, labels)


def found(points, boxes, views=()):
    return Found(
        np.array(points, dtype=float),
        np.array(boxes, dtype=float),
        np.array(views, dtype=float).reshape(-1, 4),
    )


def once(images):
    """Draws of which nothing but the images' own measures is asked."""
    return draw_images(len(images), 1)


# Boxes and points.


@pytest.mark.parametrize(
    ("box", "other", "shared", "expected"),
    [
        ((0, 0, 4, 4), (0, 0, 4, 4), 16, 1),
        ((0, 0, 4, 4), (4, 0, 8, 4), 0, 0),  # sides touch
        ((0, 0, 4, 4), (4, 4, 8, 8), 0, 0),  # corners touch
        ((0, 0, 4, 4), (5, 0, 8, 4), 0, 0),
        ((0, 0, 4, 4), (5, 5, 8, 8), 0, 0),  # apart on both axes: no product of negatives
        ((0, 0, 4, 4), (3, 3, 7, 7), 1, 1 / 31),
        ((0, 0, 4, 4), (1, 1, 3, 3), 4, 1 / 4),  # inside
        ((0, 0, 4, 4), (0, 0, 4, 2), 8, 1 / 2),
        ((0, 1, 9, 2), (4, 0, 5, 3), 1, 1 / 11),  # a cross
        ((0, 0, 1, 1), (0, 0, 1000, 1000), 1, 1e-6),
        ((0.5, 0.5, 2.5, 1.5), (1.5, 0.5, 3.5, 1.5), 1, 1 / 3),
    ],
)
def test_intersection_and_iou(box, other, shared, expected):
    one, two = np.array([box], dtype=float), np.array([other], dtype=float)
    assert intersection(one, two).tolist() == intersection(two, one).tolist() == [[shared]]
    assert iou(one, two).tolist() == iou(two, one).tolist() == [[pytest.approx(expected)]]


def test_every_box_meets_every_other():
    boxes = np.array([[0, 0, 2, 2], [0, 0, 4, 4], [9, 9, 10, 10]], dtype=float)
    assert iou(boxes[:1], boxes).tolist() == [[1, 0.25, 0]]
    assert iou(boxes, boxes[:0]).shape == (3, 0)
    assert intersection(boxes, boxes[1:]).tolist() == [[4, 0], [16, 0], [0, 1]]


@pytest.mark.parametrize(
    ("point", "inside"),
    [
        ((2, 3), True),  # the start is inside,
        ((4, 4), False),  # the end outside
        ((3.99, 5.99), True),
        ((3, 6), False),
        ((1.99, 4), False),
        ((3, 2.99), False),
        ((0, 0), False),
    ],
)
def test_points_in_boxes(point, inside):
    boxes = np.array([[2, 3, 4, 6], [100, 100, 101, 101]], dtype=float)
    assert contains(boxes, np.array([point], dtype=float)).tolist() == [[inside, False]]


# Measures, by slow loops.


def slow_shared(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0


def slow_area(box):
    return (box[2] - box[0]) * (box[3] - box[1])


def slow_iou(a, b):
    shared = slow_shared(a, b)
    return shared / (slow_area(a) + slow_area(b) - shared)


def slow_values(images, results):
    """Of every measure, ``(label, value)`` of every pair or object."""
    values = {name: [] for name in MEASURES}
    for annotated, of_image in zip(images, results, strict=True):
        objects = list(zip(annotated.labels, annotated.boxes, strict=True))
        for p, label in enumerate(sorted({label for label, _ in objects})):
            x, y = of_image.points[p]
            truth = [box for other, box in objects if other == label]
            hit = any(x0 <= x < x1 and y0 <= y < y1 for x0, y0, x1, y1 in truth)
            best = max(slow_iou(of_image.boxes[p], box) for box in truth)
            values["pointing_game"].append((label, float(hit)))
            values["corloc"].append((label, float(best >= 0.5)))
            values["mean_iou"].append((label, best))
        for label, box in objects:
            parts = [slow_shared(box, view) / slow_area(box) for view in of_image.views]
            values["coverage"].append((label, float(any(part >= 0.5 for part in parts))))
    return values


def slow_averages(values):
    """In percent: the mean of the labels' means, and the mean."""
    means = []
    for label in {label for label, _ in values}:
        of_label = [value for other, value in values if other == label]
        means.append(sum(of_label) / len(of_label))
    everything = [value for _, value in values]
    return 100 * sum(means) / len(means), 100 * sum(everything) / len(everything)


def random_boxes(rng, count, size):
    """With corners on a coarse grid, so that they often touch and often agree."""
    height, width = size
    boxes = []
    for _ in range(count):
        x0, x1 = sorted(rng.choice(6, 2, replace=False) * width // 5)
        y0, y1 = sorted(rng.choice(6, 2, replace=False) * height // 5)
        boxes.append((float(x0), float(y0), float(x1), float(y1)))
    return boxes


def random_case(seed, num_images=6, num_labels=4, views=3):
    rng = np.random.default_rng(seed)
    images, results = [], []
    for _ in range(num_images):
        size = tuple(rng.choice([20, 35, 50], 2).tolist())
        count = int(rng.integers(1, 6))
        labels = rng.integers(0, num_labels, count).tolist()
        boxes = random_boxes(rng, count, size)
        images.append(image(size, *zip(labels, boxes, strict=True)))
        pairs = len(set(labels))
        points = rng.integers(0, 6, (pairs, 2)) * np.array(size[::-1]) / 5
        results.append(
            found(points, random_boxes(rng, pairs, size), random_boxes(rng, views, size))
        )
    return images, results


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 4), st.integers(0, 3))
@settings(max_examples=60)
def test_measures_equal_the_slow_loops(seed, num_images, num_labels, views):
    images, results = random_case(seed, num_images, num_labels, views)
    quality, values = measure(images, results, once(images)), slow_values(images, results)
    for name in MEASURES:
        label_mean, overall = slow_averages(values[name])
        assert getattr(quality, name).label_mean == pytest.approx(label_mean)
        assert getattr(quality, name).overall == pytest.approx(overall)
    parts = [
        slow_area(view) / (of_image.size[0] * of_image.size[1])
        for of_image, result in zip(images, results, strict=True)
        for view in result.views
    ]
    assert quality.area == pytest.approx(100 * sum(parts) / len(parts) if parts else 0)


def test_intervals_equal_those_of_images_repeated_as_drawn():
    images, results = random_case(3)
    draws = draw_images(len(images), 40, seed=7)
    assert draws[0].tolist() == [1] * len(images)
    assert (draws.sum(1) == len(images)).all()
    quality = measure(images, results, draws)
    for name in MEASURES:
        resampled = []
        for counts in draws[1:].astype(int):
            repeated = [i for i, count in enumerate(counts) for _ in range(count)]
            values = slow_values([images[i] for i in repeated], [results[i] for i in repeated])
            resampled.append(slow_averages(values[name]))
        label_means, overalls = zip(*resampled, strict=True)
        average = getattr(quality, name)
        for interval, drawn in (
            (average.label_mean_interval, label_means),
            (average.overall_interval, overalls),
        ):
            assert interval == pytest.approx(np.percentile(drawn, (2.5, 97.5)))
            assert interval.low < interval.high


def test_draws_are_those_of_their_seed():
    assert np.array_equal(draw_images(9, 5, 1), draw_images(9, 5, 1))
    assert not np.array_equal(draw_images(9, 5, 1), draw_images(9, 5, 2))


def test_one_image_has_no_spread():
    images, results = random_case(1, num_images=1)
    quality = measure(images, results, draw_images(1, 20))
    for name in MEASURES:
        average = getattr(quality, name)
        assert average.overall_interval == (pytest.approx(average.overall),) * 2
        assert average.label_mean_interval == (pytest.approx(average.label_mean),) * 2


# Cases known beforehand.


def check(quality, pointing_game, corloc, mean_iou, coverage, area):
    values = (pointing_game, corloc, mean_iou, coverage)
    for name, value in zip(MEASURES, values, strict=True):
        assert getattr(quality, name).overall == pytest.approx(value)
        assert getattr(quality, name).label_mean == pytest.approx(value)
    assert quality.area == pytest.approx(area)


def test_perfect():
    box, other = (2, 3, 10, 11), (20, 10, 30, 20)
    images = [image((20, 40), (1, box), (4, other))]
    results = [found([(6, 7), (25, 15)], [box, other], [box, other])]
    check(measure(images, results, once(images)), 100, 100, 100, 100, 100 * 82 / 800)


def test_worst():
    images = [image((20, 40), (0, (2, 3, 10, 11)), (2, (20, 10, 30, 20)))]
    corner = (38, 0, 40, 2)
    results = [found([(39, 1), (39, 1)], [corner, corner], [corner])]
    check(measure(images, results, once(images)), 0, 0, 0, 0, 100 * 4 / 800)


def test_without_views_nothing_is_covered():
    box = (0, 0, 20, 20)
    images = [image((20, 40), (0, box))]
    check(measure(images, [found([(5, 5)], [box])], once(images)), 100, 100, 100, 0, 0)


def test_half_is_enough():
    images = [image((10, 10), (0, (0, 0, 10, 10)))]
    results = [found([(5, 5)], [(0, 0, 10, 5)], [(0, 0, 10, 5)])]
    check(measure(images, results, once(images)), 100, 100, 50, 100, 50)
    results = [found([(5, 5)], [(0, 0, 10, 4.99)], [(0, 0, 10, 4.99)])]
    check(measure(images, results, once(images)), 100, 0, 49.9, 0, 49.9)


def test_an_object_is_covered_by_one_view_not_by_two_together():
    images = [image((10, 10), (0, (0, 0, 10, 10)))]
    results = [found([(5, 5)], [(0, 0, 10, 10)], [(0, 0, 10, 4), (0, 4, 10, 8)])]
    check(measure(images, results, once(images)), 100, 100, 100, 0, 40)


def test_objects_of_other_labels_do_not_count_but_for_coverage():
    here, there = (0, 0, 10, 10), (20, 0, 30, 10)
    images = [image((10, 30), (0, here), (1, there))]
    results = [found([(25, 5), (5, 5)], [there, here], [here])]
    check(measure(images, results, once(images)), 0, 0, 0, 50, 100 / 3)


def test_frequent_labels_weigh_more_overall_than_in_the_mean_over_labels():
    box, away = (0, 0, 10, 10), (20, 20, 30, 30)
    images = [image((40, 40), (0, box))] * 3 + [image((40, 40), (5, box))]
    results = [found([(5, 5)], [box], [box])] * 3 + [found([(25, 25)], [away], [away])]
    quality = measure(images, results, once(images))
    for name in MEASURES:
        assert getattr(quality, name).overall == 75
        assert getattr(quality, name).label_mean == 50  # of labels 1 to 4 there is nothing
