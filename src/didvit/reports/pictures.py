"""Photographs of the cases that a model is most wrong about, with the regions of their labels."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from didvit.data.images import ImageError, StoredImage, read_image
from didvit.inference.prediction import Prediction
from didvit.inference.predictor import Predictor
from didvit.pages.blocks import no_picture
from didvit.pages.markup import Html
from didvit.pages.thumbnails import thumbnail
from didvit.reports.mistakes import Case


def picture_cases(
    predictor: Predictor, images: Sequence[Path | StoredImage], cases: Iterable[Case]
) -> dict[Case, Html]:
    """A thumbnail of every case's image, with the region of its label where the model has one.

    The model sees these few images again, as regions of all images would fill the memory. An image
    that cannot be read any more has a sentence in the place of its picture.

    Args:
        predictor: The model.
        images: The images by row.
        cases: What to picture; each row is read once.

    Raises:
        NonFiniteScoreError, NonFiniteMapError: The model's weights are damaged.
    """
    by_row: dict[int, list[Case]] = {}
    for case in cases:
        by_row.setdefault(case.row, []).append(case)
    pictures: dict[Case, Html] = {}
    for row, of_image in by_row.items():
        try:
            pixels = read_image(images[row])
        except ImageError:
            pictures |= dict.fromkeys(of_image, no_picture("the image cannot be read any more"))
            continue
        (prediction,) = predictor.stream([pixels])
        for case in of_image:
            label = predictor.labels[case.label]
            box = None
            if isinstance(prediction, Prediction):
                boxes = [region.box for region in prediction.regions if region.label == label]
                box = boxes[0] if boxes else None
            pictures[case] = thumbnail(pixels, "" if box is None else "with a region", box)
    return pictures
