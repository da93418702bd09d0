import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from didvit.data.table import DataError
from didvit.evaluation.voc_submission import validate_submission, write_submission

IMAGE_IDS = ("2008_000006", "2008_000011", "2009_000001")
LABELS = ("aeroplane", "cat")
SCORES = np.array([[0.056313, 3.0], [-1.5, 1e-12], [0.25, 2e300]])


@pytest.fixture
def submission(tmp_path):
    """A folder with a valid submission, and the folder inside with the files."""
    return tmp_path, write_submission(tmp_path, IMAGE_IDS, SCORES, LABELS)


def read(folder):
    """Name -> lines of the files of a folder."""
    return {path.name: path.read_text().splitlines() for path in folder.iterdir()}


def test_files_are_those_of_the_server(submission):
    folder, place = submission
    assert place == folder / "results" / "VOC2012" / "Main"
    assert read(place) == {
        "comp1_cls_test_aeroplane.txt": [
            "2008_000006 0.056313",
            "2008_000011 -1.5",
            "2009_000001 0.25",
        ],
        "comp1_cls_test_cat.txt": ["2008_000006 3.0", "2008_000011 1e-12", "2009_000001 2e+300"],
    }
    assert (place / "comp1_cls_test_cat.txt").read_bytes().endswith(b"\n")


def test_split_and_competition_are_part_of_the_names(tmp_path):
    place = write_submission(tmp_path, IMAGE_IDS, SCORES, LABELS, "val", "comp2")
    assert set(read(place)) == {"comp2_cls_val_aeroplane.txt", "comp2_cls_val_cat.txt"}
    assert validate_submission(tmp_path, IMAGE_IDS, LABELS, "val", "comp2") == []
    # As a submission for something else, both files are missing, and both unexpected.
    assert len(validate_submission(tmp_path, IMAGE_IDS, LABELS, "val", "comp1")) == 4
    assert len(validate_submission(tmp_path, IMAGE_IDS, LABELS, "test", "comp2")) == 4


@settings(max_examples=30)
@given(st.data())
def test_scores_come_back_exactly_and_are_valid(tmp_path_factory, data):
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    shape = data.draw(st.tuples(st.integers(1, 5), st.integers(1, 4)))
    width = 32 if dtype is np.float32 else 64
    finite = st.floats(allow_nan=False, allow_infinity=False, width=width)
    scores = data.draw(hnp.arrays(dtype, shape, elements=finite))
    image_ids = [f"2010_{i:06}" for i in range(shape[0])]
    labels = [f"label{i}" for i in range(shape[1])]
    folder = tmp_path_factory.mktemp("submission")
    place = write_submission(folder, image_ids, scores, labels)
    assert validate_submission(folder, image_ids, labels) == []
    for label, of_label in zip(labels, scores.T, strict=True):
        lines = (place / f"comp1_cls_test_{label}.txt").read_text().splitlines()
        assert [line.split()[0] for line in lines] == image_ids
        read_back = np.array([float(line.split()[1]) for line in lines])
        np.testing.assert_array_equal(read_back, of_label.astype(np.float64))


@pytest.mark.parametrize(
    ("image_ids", "labels", "scores", "message"),
    [
        (("a",), ("cat",), [[math.nan]], r"image a for cat is nan; expected finite"),
        (("a",), ("cat",), [[math.inf]], r"image a for cat is inf"),
        (("a", "b"), ("cat", "dog"), [[0, 0], [0, -math.inf]], r"image b for dog is -inf"),
        ((), ("cat",), np.empty((0, 1)), r"no image id"),
        (("a",), (), np.empty((1, 0)), r"no label"),
        (("a", "a"), ("cat",), [[0], [0]], r"image id a occurs twice"),
        (("a",), ("cat", "cat"), [[0, 0]], r"label cat occurs twice"),
        (("a b",), ("cat",), [[0]], r"image id 'a b' cannot be submitted"),
        (("a\n",), ("cat",), [[0]], r"image id 'a\\n' cannot"),
        (("",), ("cat",), [[0]], r"image id '' cannot"),
        (("a",), ("dining table",), [[0]], r"label 'dining table' cannot"),
        (("a",), ("../cat",), [[0]], r"label '../cat' cannot"),
    ],
)
def test_what_cannot_be_submitted_is_not_written(tmp_path, image_ids, labels, scores, message):
    with pytest.raises(DataError, match=message):
        write_submission(tmp_path, image_ids, np.array(scores, dtype=float), labels)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shape", [(2, 2), (3, 1), (2, 3)])
def test_there_must_be_a_score_for_everything(tmp_path, shape):
    with pytest.raises(ValueError, match=r"expected scores of shape \(3, 2\), got"):
        write_submission(tmp_path, IMAGE_IDS, np.zeros(shape), LABELS)


def test_after_an_error_no_file_has_changed(submission, monkeypatch):
    folder, place = submission
    before = read(place)
    written = []

    def fail_at_the_second(path, text, **kwargs):
        if written:
            raise OSError("the disk is full")
        written.append(path)
        path.write_bytes(text.encode())

    monkeypatch.setattr("pathlib.Path.write_text", fail_at_the_second)
    with pytest.raises(OSError, match="full"):
        write_submission(folder, IMAGE_IDS, SCORES + 1, LABELS)
    assert len(written) == 1
    assert read(place) == before


def test_a_second_submission_takes_the_place_of_the_first(submission):
    folder, place = submission
    write_submission(folder, IMAGE_IDS[:1], np.array([[1.0, 2.0]]), LABELS)
    assert read(place) == {
        "comp1_cls_test_aeroplane.txt": ["2008_000006 1.0"],
        "comp1_cls_test_cat.txt": ["2008_000006 2.0"],
    }


GOOD = ["2008_000006 0.5", "2008_000011 -1.5", "2009_000001 1"]


@pytest.mark.parametrize(
    "lines",
    [
        GOOD,
        GOOD[::-1],  # the order is free
        ["2008_000006  0.5", "2008_000011\t-1.5", " 2009_000001 1 "],
        ["2008_000006 .5", "2008_000011 5.", "2009_000001 +1E-7"],
    ],
)
def test_lines_that_are_accepted(submission, lines):
    folder, place = submission
    (place / "comp1_cls_test_cat.txt").write_text("\n".join(lines))
    assert validate_submission(folder, IMAGE_IDS, LABELS) == []


@pytest.mark.parametrize(
    ("lines", "problems"),
    [
        # No lines, or too few.
        ([], [": 3 of 3 images are missing, such as 2008_000006"]),
        (GOOD[1:], [": 1 of 3 images are missing, such as 2008_000006"]),
        # Lines that are something else.
        (["2008_000006", *GOOD], [", line 1, '2008_000006': expected an image id and a score"]),
        ([*GOOD, ""], [", line 4, '': expected an image id and a score"]),
        (
            ["2008_000006,0.5", *GOOD[1:]],
            [
                ", line 1, '2008_000006,0.5': expected an image id and a score",
                ": 1 of 3 images are missing, such as 2008_000006",
            ],
        ),
        (
            [*GOOD, "2009_000001 1 10 20 30 40", "x"],
            [
                ", line 4, '2009_000001 1 10 20 30 40': expected an image id and a score "
                "(and 1 more such lines)"
            ],
        ),
        # Images.
        (
            [*GOOD, "2008_000007 1"],
            [", line 4, '2008_000007 1': the image is not among those of the split"],
        ),
        (
            ["2008_000006.jpg 1", *GOOD[1:]],
            [
                ", line 1, '2008_000006.jpg 1': the image is not among those of the split",
                ": 1 of 3 images are missing, such as 2008_000006",
            ],
        ),
        ([*GOOD, GOOD[0]], [", line 4, '2008_000006 0.5': the image is listed before"]),
        # Scores.
        *(
            (
                [f"2008_000006 {score}", *GOOD[1:]],
                [f", line 1, '2008_000006 {score}': the score is not a finite number"],
            )
            for score in ("nan", "NaN", "inf", "-inf", "1e999", "high", "1_0", "0x1", "1,5", "٣")
        ),
        # Two problems of one file.
        (
            ["2008_000006 nan", "2008_000011 0", "2008_000011 0", "2009_000001 0"],
            [
                ", line 1, '2008_000006 nan': the score is not a finite number",
                ", line 3, '2008_000011 0': the image is listed before",
            ],
        ),
    ],
)
def test_broken_files(submission, lines, problems):
    folder, place = submission
    path = place / "comp1_cls_test_cat.txt"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    expected = [f"{path}{problem}" for problem in problems]
    assert validate_submission(folder, IMAGE_IDS, LABELS) == expected


@pytest.mark.parametrize("split", ["test", "val"])
def test_without_the_folder(tmp_path, split):
    (problem,) = validate_submission(tmp_path / "nowhere", IMAGE_IDS, LABELS, split)
    assert "nowhere" in problem
    assert "no such folder" in problem


def test_missing_and_unexpected_files(submission):
    folder, place = submission
    (place / "comp1_cls_test_cat.txt").unlink()
    for name in ("comp1_cls_test_Cat.txt", "comp1_det_test_cat.txt", "notes"):
        (place / name).write_text("")
    problems = validate_submission(folder, IMAGE_IDS, LABELS)
    assert problems[0] == f"{place / 'comp1_cls_test_cat.txt'}: there is no such file"
    unexpected = ("comp1_cls_test_Cat.txt", "comp1_det_test_cat.txt", "notes")
    for name, problem in zip(unexpected, problems[1:], strict=True):
        assert problem.startswith(f"{place / name}: the file is not part of a submission of comp1")


def test_files_that_cannot_be_read(submission):
    folder, place = submission
    (place / "comp1_cls_test_cat.txt").write_bytes(b"2008_000006 0.5\n\xff\xfe\n")
    (place / "comp1_cls_test_aeroplane.txt").unlink()
    (place / "comp1_cls_test_aeroplane.txt").mkdir()
    aeroplane, cat = validate_submission(folder, IMAGE_IDS, LABELS)
    assert aeroplane.startswith(f"{place / 'comp1_cls_test_aeroplane.txt'}: cannot be read as text")
    assert cat.startswith(f"{place / 'comp1_cls_test_cat.txt'}: cannot be read as text")
