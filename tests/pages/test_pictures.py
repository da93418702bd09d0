"""Thumbnails and drawings."""

import base64
import io
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from didvit.pages.drawing import ACCENT, FAINT, INK, SECOND, page_style, svg
from didvit.pages.thumbnails import LINE, SIDE, thumbnail


def image_of(element) -> Image.Image:
    content = re.search(r'src="data:image/jpeg;base64,([^"]*)"', element)
    assert content
    image = Image.open(io.BytesIO(base64.b64decode(content.group(1))))
    assert image.format == "JPEG"
    size = re.search(r'width="(\d+)" height="(\d+)"', element)
    assert image.size == tuple(map(int, size.groups()))
    return image


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((480, 640), (220, 165)),
        ((640, 480), (165, 220)),
        ((1, 1), (220, 220)),
        ((2, 900), (220, 1)),
        ((50, 25), (110, 220)),
    ],
)
def test_the_longer_side_is_that_of_a_thumbnail(shape, size):
    assert image_of(thumbnail(np.zeros((*shape, 3), np.uint8), "")).size == size
    assert max(size) == SIDE


def test_a_thumbnail_is_small_and_shows_the_photograph():
    pixels = np.random.default_rng(0).integers(0, 256, (600, 800, 3), dtype=np.uint8)
    pixels[:, :400] = (200, 30, 30)
    made = thumbnail(pixels, 'a "b"')
    assert len(made) < 30_000
    assert 'alt="a &quot;b&quot;"' in made
    left = np.asarray(image_of(made))[20:140, 5:100].reshape(-1, 3)
    np.testing.assert_allclose(left.mean(0), (200, 30, 30), atol=6)


def test_a_box_is_drawn_where_it_is():
    pixels = np.full((400, 800, 3), 128, np.uint8)
    # A quarter of the photograph's sides in thumbnail pixels: 55 and 27.5.
    image = np.asarray(image_of(thumbnail(pixels, "", box=(200, 100, 600, 300)))).astype(int)
    yellow = np.abs(image - LINE).sum(2) < 150
    rows, columns = np.nonzero(yellow)
    assert (columns.min(), columns.max()) == pytest.approx((55, 164), abs=2)
    assert (rows.min(), rows.max()) == pytest.approx((28, 81), abs=2)
    assert not yellow[35:75, 62:158].any()  # only its edges


@pytest.mark.parametrize("box", [(0, 0, 1, 1), (0, 0, 800, 400), (799, 399, 800, 400)])
def test_boxes_at_the_edge_are_drawn(box):
    made = image_of(thumbnail(np.full((400, 800, 3), 128, np.uint8), "", box))
    assert np.ptp(np.asarray(made).astype(int)) > 50


@pytest.fixture(scope="module")
def drawing():
    from matplotlib.figure import Figure

    with page_style():
        figure = Figure(figsize=(3, 2), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 1, 2], [0.123456789, 1, 0], color=ACCENT, marker="o")
        axes.vlines([0.5], [0], [1], color=SECOND)
        axes.set_xlabel("amount < 3")
        return svg(figure, "first", "A line")


def test_a_drawing_has_text_and_the_colors_of_the_page(drawing):
    assert ">amount &lt; 3</text>" in drawing
    for color in (INK, FAINT, ACCENT, SECOND):
        assert color not in drawing
    for color in ("currentColor", "var(--faint)", "var(--accent)", "var(--second)"):
        assert color in drawing
    assert "var(--font)" in drawing
    assert "DejaVu" not in drawing


def test_a_drawing_is_small_and_well_formed(drawing):
    assert len(drawing) < 20_000
    root = ET.fromstring(drawing)
    assert root.tag == "svg"
    assert set(root.attrib) == {"viewBox", "role", "aria-label"}
    assert not re.search(r"<style|<metadata|<!--|xlink|<script|http", drawing)
    assert not re.search(r"\d\.\d{3}", drawing)


def test_names_within_a_drawing_are_its_own(drawing):
    names = re.findall(r'\bid="([^"]*)"', drawing)
    assert len(set(names)) == len(names)
    assert all(name.startswith("first-") for name in names)
    used = re.findall(r'(?:href="|url\()#([^")]*)', drawing)
    assert used
    assert set(used) <= set(names)


def test_the_same_figure_gives_the_same_drawing():
    from matplotlib.figure import Figure

    def draw():
        with page_style():
            figure = Figure(figsize=(2, 2))
            figure.subplots().plot([0, 1], [1, 0], color=ACCENT)
            return svg(figure, "a", "x")

    assert draw() == draw()
