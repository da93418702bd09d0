from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import didvit
from did_by_hand import as_input, see, shrunk
from didvit.config import ConfigError
from didvit.config.presets import PRESETS
from didvit.data.datasets import read_dataset
from didvit.data.images import read_image
from didvit.data.table import DataError
from didvit.evaluation.evaluate import evaluate, score, score_images
from didvit.evaluation.report import report
from didvit.evaluation.scores import Scores
from didvit.inference import pipeline
from didvit.inference.predictor import load
from didvit.modeling.checkpoint import load_checkpoint


@pytest.fixture
def table(photographs, tmp_path):
    rows = (f"{photographs}/{name}.png,{label}" for name, label in LABELS.items())
    (tmp_path / "table.csv").write_text("\n".join(("image,labels", *rows)) + "\n")
    return tmp_path / "table.csv"


LABELS = {"astronaut": "person", "chelsea": "cat", "coffee": "cup|spoon"}


def by_hand(model, images, size):
    """Global and local logits of image files, looked at one by one."""
    seen = [see(model, read_image(image), size) for image in images]
    return np.array([[of.global_logits, of.local_logits] for of in seen], float).transpose(1, 0, 2)


def test_a_folder_and_a_path(model_folder, table):
    result = didvit.evaluate(model_folder, table, device="cpu", resamples=50)
    model, labels, config = load_checkpoint(model_folder)
    read = read_dataset(table, labels)
    logits = by_hand(model, read.images, config.image_size)
    assert result == report(Scores(np.arange(3), *logits, read.targets, ()), labels, 50)
    low, high = result.fusions["mean"].mAP_interval
    assert low <= result.fusions["mean"].mAP <= high


def test_a_loaded_model_and_a_table(predictor, model_folder, table):
    read = didvit.read_dataset(table, predictor.labels)
    expected = evaluate(model_folder, table, device="cpu", resamples=0)
    assert evaluate(predictor, read, resamples=0, batch_size=1) == expected
    assert expected.fusions["mean"].mAP_interval is None


@pytest.mark.parametrize("preset", ["didvit", "fast", "paper"])
def test_presets_are_settings_of_the_method(model_folder, table, monkeypatch, preset):
    used = []

    def run(engine, photographs, method, *arguments):
        used.append(method)
        return pipeline.run(engine, photographs, method, *arguments)

    monkeypatch.setattr("didvit.inference.predictor.run", run)
    evaluate(model_folder, table, preset=preset, device="cpu", resamples=0)
    assert used == [PRESETS[preset]]


@pytest.mark.parametrize("setting", [{"device": "cpu"}, {"preset": "paper"}, {"engine": "onnx"}])
def test_settings_of_a_loaded_model_are_refused(predictor, table, setting):
    words = "loaded already; expected preset, device and engine in 'load'"
    with pytest.raises(ConfigError, match=words):
        evaluate(predictor, table, **setting)


@pytest.mark.parametrize("top_n", [0, 2])
@pytest.mark.parametrize(("batch_size", "workers"), [(1, 0), (2, 3), (8, 1)])
def test_scores_are_logits_and_mean_patch_tokens(
    save_tiny_model, table, tmp_path, top_n, batch_size, workers
):
    """Neither batches nor threads change them; an image that cannot be read is left out."""
    folder, done = save_tiny_model(tmp_path / "m", top_n=top_n), []
    (tmp_path / "empty.jpg").touch()
    with table.open("a") as file:
        file.write("empty.jpg,dog\n")
    read = read_dataset(table, load(folder).labels)
    scores = score(load(folder, "cpu"), read, batch_size, workers, done.append)
    model, _, config = load_checkpoint(folder)
    logits = by_hand(model, read.images[:3], config.image_size)
    np.testing.assert_allclose(scores.global_logits, logits[0], atol=1e-4)
    np.testing.assert_allclose(scores.local_logits, logits[1], atol=1e-4)
    assert scores.global_logits.dtype == scores.local_logits.dtype == np.float64
    assert scores.indices.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(scores.targets, read.targets[:3])
    assert ["empty.jpg" in failure for failure in scores.failures] == [True]
    assert sum(done) == 4
    for image, features in zip(read.images[:3], scores.features, strict=True):
        whole = shrunk(Image.fromarray(read_image(image)), config.image_size)
        with torch.inference_mode():
            expected = model.backbone(as_input(whole))[0].mean((1, 2))
        np.testing.assert_allclose(features, expected, atol=1e-4)


def test_images_without_a_table_have_unknown_targets(predictor, photographs):
    images = sorted(photographs.glob("*.png"))
    scores = score_images(predictor, images, batch_size=2)
    assert scores.targets.tolist() == [[-1] * 5] * 3
    model = predictor.engine.model
    expected = by_hand(model, images, predictor.image_size)
    np.testing.assert_allclose(scores.global_logits, expected[0], atol=1e-4)
    assert score_images(predictor, []).global_logits.shape == (0, 5)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_impossible_batch_sizes_are_refused(predictor, table, batch_size):
    with pytest.raises(ConfigError, match=f"batch_size is {batch_size}; expected 1 or more"):
        evaluate(predictor, table, batch_size=batch_size)


def test_random_strategies_repeat(save_tiny_model, table, tmp_path):
    folder = save_tiny_model(tmp_path / "m", selection="random", localization="random")
    predictor = load(folder, "cpu")
    read = read_dataset(table, predictor.labels)
    first, second = score(predictor, read), score(predictor, read)
    np.testing.assert_array_equal(first.local_logits, second.local_logits)


def test_other_labels_are_refused(predictor, table):
    with pytest.raises(DataError, match=r"4 labels that are not the model's 5.*model\.labels"):
        evaluate(predictor, read_dataset(table))


def test_unlabeled_images_are_refused(predictor, tmp_path, photographs):
    path = tmp_path / "t.csv"
    path.write_text(f"image,cat\n{photographs}/chelsea.png,-1\n")
    table = read_dataset(path, predictor.labels)
    unknown = replace(table, image_labels=(frozenset(),), unknown=(frozenset(table.labels),))
    with pytest.raises(DataError, match="the table says of no label whether it is there"):
        evaluate(predictor, unknown)
