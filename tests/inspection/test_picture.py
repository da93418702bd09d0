import numpy as np
import pytest
from PIL import Image

from didvit.data.table import Table
from didvit.inspection.counting import inspect
from didvit.inspection.picture import draw_report
from didvit.visualization import COLORS


@pytest.fixture
def image(tmp_path):
    Image.new("RGB", (90, 60), (1, 99, 201)).save(tmp_path / "image.png")
    return tmp_path / "image.png"


def table(image, labels, image_labels):
    return Table((image,) * len(image_labels), tuple(map(frozenset, image_labels)), tuple(labels))


def pixels_of_color(picture, color):
    return int((np.asarray(picture) == color).all(-1).sum())


@pytest.mark.parametrize(("count", "width"), [(1, 1312), (18, 1312), (80, 1362), (120, 1662)])
def test_any_number_of_labels_gives_a_legible_picture(image, count, width):
    labels = [f"label number {i}" for i in range(count)]
    picture = draw_report(inspect({"train": table(image, labels, [labels, labels[:1]])}))
    assert picture.mode == "RGB"
    assert picture.width == width
    assert 800 < picture.height < 6000


@pytest.mark.parametrize(
    "name", ["", "a very long name " * 20, "unbroken" * 60, "ñandú 犬", "a\nb"]
)
def test_any_name_fits(image, name):
    report = inspect({name: table(image, [name], [[name], [name]])})
    assert draw_report(report).width == 1312


def test_bars_are_as_long_as_the_label_is_common(image):
    """The part of the split's images counts, not their number."""
    lengths = []
    for positives, total in ((10, 10), (5, 10), (10, 20), (1, 10), (0, 10)):
        image_labels = [["b", "a"] if i < positives else ["b"] for i in range(total)]
        picture = draw_report(inspect({"train": table(image, "ab", image_labels)}))
        lengths.append(pixels_of_color(picture, COLORS[0]))
    base = lengths.pop()
    whole, half, also_half, tenth = (length - base for length in lengths)
    assert half == pytest.approx(whole / 2, rel=0.01)
    assert also_half == pytest.approx(half, rel=0.01)
    assert tenth == pytest.approx(whole / 10, rel=0.05)


def test_every_split_has_its_color(image):
    tables = {name: table(image, "a", ["a"]) for name in ("train", "val", "test")}
    picture = draw_report(inspect(tables))
    bars = [pixels_of_color(picture, color) for color in COLORS]
    assert min(bars[:3]) > 1000
    assert bars[0] == pytest.approx(bars[2], rel=0.05)
    assert bars[4] == bars[5] == 0


def test_duplicates_are_shown(image):
    once = draw_report(inspect({"train": table(image, "a", ["a"])}))
    twice = draw_report(inspect({"train": table(image, "a", ["a", "a"])}))
    assert pixels_of_color(once, (1, 99, 201)) == 0
    assert pixels_of_color(twice, (1, 99, 201)) == 2 * 90 * 60


def test_what_splits_share_comes_first(tmp_path):
    """Seven files are twice in the training data, and one of them is in the validation data too."""
    colors = [(10 + i, 99, 201) for i in range(7)]
    images = []
    for i, color in enumerate(colors):
        Image.new("RGB", (90, 60), color).save(tmp_path / f"{i}.png")
        images += [tmp_path / f"{i}.png"] * 2
    train = Table(tuple(images), (frozenset("a"),) * len(images), ("a",))
    picture = draw_report(inspect({"train": train, "val": table(images[-1], "a", ["a"])}))
    shown = [pixels_of_color(picture, color) > 0 for color in colors]
    assert shown == [True] * 5 + [False, True]


def test_no_image_can_be_read(tmp_path):
    (tmp_path / "0.png").touch()
    report = inspect({"train": table(tmp_path / "0.png", "ab", ["", ""])})
    assert draw_report(report).width == 1312
