"""Figure 3: where a model looked, on some photographs."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from didvit.files import whole_file
from didvit.inference.prediction import Prediction

COLUMN_WIDTH = 640
GAP = 12


def draw_figure_3(predictions: Sequence[Prediction], path: Path, columns: int = 3) -> None:
    """Photographs in columns, each with its boxes, labels, probabilities and heat maps.

    Args:
        predictions: At least one.
        path: Of the picture.
        columns: Photographs side by side, at most.
    """
    pictures = [_of_column_width(prediction.plot()) for prediction in predictions]
    stacks = [pictures[i::columns] for i in range(min(columns, len(pictures)))]
    heights = [sum(picture.height + GAP for picture in stack) for stack in stacks]
    width = len(stacks) * (COLUMN_WIDTH + GAP) - GAP
    sheet = Image.new("RGB", (width, max(heights) - GAP), "white")
    for i, stack in enumerate(stacks):
        top = 0
        for picture in stack:
            sheet.paste(picture, (i * (COLUMN_WIDTH + GAP), top))
            top += picture.height + GAP
    with whole_file(path) as temporary:
        sheet.save(temporary, quality=90)


def _of_column_width(picture: Image.Image) -> Image.Image:
    height = max(round(picture.height * COLUMN_WIDTH / picture.width), 1)
    return picture.resize((COLUMN_WIDTH, height), Image.Resampling.LANCZOS)
