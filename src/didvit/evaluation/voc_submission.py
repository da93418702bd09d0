"""Files for the evaluation server of VOC 2012, whose test labels are not public.

The server takes an archive (``tar czf results.tgz results``) of the folder ``results``, with a file
``results/VOC2012/Main/comp1_cls_test_CATEGORY.txt`` for every category, and in it a line
``IMAGE_ID SCORE`` for every image of the split.
"""

import math
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from jaxtyping import Float

from didvit.data.choices import Competition
from didvit.data.datasets import parse_spec
from didvit.data.table import DataError
from didvit.files import whole_file

_PLACE = Path("results", "VOC2012", "Main")
_NAME = re.compile(r"[\w-]+")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def write_submission(
    folder: Path,
    image_ids: Sequence[str],
    scores: Float[np.ndarray, "n C"],
    labels: Sequence[str],
    split: str = "test",
    competition: Competition = "comp1",
) -> Path:
    """Write the files of all categories; an error while writing leaves what was there.

    Args:
        folder: Where ``results`` goes.
        image_ids: Names of the images as the split's list has them, such as 2009_000001.
        scores: Logits or probabilities; they are written in full, so that no two become equal.
        labels: The categories, in the order of the scores.
        split: The list of images that the scores are of.
        competition: Whose results these are.

    Returns:
        The folder with the files.

    Raises:
        DataError: There are no images or labels; an id or label occurs twice, or cannot be part of
            a line or a file's name; or a score is not finite.
        ValueError: There is not one score for every image and label.
    """
    if scores.shape != (len(image_ids), len(labels)):
        raise ValueError(
            f"expected scores of shape {len(image_ids), len(labels)}, got {scores.shape}"
        )
    check_names(image_ids, labels)
    not_finite = np.argwhere(~np.isfinite(scores))
    if len(not_finite):
        image, category = not_finite[0]
        raise DataError(
            f"the score of image {image_ids[image]} for {labels[category]} is "
            f"{scores[image, category]}; expected finite numbers (the model's weights may hold NaN)"
        )
    # Files take their places when the stack is left, after every one of them could be written.
    with ExitStack() as stack:
        for label, of_label in zip(labels, scores.T, strict=True):
            path = folder / _PLACE / _file_name(label, split, competition)
            lines = (
                f"{i} {float(score)!r}\n" for i, score in zip(image_ids, of_label, strict=True)
            )
            stack.enter_context(whole_file(path)).write_text(
                "".join(lines), encoding="utf-8", newline="\n"
            )
    return folder / _PLACE


def submitted_split(data: str) -> str:
    """What files of a data set's scores are named after: its split, or test where it has none."""
    return parse_spec(data)[1] or "test"


def image_ids(images: Sequence[object]) -> list[str]:
    """What the server calls images: their files' names, without the suffix."""
    return [Path(str(image)).stem for image in images]


def validate_submission(
    folder: Path,
    image_ids: Collection[str],
    labels: Sequence[str],
    split: str = "test",
    competition: Competition = "comp1",
) -> list[str]:
    """What the server might not accept, or not count; an empty list where all is well.

    Args:
        folder: Where ``results`` is.
        image_ids: All images of the split.
        labels: All categories.
        split: The list of images that the scores should be of.
        competition: Whose results these should be.

    Returns:
        One problem each, naming the file, and the first line that has it: missing and unexpected
        files; ids that are unknown, missing or listed twice; lines that are not an id and a finite
        number.
    """
    place = folder / _PLACE
    if not place.is_dir():
        return [f"{place}: there is no such folder"]
    expected = {_file_name(label, split, competition) for label in labels}
    found = {path.name for path in place.iterdir()}
    problems = [f"{place / name}: there is no such file" for name in sorted(expected - found)]
    problems += [
        f"{place / name}: the file is not part of a submission of {competition} for the split "
        f"{split} and these {len(labels)} labels"
        for name in sorted(found - expected)
    ]
    for name in sorted(expected & found):
        problems += _file_problems(place / name, frozenset(image_ids))
    return problems


def _file_name(label: str, split: str, competition: Competition) -> str:
    return f"{competition}_cls_{split}_{label}.txt"


def check_names(image_ids: Sequence[str], labels: Sequence[str]) -> None:
    """Refuse what cannot be submitted.

    Raises:
        DataError: There are no images or labels; or an id or label occurs twice, or cannot be part
            of a line or a file's name.
    """
    _check_names(image_ids, "image id")
    _check_names(labels, "label")


def _check_names(names: Sequence[str], kind: str) -> None:
    if not names:
        raise DataError(f"there is no {kind}; expected at least one")
    seen = set()
    for name in names:
        if not _NAME.fullmatch(name):
            raise DataError(
                f"the {kind} {name!r} cannot be submitted; expected letters, digits, '_' and '-'"
            )
        if name in seen:
            raise DataError(f"the {kind} {name} occurs twice; expected it once")
        seen.add(name)


def _file_problems(path: Path, image_ids: frozenset[str]) -> Iterator[str]:
    seen: set[str] = set()
    lines: dict[str, list[str]] = {}  # problem -> the lines that have it
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                problem = _line_problem(line, image_ids, seen)
                if problem:
                    lines.setdefault(problem, []).append(f"line {number}, {line.rstrip()[:80]!r}")
    except (OSError, UnicodeDecodeError) as error:
        yield f"{path}: cannot be read as text ({error})"
        return
    for problem, places in lines.items():
        more = f" (and {len(places) - 1} more such lines)" if len(places) > 1 else ""
        yield f"{path}, {places[0]}: {problem}{more}"
    missing = sorted(image_ids - seen)
    if missing:
        yield f"{path}: {len(missing)} of {len(image_ids)} images are missing, such as {missing[0]}"


def _line_problem(line: str, image_ids: frozenset[str], seen: set[str]) -> str | None:
    """What is wrong with a line; its image is added to those ``seen``."""
    words = line.split()
    if len(words) != 2:
        return "expected an image id and a score"
    image_id, score = words
    if image_id not in image_ids:
        return "the image is not among those of the split"
    if image_id in seen:
        return "the image is listed before"
    seen.add(image_id)
    if not _NUMBER.fullmatch(score) or not math.isfinite(float(score)):
        return "the score is not a finite number"
    return None
