import json
import math
import pickle
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from did_by_hand import as_input, see, shrunk
from didvit.config import ConfigError
from didvit.data.images import ImageError
from didvit.inference.prediction import Failure, Prediction
from didvit.inference.predictor import load
from didvit.method.boxes import scale_boxes, tile_boxes
from didvit.modeling.checkpoint import CheckpointError

SIZE = (32, 48)


def pixels_of_file(path) -> np.ndarray:
    return np.array(Image.open(path).convert("RGB"))


def noise(height, width, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(height, width, seed=0) -> np.ndarray:
    """A picture with large structures, so that boxes differ from one picture to the next."""
    coarse = Image.fromarray(noise(5, 5, seed))
    return np.array(coarse.resize((width, height), Image.Resampling.BILINEAR))


def as_tensor(array) -> torch.Tensor:
    return torch.from_numpy(array.copy()).permute(2, 0, 1)


def by_hand(predictor, array):
    return see(predictor.engine.model, array, SIZE)


def sigmoid(logits) -> list[float]:
    return [1 / (1 + math.exp(-logit)) for logit in np.asarray(logits, float).tolist()]


def assert_same(a: Prediction, b: Prediction):
    """Equal but for the name, up to the rounding of differently batched sums."""
    assert (a.width, a.height) == (b.width, b.height)
    assert [r.label for r in a.regions] == [r.label for r in b.regions]
    assert [r.box for r in a.regions] == [r.box for r in b.regions]
    assert [found.label for found in a.labels] == [found.label for found in b.labels]
    assert list(a.scores) == list(b.scores)
    np.testing.assert_allclose(list(a.scores.values()), list(b.scores.values()), atol=1e-5)
    for map_a, map_b in zip(a.maps, b.maps, strict=True):
        np.testing.assert_allclose(map_a, map_b, atol=1e-4)
    np.testing.assert_array_equal(np.array(a.photograph()), np.array(b.photograph()))


# What may be given


def test_path_pil_array_and_tensor_agree(predictor, photographs):
    path = photographs / "chelsea.png"
    pixels = pixels_of_file(path)
    by_path = predictor.predict(path)
    assert_same(by_path, predictor.predict(str(path)))
    assert_same(by_path, predictor.predict(Image.open(path)))
    assert_same(by_path, predictor.predict(pixels))
    assert_same(by_path, predictor.predict(as_tensor(pixels)))
    assert by_path.image == str(path)
    assert predictor.predict(pixels).image == "image 0"
    np.testing.assert_array_equal(np.array(by_path.photograph()), pixels)


def test_list_tuple_and_generator(predictor):
    arrays = [smooth(40, 60), smooth(60, 40, 1)]
    expected = [predictor.predict(array) for array in arrays]
    for given in (arrays, tuple(arrays), iter(arrays)):
        results = predictor.predict(given)
        assert [result.image for result in results] == ["image 0", "image 1"]
        for result, one in zip(results, expected, strict=True):
            assert_same(result, one)


def test_a_list_of_one_stays_a_list(predictor):
    results = predictor.predict([smooth(40, 60)])
    assert isinstance(results, list)
    assert len(results) == 1


def test_folder_stands_for_its_images(predictor, photographs):
    results = predictor.predict(photographs)
    names = [str(photographs / f"{name}.png") for name in ("astronaut", "chelsea", "coffee")]
    assert [result.image for result in results] == names
    assert [r.image for r in predictor.predict(str(photographs))] == names


def test_folder_with_one_image_gives_a_list(predictor, tmp_path):
    Image.fromarray(smooth(9, 9)).save(tmp_path / "a.png")
    assert len(predictor.predict(tmp_path)) == 1


def test_nothing_gives_nothing(predictor):
    assert predictor.predict([]) == []
    assert list(predictor.stream([])) == []


def test_gray_and_transparent_pil_images(predictor):
    array = smooth(40, 60)
    gray = Image.fromarray(array).convert("L")
    assert_same(predictor.predict(gray), predictor.predict(np.stack([np.array(gray)] * 3, axis=-1)))
    opaque = Image.fromarray(array).convert("RGBA")
    assert_same(predictor.predict(opaque), predictor.predict(array))


def test_arrays_whose_meaning_is_clear(predictor):
    """Gray, with transparency, and floats in [0, 1], as arrays and as tensors."""
    array = smooth(40, 60)
    expected = predictor.predict(array)
    gray = array[..., :1]
    of_gray = predictor.predict(gray.repeat(3, axis=2))
    assert_same(predictor.predict(gray), of_gray)
    assert_same(predictor.predict(gray[..., 0]), of_gray)
    assert_same(predictor.predict(as_tensor(gray)), of_gray)
    for kind in (np.float32, np.float64):
        assert_same(predictor.predict((array / 255).astype(kind)), expected)
    assert_same(predictor.predict(as_tensor(array) / 255), expected)
    alpha = np.full((40, 60, 1), 255, np.uint8)
    alpha[:20] = 0
    transparent = np.concatenate([array, alpha], axis=2)
    over_white = np.where(alpha == 255, array, 255).astype(np.uint8)
    assert_same(predictor.predict(transparent), predictor.predict(over_white))
    assert_same(predictor.predict(as_tensor(transparent)), predictor.predict(over_white))


def test_tensors_with_gradients(predictor):
    tensor = (as_tensor(smooth(40, 60)) / 255).requires_grad_()
    assert_same(predictor.predict(tensor), predictor.predict(smooth(40, 60)))


def test_arrays_in_any_memory_order(predictor):
    array = smooth(40, 60)
    mirrored = predictor.predict(array[:, ::-1])
    assert_same(mirrored, predictor.predict(array[:, ::-1].copy()))
    assert_same(predictor.predict(np.asfortranarray(array)), predictor.predict(array))


def test_read_only_array_gives_no_warning(predictor):
    array = smooth(40, 60)
    array.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert predictor.predict(array).width == 60


# What comes out


def test_fields(predictor, photographs):
    result = predictor.predict(photographs / "coffee.png", threshold=0)
    width, height = Image.open(photographs / "coffee.png").size
    assert (result.width, result.height) == (width, height)
    assert result.photograph().size == (width, height)
    assert result.thresholds == dict.fromkeys(predictor.labels, 0)
    assert tuple(result.scores) == predictor.labels
    assert {found.label for found in result.labels} == set(predictor.labels)
    assert len(result.regions) == 2
    assert result.maps.semantic.shape == result.maps.instance.shape == (2, 2, 3)
    assert result.maps.spatial.shape == (2, 3)


def test_scores_are_sigmoids_of_the_logits(predictor, photographs):
    result = predictor.predict(photographs / "chelsea.png", threshold=0)
    seen = by_hand(predictor, pixels_of_file(photographs / "chelsea.png"))
    branches = map(sigmoid, (seen.mean_logits, seen.global_logits, seen.local_logits))
    by_label = {found.label: found for found in result.labels}
    for label, expected in zip(predictor.labels, zip(*branches, strict=True), strict=True):
        found = by_label[label]
        scores = found.score, found.global_score, found.local_score
        assert scores == pytest.approx(expected, abs=1e-5)
        assert result.scores[label] == found.score


@pytest.mark.parametrize("fusion", ["global", "local", "max"])
def test_score_follows_the_models_fusion(save_tiny_model, tmp_path, fusion):
    result = load(save_tiny_model(tmp_path / "m", fusion=fusion)).predict(smooth(70, 90), 0)
    for found in result.labels:
        both = {"global": found.global_score, "local": found.local_score}
        expected = max(both.values()) if fusion == "max" else both[fusion]
        assert found.score == pytest.approx(expected)
    assert any(found.global_score != found.local_score for found in result.labels)


def test_labels_are_sorted_and_reach_the_threshold(predictor):
    array = smooth(60, 90)
    scores = predictor.predict(array).scores
    assert len(set(scores.values())) == len(scores)
    for threshold in (0.0, *scores.values(), 1.0):
        found = [(label.label, label.score) for label in predictor.predict(array, threshold).labels]
        expected = [item for item in scores.items() if item[1] >= threshold]
        assert found == sorted(expected, key=lambda item: -item[1])


def test_regions_are_the_highest_labels_by_global_score(predictor):
    for seed in range(4):
        result = predictor.predict(smooth(60, 90, seed), threshold=0)
        by_global = sorted(result.labels, key=lambda found: -found.global_score)
        assert {r.label for r in result.regions} == {found.label for found in by_global[:2]}
        assert [r.score for r in result.regions] == [result.scores[r.label] for r in result.regions]
        assert result.regions[0].score >= result.regions[1].score


def test_boxes_are_those_of_the_model_in_original_pixels(predictor):
    array = smooth(70, 131)
    result, seen = predictor.predict(array), by_hand(predictor, array)
    boxes = scale_boxes(seen.boxes, SIZE, (70, 131)).tolist()
    expected = {
        predictor.labels[category]: tuple(box)
        for category, box in zip(seen.categories, boxes, strict=True)
    }
    assert {region.label: region.box for region in result.regions} == expected
    for k, region in enumerate(result.regions):
        category = predictor.labels.index(region.label)
        np.testing.assert_allclose(result.maps.semantic[k], seen.semantic_maps[category])
        np.testing.assert_allclose(result.maps.instance[k], seen.instance_maps[category])
    np.testing.assert_allclose(result.maps.spatial, seen.spatial_map)


@pytest.mark.parametrize("size", [(70, 131), (300, 41), (5, 7), (32, 48)])
def test_local_score_is_that_of_the_pixels_in_the_boxes(predictor, size):
    """End-exclusive and exact: cutting the photograph at the boxes gives the same scores."""
    array = smooth(*size)
    result = predictor.predict(array, threshold=0)
    model, views = predictor.engine.model, []
    tiles = scale_boxes(tile_boxes(model.config.tiles, SIZE), SIZE, size).tolist()
    for box in [*(region.box for region in result.regions), *tiles]:
        x0, y0, x1, y1 = box
        assert all(type(side) is int for side in box)
        assert 0 <= x0 < x1 <= result.width
        assert 0 <= y0 < y1 <= result.height
        crop = Image.fromarray(array[y0:y1, x0:x1].copy())
        size = model.backbone.scaled_size(SIZE, model.config.view_scale)
        views.append(as_input(shrunk(crop, size)))
    with torch.inference_mode():
        local = sigmoid(model.head(model.backbone(torch.cat(views))).logits.amax(0))
    scores = {found.label: found.local_score for found in result.labels}
    assert list(map(scores.get, predictor.labels)) == pytest.approx(local, abs=1e-5)


@pytest.mark.parametrize("settings", [{}, {"view_scale": 0.5, "tiles": 2}])
def test_crop_from_input(save_tiny_model, tmp_path, settings):
    """Views are cut from the resized photograph, with corners aligned, as the authors do it."""
    predictor = load(save_tiny_model(tmp_path / "m", crop_from="input", **settings))
    array = smooth(64, 96)
    result, seen = predictor.predict(array, 0), by_hand(predictor, array)
    assert {region.box for region in result.regions} == {
        tuple(2 * side for side in box) for box in seen.boxes.tolist()
    }
    scores = {found.label: found.local_score for found in result.labels}
    found = list(map(scores.get, predictor.labels))
    assert found == pytest.approx(sigmoid(seen.local_logits), abs=1e-5)


def test_random_strategies_repeat(save_tiny_model, tmp_path):
    predictor = load(
        save_tiny_model(tmp_path / "m", localization="random", selection="random", top_n=3)
    )
    array = smooth(64, 96)
    first = predictor.predict(array)
    torch.rand(7)
    assert_same(first, predictor.predict(array))


def test_to_dict_is_the_line_of_the_contract(predictor, photographs):
    result = predictor.predict(photographs / "coffee.png", threshold=0)
    line = json.loads(json.dumps(result.to_dict()))
    assert line == result.to_dict()
    assert list(line) == ["image", "width", "height", "labels", "regions", "has_views"]
    assert len(line["labels"]) == 5
    for label in line["labels"]:
        names = ["label", "score", "global_score", "local_score", "seen_in", "threshold"]
        assert list(label) == names
    for region, expected in zip(line["regions"], result.regions, strict=True):
        assert list(region) == ["label", "score", "box"]
        assert region["box"] == list(expected.box)
        assert all(type(side) is int for side in region["box"])
    assert Failure("a.jpg", "why").to_dict() == {"image": "a.jpg", "error": "why"}


def test_predictions_of_large_photographs_are_small(predictor, tmp_path):
    """Of a file nothing is kept, and of pixels a copy of at most 1280 by 1280."""
    Image.new("RGB", (3000, 2000), "teal").save(tmp_path / "large.jpg")
    given = [tmp_path / "large.jpg", np.zeros((2000, 3000, 3), np.uint8), smooth(40, 60)]
    sizes = []
    for result in predictor.predict(given):
        sizes.append(len(pickle.dumps(result)))
        assert max(result.photograph().size) <= 1280
    assert sizes[0] < 20_000
    assert 3 * 1280 * 853 <= sizes[1] < 3 * 1280 * 853 + 20_000
    assert sizes[2] < 20_000
    assert (predictor.predict(given[0]).width, predictor.predict(given[0]).height) == (3000, 2000)


def test_a_photograph_that_is_gone_is_told_when_it_is_drawn(predictor, tmp_path, monkeypatch):
    Image.fromarray(smooth(40, 60)).save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    result = predictor.predict("a.png")
    monkeypatch.chdir(tmp_path.parent)
    assert result.photograph().size == (60, 40)
    (tmp_path / "a.png").unlink()
    with pytest.raises(ImageError, match=r"a\.png: there is no such file"):
        result.plot()


@pytest.mark.parametrize("settings", [{}, {"tiles": 2}, {"top_n": 1, "tiles": 2}, {"top_n": 0}])
def test_labels_say_in_what_they_were_seen_best(save_tiny_model, tmp_path, settings):
    predictor = load(save_tiny_model(tmp_path / "m", **settings))
    seen = set()
    for seed in range(3):
        array = smooth(70, 131, seed)
        result, by_views = predictor.predict(array, 0), by_hand(predictor, array)
        num_regions = len(by_views.boxes)
        for label in result.labels:
            category = predictor.labels.index(label.label)
            logits = [by_views.global_logits[category], *by_views.view_logits[:, category]]
            best = max(range(len(logits)), key=lambda view: logits[view])
            expected = "image" if best == 0 else "region" if best <= num_regions else "tile"
            assert label.seen_in == expected
            seen.add(expected)
    assert len(seen) > 1 or settings == {"top_n": 0}


def test_plot(predictor, photographs):
    picture = predictor.predict(photographs / "coffee.png").plot()
    assert isinstance(picture, Image.Image)
    assert picture.mode == "RGB"


# The upright picture


@pytest.mark.parametrize(
    ("orientation", "store"),
    [
        (2, lambda upright: upright[:, ::-1]),
        (3, lambda upright: upright[::-1, ::-1]),
        (4, lambda upright: upright[::-1]),
        (5, lambda upright: upright.transpose(1, 0, 2)),
        (6, lambda upright: np.rot90(upright)),
        (7, lambda upright: upright[::-1, ::-1].transpose(1, 0, 2)),
        (8, lambda upright: np.rot90(upright, -1)),
    ],
)
def test_boxes_refer_to_the_upright_picture(predictor, tmp_path, orientation, store):
    upright = smooth(60, 110)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(store(upright)))
    stored.save(tmp_path / "turned.png", exif=exif)
    turned = predictor.predict(tmp_path / "turned.png")
    assert (turned.width, turned.height) == (110, 60)
    assert_same(turned, predictor.predict(upright))
    assert_same(predictor.predict(Image.open(tmp_path / "turned.png")), turned)


# Batches


def test_mixed_sizes_in_one_batch_equal_one_by_one(predictor):
    sizes = [(60, 90), (90, 60), (33, 200), (1, 1), (32, 48)]
    arrays = [smooth(*size, seed) for seed, size in enumerate(sizes)]
    alone = [predictor.predict(array) for array in arrays]
    for batch_size in (1, 2, 5, 64):
        together = predictor.predict(arrays, batch_size=batch_size)
        for a, b in zip(together, alone, strict=True):
            assert_same(a, b)


def test_stream_goes_on_past_failures_in_order(predictor, photographs, tmp_path):
    (tmp_path / "text.jpg").write_text("not an image")
    given = [
        photographs / "coffee.png",
        tmp_path / "missing.jpg",
        smooth(20, 30),
        tmp_path / "text.jpg",
        np.zeros((4, 4, 5)),
        str(photographs / "chelsea.png"),
    ]
    for batch_size in (1, 2, 8):
        results = list(predictor.stream(given, batch_size=batch_size))
        assert [type(r) for r in results] == [
            Prediction, Failure, Prediction, Failure, Failure, Prediction,
        ]  # fmt: skip
        assert [r.image for r in results] == [
            str(given[0]), str(given[1]), "image 2", str(given[3]), "image 4", str(given[5]),
        ]  # fmt: skip
        assert all(r.image in r.error for r in (results[1], results[3]))


def test_stream_is_lazy(predictor):
    taken = []

    def images():
        for seed in range(5):
            taken.append(seed)
            yield smooth(20, 30, seed)

    next(predictor.stream(images(), batch_size=2))
    assert taken == [0, 1]


def test_predict_raises_what_stream_reports(predictor, photographs, tmp_path):
    with pytest.raises(ImageError, match=r"missing\.jpg: there is no such file"):
        predictor.predict([photographs / "coffee.png", tmp_path / "missing.jpg"])
    with pytest.raises(ImageError, match="no images in this folder"):
        predictor.predict(tmp_path)


# Settings


def test_top_n_for_one_call(predictor):
    array = smooth(60, 90)
    for top_n in (0, 1, 5):
        result = predictor.predict(array, top_n=top_n)
        assert len(result.regions) == top_n
        assert len(result.maps.semantic) == len(result.maps.instance) == top_n
    assert len(predictor.predict(array).regions) == 2
    assert len(predictor.predict(array, top_n=None).regions) == 2


def test_top_n_0_is_the_baseline(predictor):
    result = predictor.predict(smooth(60, 90), threshold=0, top_n=0)
    for found in result.labels:
        assert found.score == found.global_score == found.local_score
    assert result.regions == ()
    assert not result.maps.spatial.any()
    assert result.maps.spatial.shape == (2, 3)
    whole = predictor.predict(smooth(60, 90), threshold=0)
    globally = {found.label: found.global_score for found in whole.labels}
    assert result.scores == pytest.approx(globally, abs=1e-5)


@pytest.mark.parametrize("top_n", [-1, 6])
def test_impossible_top_n_is_refused(predictor, top_n):
    with pytest.raises(ConfigError, match=f"top_n is {top_n}; expected a whole number from 0 to 5"):
        predictor.predict(smooth(20, 30), top_n=top_n)


@pytest.mark.parametrize(
    "threshold",
    [-0.1, 1.1, float("nan"), [0.5], "0.5", np.array([0.1, 0.2])],
)
def test_impossible_threshold_is_refused(predictor, threshold):
    with pytest.raises(ConfigError, match=r"threshold is .*; expected a number in \[0, 1\]"):
        predictor.predict(smooth(20, 30), threshold=threshold)


def test_thresholds_of_numpy_are_numbers(predictor):
    result = predictor.predict(smooth(20, 30), np.float32(0.25))
    assert result.thresholds == dict.fromkeys(predictor.labels, 0.25)


def test_labels_may_have_their_own_thresholds(predictor):
    """What a mapping leaves out keeps the model's, which is 0.5 where it was not tuned."""
    array = smooth(60, 90)
    scores = predictor.predict(array).scores
    own = {"cat": scores["cat"], "person": np.nextafter(scores["person"], 1)}
    result = predictor.predict(array, own)
    assert result.thresholds == {**dict.fromkeys(predictor.labels, 0.5), **own}
    expected = {label for label in scores if scores[label] >= result.thresholds[label]}
    assert {found.label for found in result.labels} == expected
    assert {"cat"} <= expected <= {*predictor.labels} - {"person"}
    assert all(found.threshold == result.thresholds[found.label] for found in result.labels)


@pytest.mark.parametrize(
    ("threshold", "words"),
    [
        ({"unicorn": 0.3}, "'unicorn' is no label of the model"),
        ({"person": 3}, r"threshold of person is 3; expected a number in \[0, 1\]"),
        ({"person": None}, "threshold of person is None"),
    ],
)
def test_impossible_thresholds_of_labels_are_refused(predictor, threshold, words):
    with pytest.raises(ConfigError, match=words):
        predictor.predict(smooth(20, 30), threshold)


@pytest.mark.parametrize(
    "settings", [{"top_n": 1.5}, {"top_n": "2"}, {"batch_size": 2.0}, {"batch_size": "8"}]
)
def test_settings_of_another_type_are_refused(predictor, settings):
    (name,) = settings
    with pytest.raises(ConfigError, match=f"{name} is .*; expected"):
        predictor.predict(smooth(20, 30), **settings)


def test_impossible_batch_size_is_refused(predictor):
    with pytest.raises(ConfigError, match="batch_size is 0"):
        predictor.predict(smooth(20, 30), batch_size=0)


def test_unknown_device_is_refused(model_folder):
    with pytest.raises(ConfigError, match="nonsense"):
        load(model_folder, "nonsense")


def test_no_such_model(tmp_path):
    with pytest.raises(CheckpointError, match="no model 'nowhere'"):
        load("nowhere")
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        load(tmp_path)


# Bad input


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((4, 4, 3), np.int64), ["array (4, 4, 3) of int64", "expected uint8"]),
        (np.full((4, 4, 3), 300.0), ["300"]),
        (np.full((4, 4, 3), -0.5), ["-0.5"]),
        (np.full((4, 4, 3), np.nan), ["not finite"]),
        (np.zeros((3, 40, 50), np.uint8), ["array (3, 40, 50)", "transpose(1, 2, 0)"]),
        (np.zeros((4, 4, 2), np.uint8), ["array (4, 4, 2)", "(H, W, 3)"]),
        (np.zeros((2, 4, 4, 3), np.uint8), ["array (2, 4, 4, 3)", "(H, W, 3)"]),
        (np.zeros((0, 4, 3), np.uint8), ["array (0, 4, 3)", "not empty"]),
        (torch.zeros(40, 50, 3, dtype=torch.uint8), ["tensor (40, 50, 3)", "permute(2, 0, 1)"]),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), ["tensor (2, 3, 4, 4)", "(3, H, W)"]),
        (torch.zeros(3, 0, 4, dtype=torch.uint8), ["tensor (3, 0, 4)", "not empty"]),
        (torch.zeros(3, 4, 4, dtype=torch.int32), ["int32"]),
        (torch.zeros((), dtype=torch.uint8), ["tensor ()"]),
        (None, ["NoneType", "expected a path"]),
        (5, ["int", "expected a path"]),
        (b"bytes", ["bytes", "expected a path"]),
    ],
)  # fmt: skip
def test_what_is_no_image_is_refused_with_what_it_is_and_what_was_expected(predictor, image, words):
    with pytest.raises(ImageError) as caught:
        predictor.predict([image])
    for word in words:
        assert word in str(caught.value)


def test_empty_pil_image_is_refused(predictor):
    with pytest.raises(ImageError):
        predictor.predict(Image.new("RGB", (0, 5)))


def test_truncated_pil_image_does_not_stop_the_stream(predictor, tmp_path):
    Image.fromarray(noise(60, 90)).save(tmp_path / "whole.png")
    path = tmp_path / "truncated.png"
    path.write_bytes((tmp_path / "whole.png").read_bytes()[:3000])
    with Image.open(path) as truncated:
        first, second = predictor.stream([truncated, smooth(20, 30)])
    assert isinstance(first, Failure)
    assert isinstance(second, Prediction)


def test_overlong_name_does_not_stop_the_stream(predictor):
    first, second = predictor.stream(["a" * 300 + ".jpg", smooth(20, 30)])
    assert isinstance(first, Failure)
    assert isinstance(second, Prediction)


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1), (2, 3)])
def test_extreme_sizes(predictor, size):
    result = predictor.predict(noise(*size))
    assert (result.height, result.width) == size
    for region in result.regions:
        x0, y0, x1, y1 = region.box
        assert 0 <= x0 < x1 <= result.width
        assert 0 <= y0 < y1 <= result.height
    if size == (1, 1):
        assert {region.box for region in result.regions} == {(0, 0, 1, 1)}
