import io
import re

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from didvit.data.table import Table
from didvit.inspection.counting import inspect
from didvit.inspection.picture import BAR_LABELS, COLORS, MATRIX_LABELS, PAIRS, draw_report


@pytest.fixture
def image(tmp_path):
    Image.new("RGB", (90, 60), (1, 99, 201)).save(tmp_path / "image.png")
    return tmp_path / "image.png"


def table(image, labels, image_labels):
    return Table((image,) * len(image_labels), tuple(map(frozenset, image_labels)), tuple(labels))


def drawn(figure) -> Image.Image:
    figure.savefig(file := io.BytesIO(), format="png")
    return Image.open(file)


def axes_of(figure, title):
    return next(axes for axes in figure.axes if axes.get_title().startswith(title))


def bars_of(figure) -> dict[str, dict[str, float]]:
    """Length of the bars in percent, by split and label."""
    lengths = {}
    for axes in figure.axes:
        names = [tick.get_text() for tick in axes.get_yticklabels()]
        for bars in axes.containers if not axes.get_title() else ():
            of_split = lengths.setdefault(bars.get_label(), {})
            of_split |= dict(zip(names, bars.datavalues, strict=True))
    return lengths


def thumbnails_of(figure) -> list[tuple[str, str]]:
    """Split and file of the images of duplicates, which have two lines above them."""
    return [tuple(axes.get_title().split("\n")) for axes in figure.axes if "\n" in axes.get_title()]


@pytest.mark.parametrize("count", [1, 80, 500])
def test_any_number_of_labels_gives_a_legible_picture(image, count):
    labels = [f"label number {i}" for i in range(count)]
    figure = draw_report(inspect({"train": table(image, labels, [labels, labels[:1]])}))
    picture = drawn(figure)
    assert picture.width == 1300
    assert 500 < picture.height < 2500
    assert len(bars_of(figure)["train"]) == (count if count <= BAR_LABELS else 2 * MATRIX_LABELS)
    (matrix,) = axes_of(figure, "Label co-occurrence").images
    assert matrix.get_array().shape == (min(count, MATRIX_LABELS),) * 2
    curves = [axes for axes in figure.axes if axes.get_title().startswith("Images by rank")]
    assert len(curves) == (count > BAR_LABELS)


def test_the_curve_has_all_labels(image):
    labels = [f"{i}" for i in range(BAR_LABELS + 10)]
    images = [labels, labels[:30], labels[:20]]
    figure = draw_report(inspect({"train": table(image, labels, images)}))
    (line, _) = axes_of(figure, "Images by rank").lines
    assert line.get_ydata().tolist() == [3] * 20 + [2] * 10 + [1] * 70


@pytest.mark.parametrize("name", ["a very long name " * 20, "ñandú 犬", "a\n$x$ $\udcff"])
@pytest.mark.filterwarnings("ignore:Glyph")
def test_any_name_fits(image, name):
    report = inspect({name: table(image, [name], [[name], [name]])})
    assert drawn(draw_report(report)).width == 1300


def test_bars_are_as_long_as_the_label_is_common(image):
    """The part of the split's images counts, not their number."""
    train = table(image, "abc", [["a", "b"]] * 3 + [["a"]] * 9)
    val = table(image, "abc", [["c"]] + [[]] * 3)
    bars = bars_of(draw_report(inspect({"train": train, "val": val})))
    assert bars == {"train": {"a": 100, "b": 25, "c": 0}, "val": {"a": 0, "b": 0, "c": 25}}


def test_the_most_frequent_labels_come_first(image):
    labels = [f"{i}" for i in range(BAR_LABELS + 1)]
    images = [labels, labels[-50:], labels[-2:]]
    figure = draw_report(inspect({"train": table(image, labels, images)}))
    assert list(bars_of(figure)["train"])[:3] == labels[-2:] + labels[-50:-49]
    names = [tick.get_text() for tick in axes_of(figure, "Label co").get_yticklabels()]
    assert names == labels[-2:] + labels[-50 : MATRIX_LABELS - 52]


def test_matrix(image):
    figure = draw_report(inspect({"train": table(image, "ab", ["ab", "ab", "ab", "a", "a"])}))
    axes = axes_of(figure, "Label co-occurrence")
    percent = axes.images[0].get_array()
    np.testing.assert_allclose(percent.filled(-1), [[-1, 60], [100, -1]])
    assert [text.get_text() for text in axes.texts] == ["5", "3", "3", "3"]


def test_sizes(tmp_path):
    for i, size in enumerate([(90, 60), (60, 80), (200, 300)]):
        Image.effect_noise(size, 90).save(tmp_path / f"{i}.png")
    images = tuple(tmp_path / f"{i}.png" for i in range(3))
    report = inspect({"train": Table(images, (frozenset("a"),) * 3, ("a",))})
    (bars,) = axes_of(draw_report(report), "Shorter side").containers
    heights = bars.datavalues
    assert heights[[0, -1]] == pytest.approx([200 / 3, 100 / 3])
    assert heights.sum() == pytest.approx(100)


def test_every_split_has_its_color(image):
    tables = {name: table(image, "a", ["a"]) for name in ("train", "val", "test")}
    figure = draw_report(inspect(tables))
    for axes in (figure.axes[0], axes_of(figure, "Shorter side")):
        colors = {bars.get_label(): to_hex(bars[0].get_facecolor()) for bars in axes.containers}
        assert colors == dict(zip(tables, map(str.lower, COLORS), strict=False))


def test_duplicates_are_shown(image):
    once = draw_report(inspect({"train": table(image, "a", ["a"])}))
    assert thumbnails_of(once) == []
    twice = draw_report(inspect({"train": table(image, "a", ["a", "a"])}))
    assert thumbnails_of(twice) == [("train", "image.png")] * 2
    shown = np.asarray(drawn(twice).convert("RGB"))
    assert (shown == (1, 99, 201)).all(-1).sum() > 2 * 90 * 60


def test_what_splits_share_comes_first(tmp_path):
    """Seven files are twice in the training data, and one of them is in the validation data too."""
    images = []
    for i in range(PAIRS + 1):
        Image.new("RGB", (90, 60), (10 + i, 99, 201)).save(tmp_path / f"{i}.png")
        images += [tmp_path / f"{i}.png"] * 2
    train = Table(tuple(images), (frozenset("a"),) * len(images), ("a",))
    figure = draw_report(inspect({"train": train, "val": table(images[-1], "a", ["a"])}))
    first, second, *others = thumbnails_of(figure)
    assert (first, second) == (("train", f"{PAIRS}.png"), ("val", f"{PAIRS}.png"))
    assert others == [("train", f"{i}.png") for i in range(PAIRS - 1) for _ in range(2)]
    titles = [child.get_text() for child in figure.findobj(lambda a: hasattr(a, "get_text"))]
    assert sum(bool(re.match("same file", title)) for title in titles) == PAIRS


def test_no_image_can_be_read(tmp_path):
    (tmp_path / "0.png").touch()
    report = inspect({"train": table(tmp_path / "0.png", "ab", ["", ""])})
    assert drawn(draw_report(report)).width == 1300
