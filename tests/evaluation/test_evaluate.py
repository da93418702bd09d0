from dataclasses import replace

import pytest

import didvit
from didvit.config import ConfigError
from didvit.config.presets import PRESETS
from didvit.data.datasets import read_dataset
from didvit.data.table import DataError
from didvit.evaluation.evaluate import evaluate
from didvit.evaluation.report import report, score_table
from didvit.inference.predictor import load


@pytest.fixture
def table(photographs, tmp_path):
    rows = (f"{photographs}/{name}.png,{label}" for name, label in LABELS.items())
    (tmp_path / "table.csv").write_text("\n".join(("image,labels", *rows)) + "\n")
    return tmp_path / "table.csv"


LABELS = {"astronaut": "person", "chelsea": "cat", "coffee": "cup|spoon"}


def test_a_folder_and_a_path(model_folder, table):
    result = didvit.evaluate(model_folder, table, device="cpu", resamples=50)
    predictor = load(model_folder, "cpu")
    read = read_dataset(table, predictor.labels)
    scores = score_table(predictor.model, read, predictor.image_size, predictor.device)
    assert result == report(scores, predictor.labels, 50)
    low, high = result.fusions["mean"].mAP_interval
    assert low <= result.fusions["mean"].mAP <= high


def test_a_loaded_model_and_a_table(predictor, model_folder, table):
    read = didvit.read_dataset(table, predictor.labels)
    expected = evaluate(model_folder, table, device="cpu", resamples=0)
    assert evaluate(predictor, read, resamples=0, batch_size=1) == expected
    assert expected.fusions["mean"].mAP_interval is None


@pytest.mark.parametrize("preset", ["didvit", "paper"])
def test_presets_are_settings_of_the_method(model_folder, table, monkeypatch, preset):
    used = []

    def score(model, *arguments):
        used.append(model.config)
        return score_table(model, *arguments)

    monkeypatch.setattr("didvit.evaluation.evaluate.score_table", score)
    evaluate(model_folder, table, preset=preset, device="cpu", resamples=0)
    assert used == [PRESETS[preset]]


@pytest.mark.parametrize("setting", [{"device": "cpu"}, {"preset": "paper"}])
def test_settings_of_a_loaded_model_are_refused(predictor, table, setting):
    with pytest.raises(ConfigError, match="loaded already; expected preset and device in 'load'"):
        evaluate(predictor, table, **setting)


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
