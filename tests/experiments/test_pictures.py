from types import SimpleNamespace

import pytest
from PIL import Image

from didvit.experiments.pictures import COLUMN_WIDTH, GAP, draw_figure_3


def plotted(color, size):
    return SimpleNamespace(plot=lambda: Image.new("RGB", size, color))


@pytest.mark.parametrize(
    ("count", "columns", "size"),
    [
        (1, 3, (COLUMN_WIDTH, 320)),
        (2, 3, (2 * COLUMN_WIDTH + GAP, 320)),
        (4, 3, (3 * COLUMN_WIDTH + 2 * GAP, 640 + GAP)),
        (3, 1, (COLUMN_WIDTH, 960 + 2 * GAP)),
    ],
)
def test_every_picture_is_on_the_sheet(count, columns, size, tmp_path):
    colors = ["red", "lime", "blue", "black"][:count]
    draw_figure_3([plotted(c, (320, 160)) for c in colors], tmp_path / "sheet.png", columns)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == size
        shown = {color for _, color in sheet.getcolors()}
    expected = {Image.new("RGB", (1, 1), color).getpixel((0, 0)) for color in colors}
    assert expected <= shown


def test_predictions_of_photographs(predictor, photographs, tmp_path):
    predictions = predictor.predict(photographs)
    draw_figure_3(predictions, tmp_path / "figure3.jpg")
    with Image.open(tmp_path / "figure3.jpg") as sheet:
        assert sheet.width == 3 * COLUMN_WIDTH + 2 * GAP
