import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

import oracles
from didvit.config import PAPER, ConfigError, with_settings
from didvit.data.boxes import AnnotatedImage, read_boxes
from didvit.data.images import read_image
from didvit.data.table import DataError
from didvit.evaluation.box_metrics import Found
from didvit.evaluation.boxes import center_box, find_boxes, peaks, score_boxes
from didvit.heads.hcp import localize_hypotheses
from didvit.method.backbone import ViTBackbone
from didvit.method.boxes import scale_boxes
from didvit.method.model import DiD
from didvit.method.semantic import HeadOutput, SemanticHead
from didvit.method.views import resize_whole
from didvit.modeling.checkpoint import load_checkpoint

SIZE = (32, 48)  # of the input: 4 x 6 patches of 8
CPU = torch.device("cpu")
MEASURES = ("pointing_game", "corloc", "mean_iou", "coverage")


class PlantedHead(nn.Module):
    """Each category's map lights one patch, whatever the image; the logits are given."""

    def __init__(self, patches, logits):
        super().__init__()
        self.maps, self.logits = torch.zeros(len(patches), 4, 6), torch.tensor(logits)
        for category, (row, column) in enumerate(patches):
            self.maps[category, row, column] = 1.0

    def forward(self, tokens):
        batch = len(tokens)
        return HeadOutput(self.maps.expand(batch, -1, -1, -1), self.logits.expand(batch, -1))


@pytest.fixture(scope="module")
def planted(make_vit):
    """Labels 0, 1 and 2 light one patch each; the model looks again at label 2 alone."""
    head = PlantedHead([(1, 2), (3, 5), (0, 0)], [0.0, -1.0, 2.0])
    config = with_settings(PAPER, {"top_n": 1, "reconstraint": "none"})
    return DiD(ViTBackbone(make_vit(depth=1)), head, config)


@pytest.fixture(scope="module")
def make_model(make_vit, randomized):
    """A function that builds a random model of five labels."""

    def build(select=None, localize=None, **settings) -> DiD:
        head = randomized(SemanticHead(24, 5), seed=1)
        config = with_settings(PAPER, settings)
        backbone = ViTBackbone(make_vit(depth=1))
        return DiD(backbone, head, config, select=select, localize=localize).eval()

    return build


def write(path, size, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="module")
def annotated(tmp_path_factory):
    """Seven noisy images of different sizes with two objects each, of some of five labels."""
    folder, images = tmp_path_factory.mktemp("annotated"), []
    for i in range(7):
        size = (40 + 9 * i, 70 - 6 * i)
        boxes = ((0.0, 0.0, 9.0 + i, 20.0), (7.5, 8.5, 30.0, 35.0 + i))
        path = write(folder / f"{i}.png", size, i)
        images.append(AnnotatedImage(path, size, boxes, (4 - i % 3, i % 5)))
    return images


def load(images):
    return [(image, read_image(image.image)) for image in images]


def tensors(batch):
    return [torch.from_numpy(pixels).permute(2, 0, 1) for _, pixels in batch]


# Planted maps.


def check(quality, pointing_game, corloc, mean_iou, coverage, area):
    values = (pointing_game, corloc, mean_iou, coverage)
    for name, value in zip(MEASURES, values, strict=True):
        assert getattr(quality, name).overall == pytest.approx(value)
    assert quality.area == pytest.approx(area)


def test_boxes_and_points_of_planted_maps(planted, tmp_path):
    """The box of one lit patch is that patch; the image has 2 x 3 times the input's sides."""
    size = (64, 144)
    path = write(tmp_path / "image.png", size)
    boxes = ((0.0, 0.0, 9.0, 9.0),) * 3
    of_patches = {0: (48, 16, 72, 32), 1: (120, 48, 144, 64), 2: (0, 0, 24, 16)}
    for labels in ((0, 1, 0), (2, 1, 0), (1, 1, 1)):
        image = AnnotatedImage(path, size, boxes, labels)
        (result,) = find_boxes(planted, load([image]), SIZE, CPU, torch.Generator())
        expected = [of_patches[label] for label in sorted(set(labels))]
        assert [tuple(box) for box in result.boxes] == expected
        centers = [((x0 + x1) / 2, (y0 + y1) / 2) for x0, y0, x1, y1 in expected]
        assert [tuple(point) for point in result.points] == centers
        assert result.views.tolist() == [list(of_patches[2])]


def test_objects_where_the_planted_maps_are(planted, tmp_path):
    path = write(tmp_path / "image.png", SIZE)
    on_patches = AnnotatedImage(path, SIZE, ((16, 8, 24, 16), (40, 24, 48, 32)), (0, 1))
    report = score_boxes(planted, [on_patches], SIZE, CPU)
    assert (report.num_images, report.num_pairs, report.num_objects) == (1, 2, 2)
    check(report.methods["model"], 100, 100, 100, 0, 100 / 24)
    check(report.methods["whole_image"], 0, 0, 100 / 24, 100, 100)


def test_objects_of_which_half_is_where_the_planted_maps_are(planted, tmp_path):
    path = write(tmp_path / "image.png", SIZE)
    # Label 0 twice: one object is away. The others are a patch and as much beside it.
    boxes = ((0, 24, 8, 32), (16, 8, 32, 16), (0, 0, 8, 16))
    image = AnnotatedImage(path, SIZE, boxes, (0, 0, 2))
    report = score_boxes(planted, [image], SIZE, CPU)
    assert (report.num_images, report.num_pairs, report.num_objects) == (1, 2, 3)
    check(report.methods["model"], 100, 100, 50, 100 / 3, 100 / 24)


def test_objects_away_from_the_planted_maps(planted, tmp_path):
    path = write(tmp_path / "image.png", SIZE)
    image = AnnotatedImage(path, SIZE, ((24, 8, 32, 16), (40, 16, 48, 24)), (0, 1))
    check(score_boxes(planted, [image], SIZE, CPU).methods["model"], 0, 0, 0, 0, 100 / 24)


# The model as it is.


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"top_n": 1, "box_threshold": 0.8},
        {"top_n": 5, "reconstraint": "shifted", "localization": "mcar"},
        {"top_n": 2, "reconstraint": "none", "selection": "ascending"},
        {"top_n": 3, "localize": localize_hypotheses},
        {"top_n": 2, "selection": "random", "localization": "random"},
    ],
)
def test_views_are_those_that_the_model_looks_at(make_model, annotated, options):
    model, batch = make_model(**options), load(annotated)
    results = find_boxes(model, batch, SIZE, CPU, torch.Generator().manual_seed(4))
    sources = tensors(batch)
    with torch.inference_mode():
        generator = torch.Generator().manual_seed(4)
        output = model(resize_whole(sources, SIZE), sources, generator)
    for i, (image, _) in enumerate(batch):
        expected = scale_boxes(output.boxes[i].numpy(), SIZE, image.size)
        assert results[i].views.tolist() == expected.tolist()
        assert len(results[i].boxes) == len(results[i].points) == len(image.present)


@pytest.mark.parametrize(
    "localization",
    [{"localization": "largest_component"}, {"localization": "mcar"},
     {"localize": localize_hypotheses}],
)  # fmt: skip
def test_boxes_of_labels_are_those_of_a_model_that_selects_them(
    make_model, annotated, localization
):
    settings = {"box_threshold": 0.5, **localization}
    batch = load(annotated)
    results = find_boxes(make_model(**settings), batch, SIZE, CPU, torch.Generator())
    for image, source, result in zip(annotated, tensors(batch), results, strict=True):
        for label, box in zip(image.present, result.boxes, strict=True):

            def choose(logits, top_n, rng, label=label):
                return np.full((len(logits), 1), label)

            model = make_model(top_n=1, select=choose, **settings)
            with torch.inference_mode():
                boxes = model(resize_whole([source], SIZE)).boxes[0].numpy()
            assert box.tolist() == scale_boxes(boxes, SIZE, image.size)[0].tolist()


def test_a_baseline_covers_nothing(make_model, annotated):
    quality = score_boxes(make_model(top_n=0), annotated, SIZE, CPU).methods["model"]
    assert quality.coverage.overall == quality.area == 0
    assert quality.mean_iou.overall > 0


@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 4), st.sampled_from([1, 3, 5]))
@settings(max_examples=25)
def test_peaks_are_maxima_of_the_upsampled_map(seed, height, width, patch):
    """With patches of odd sides the centers are pixels, so that the oracle meets the maximum."""
    maps = torch.randn(2, height, width, generator=torch.Generator().manual_seed(seed))
    size = (patch * height, patch * width)
    for plane, (x, y) in zip(maps.double().numpy(), peaks(maps, size), strict=True):
        upsampled = oracles.upsample(plane, size)
        assert upsampled[int(y), int(x)] == pytest.approx(upsampled.max())
        assert (x % 1, y % 1) == (0.5, 0.5)


def test_of_equal_values_the_first_is_the_peak():
    maps = torch.tensor([[[0.0, 2.0, 2.0], [2.0, 0.0, 1.0]]])
    assert peaks(maps, (20, 30)).tolist() == [[15.0, 5.0]]


# Trivial methods.


@pytest.mark.parametrize("size", [(1, 1), (7, 3), (100, 100), (426, 640)])
def test_boxes_in_the_center(size):
    height, width = size
    image = AnnotatedImage(Path("image.jpg"), size, ((0, 0, 1, 1),) * 3, (0, 2, 0))
    whole, half = center_box(image, 1.0), center_box(image, math.sqrt(0.5))
    assert whole.views.tolist() == [[0, 0, width, height]]
    ((x0, y0, x1, y1),) = half.views.tolist()
    assert (x0 + x1, y0 + y1) == (width, height)
    part = (x1 - x0) * (y1 - y0) / (height * width)
    assert 0.5 <= part < (math.sqrt(0.5) + 2 / height) * (math.sqrt(0.5) + 2 / width)
    for result in (whole, half):
        assert isinstance(result, Found)
        assert result.boxes.tolist() == result.views.tolist() * 2
        assert result.points.tolist() == [[width / 2, height / 2]] * 2


def test_trivial_methods_in_numbers(planted, tmp_path):
    path = write(tmp_path / "image.png", (100, 100))
    # One object fills the image, and one the upper left quarter, whose end is the center.
    image = AnnotatedImage(path, (100, 100), ((0, 0, 100, 100), (0, 0, 50, 50)), (0, 1))
    methods = score_boxes(planted, [image], SIZE, CPU).methods
    assert list(methods) == ["model", "whole_image", "center_box"]
    check(methods["whole_image"], 50, 50, (100 + 25) / 2, 100, 100)
    # The box is [14, 14, 86, 86): 36² of the quarter's 50² are in it.
    quarter = 36**2 / (72**2 + 50**2 - 36**2)
    check(methods["center_box"], 50, 50, (51.84 + 100 * quarter) / 2, 100, 51.84)


# The report.


def test_neither_batches_nor_workers_change_it(make_model, annotated):
    model, done = make_model(), []
    expected = score_boxes(model, annotated, SIZE, CPU, resamples=50, advance=done.append)
    assert done == [7]
    assert (expected.num_images, expected.num_objects) == (7, 14)
    assert expected.num_pairs == sum(len(set(image.labels)) for image in annotated)
    done.clear()
    other = score_boxes(
        model, annotated, SIZE, CPU, 3, workers=1, resamples=50, advance=done.append
    )
    assert other == expected
    assert done == [3, 3, 1]


def test_images_that_cannot_be_read_are_left_out(make_model, annotated, tmp_path):
    model = make_model()
    (tmp_path / "empty.png").touch()
    empty = AnnotatedImage(tmp_path / "empty.png", (9, 9), ((0, 0, 9, 9),), (0,))
    missing = AnnotatedImage(tmp_path / "missing.png", (9, 9), ((0, 0, 9, 9),), (0,))
    images = [empty, *annotated[:2], missing, *annotated[2:]]
    report = score_boxes(model, images, SIZE, CPU, batch_size=1)
    assert report.methods == score_boxes(model, annotated, SIZE, CPU).methods
    assert ["empty.png" in failure for failure in report.failures] == [True, False]
    assert ["missing.png" in failure for failure in report.failures] == [False, True]
    with pytest.raises(DataError, match=r"no image can be read: .*empty\.png"):
        score_boxes(model, [empty, missing], SIZE, CPU)


def test_images_of_another_size_than_annotated(make_model, annotated, tmp_path):
    path = write(tmp_path / "turned.png", (30, 20))
    image = AnnotatedImage(path, (20, 30), ((0, 0, 9, 9),), (0,))
    with pytest.raises(DataError, match=r"turned\.png.*\(30, 20\).*\(20, 30\)"):
        score_boxes(make_model(), [*annotated, image], SIZE, CPU)


@pytest.mark.parametrize("setting", ["batch_size", "resamples"])
def test_settings_out_of_range(make_model, annotated, setting):
    with pytest.raises(ConfigError, match=f"{setting} is 0; expected 1 or more"):
        score_boxes(make_model(), annotated, SIZE, CPU, **{setting: 0})


def test_a_model_in_training_stays_so_but_is_measured_in_evaluation(make_vit, annotated):
    backbone = ViTBackbone(make_vit(depth=1, drop_path_rate=0.9, proj_drop_rate=0.9))
    torch.manual_seed(1)
    model = DiD(backbone, SemanticHead(24, 5), with_settings(PAPER, {"top_n": 2}))
    expected = score_boxes(model.eval(), annotated, SIZE, CPU, resamples=9)
    assert not model.training
    assert score_boxes(model.train(), annotated, SIZE, CPU, resamples=9) == expected
    assert model.training


# Photographs.


def real(*parts):
    """A folder of real data; the test is skipped where it is not."""
    beside = Path(__file__).parents[3] / "shared" / "data"
    folder = Path(os.environ.get("DIDVIT_DATA", beside)).joinpath(*parts)
    if not folder.is_dir():
        pytest.skip(f"there are no photographs at {folder}; set DIDVIT_DATA to their folder")
    return folder


def test_the_default_model_points_better_than_the_center_does():
    """On some images of both data sets: they may be measured as one."""
    checkpoint = load_checkpoint("default")
    voc = read_boxes(f"{real('VOCdevkit', 'VOC2007')}:test", checkpoint.labels)
    coco = read_boxes(f"{real('coco80')}:val2017", checkpoint.labels)
    images = [*voc[::3], *coco[::6]]
    report = score_boxes(checkpoint.model, images, checkpoint.config.image_size, CPU)
    assert report.num_images == len(images)
    assert not report.failures
    model, whole, center = report.methods.values()
    assert model.pointing_game.overall > center.pointing_game.overall
    assert model.mean_iou.overall > whole.mean_iou.overall
    assert center.pointing_game == whole.pointing_game
    assert whole.coverage.overall == whole.area == 100
    for name in MEASURES:
        average = getattr(model, name)
        assert 0 <= average.overall_interval.low <= average.overall_interval.high <= 100
