"""`didvit tune`, and what the other commands make of it."""

import json

import numpy as np
import pytest

from didvit.cli.evaluate import evaluate
from didvit.cli.options import parse_thresholds
from didvit.cli.predict import predict
from didvit.cli.tune import tune
from didvit.config import ConfigError
from didvit.data.datasets import read_dataset
from didvit.data.table import DataError
from didvit.decisions.store import (
    FILE,
    LEARNED_FROM,
    DecisionsError,
    data_digest,
    read_decisions,
    weights_digest,
)
from didvit.inference.predictor import load

LABELS = ("cat", "cup", "dog", "person", "spoon")


@pytest.fixture
def folder(tmp_path, save_tiny_model):
    return save_tiny_model(tmp_path / "m")


@pytest.fixture
def data(tmp_path, photographs):
    """Three photographs, four times each under other names, with labels at random."""
    rng = np.random.default_rng(0)
    rows = ["image,labels"]
    for i in range(4):
        for path in sorted(photographs.iterdir()):
            copy = tmp_path / f"{i}-{path.name}"
            copy.write_bytes(path.read_bytes())
            rows.append(f"{copy.name},{'|'.join(rng.choice(LABELS, 2, replace=False))}")
    (tmp_path / "val.csv").write_text("\n".join(rows))
    return tmp_path / "val.csv"


def decisions_of(folder):
    return read_decisions(folder, LABELS, weights_digest(folder / "model.safetensors"))


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_tuned_thresholds_are_used(folder, data, photographs, capsys):
    assert tune(str(folder), data=str(data), aims=("f1", "precision=0.5"), threads=1) == 0
    printed = capsys.readouterr()
    assert "thresholds for f1" in printed.out
    assert "12 images" in printed.err
    decisions = decisions_of(folder)
    assert list(decisions.aims) == ["f1", "precision=0.5"]
    table = read_dataset(str(data), LABELS)
    assert decisions.data_digest == data_digest(table.images, table.targets)
    for aim in (None, "precision=0.5"):
        predict((str(photographs),), model=str(folder), aim=aim, threads=1)
        expected = dict(zip(LABELS, decisions.thresholds(aim), strict=True))
        plain = load(folder, "cpu", decide=False)
        for line in lines(capsys):
            logits = np.log(list(plain.predict(line["image"]).scores.values()))
            assert len(logits) == 5
            for label in line["labels"]:
                assert label["threshold"] == pytest.approx(expected[label["label"]])
                assert label["score"] >= label["threshold"]


def test_scores_are_calibrated_probabilities_of_the_fused_logit(folder, data, photographs):
    tune(str(folder), data=str(data), threads=1)
    decisions = decisions_of(folder)
    path = min(photographs.iterdir())
    before = load(folder, "cpu", decide=False).predict(path).scores
    after = load(folder, "cpu").predict(path).scores
    p = np.array(list(before.values()))
    expected = decisions.probabilities(np.log(p / (1 - p))[None])[0]
    np.testing.assert_allclose(list(after.values()), expected, atol=1e-5)


def test_thresholds_of_the_user_go_before(folder, data, photographs, capsys):
    tune(str(folder), data=str(data), threads=1)
    capsys.readouterr()
    arguments = {"model": str(folder), "threads": 1}
    predict((str(photographs),), threshold=("0",), **arguments)
    assert all(len(line["labels"]) == 5 for line in lines(capsys))
    predict((str(photographs),), threshold=("cat=0", "dog=1"), **arguments)
    for line in lines(capsys):
        found = {label["label"]: label["threshold"] for label in line["labels"]}
        assert found["cat"] == 0
        assert "dog" not in found
    with pytest.raises(ConfigError, match="'bird' is no label of the model"):
        predict((str(photographs),), threshold=("bird=0.5",), **arguments)
    with pytest.raises(ConfigError, match=r"no thresholds for recall=0\.9, but for f1"):
        predict((str(photographs),), aim="recall=0.9", **arguments)


def test_another_preset_has_sigmoids_and_even_odds(folder, data, photographs, capsys):
    tune(str(folder), data=str(data), threads=1)
    path = str(min(photographs.iterdir()))
    fast = load(folder, "cpu", "fast")
    assert fast.decisions is None
    assert set(fast.predict(path).thresholds.values()) == {0.5}
    assert set(load(folder, "cpu").predict(path, top_n=1).thresholds.values()) == {0.5}
    with pytest.raises(ConfigError, match="there are no thresholds for f1"):
        predict((path,), model=str(folder), preset="fast", aim="f1", threads=1)


def test_evaluation_tells_both_and_knows_the_tuning_data(folder, data, tmp_path, capsys):
    tune(str(folder), data=str(data), threads=1)
    capsys.readouterr()
    arguments = {"model": str(folder), "resamples": 10, "threads": 1}
    evaluate(data=str(data), json=tmp_path / "out.json", **arguments)
    printed = capsys.readouterr()
    assert "tuned, f1" in printed.out
    assert "tuned on these very data" in printed.err
    found = json.loads((tmp_path / "out.json").read_text())["decisions"]
    assert found["tuned_here"] is True
    assert found["aim"] == "f1"
    low, high = found["calibration_error"]["interval"]
    assert 0 <= low <= high <= 1
    other = tmp_path / "other.csv"
    other.write_text("\n".join(data.read_text().splitlines()[:8]))
    evaluate(data=str(other), **arguments)
    assert "tuned on these very data" not in capsys.readouterr().err


def test_aims_are_added_on_the_same_data_and_replaced_on_others(folder, data, tmp_path):
    tune(str(folder), data=str(data), aims=("f1",), threads=1)
    tune(str(folder), data=str(data), aims=("count",), threads=1)
    assert list(decisions_of(folder).aims) == ["count", "f1"]
    other = tmp_path / "other.csv"
    other.write_text("\n".join(data.read_text().splitlines()[:8]))
    tune(str(folder), data=str(other), aims=("recall=0.5",), threads=1)
    assert list(decisions_of(folder).aims) == ["recall=0.5"]


def test_reset(folder, data, capsys):
    tune(str(folder), data=str(data), threads=1)
    assert tune(str(folder), reset=True) == 0
    assert not (folder / FILE).exists()
    tune(str(folder), reset=True)
    assert "it had no decisions" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="expected neither --data nor --output"):
        tune(str(folder), data=str(data), reset=True)


def test_data_that_the_model_learned_from_are_refused_unless_forced(folder, data):
    table = read_dataset(str(data), LABELS)
    content = {LEARNED_FROM: data_digest(table.images, table.targets)}
    (folder / "train.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="the model learned from these images"):
        tune(str(folder), data=str(data), threads=1)
    assert not (folder / FILE).exists()
    tune(str(folder), data=str(data), force=True, threads=1)
    assert decisions_of(folder).forced


def test_a_packaged_model_is_copied_not_changed(data, tmp_path, photographs):
    with pytest.raises(ConfigError, match=r"comes with didvit, and is not changed.*--output DIR"):
        tune("default", data=str(data), threads=1)
    with pytest.raises(ConfigError, match="comes with didvit, and keeps its decisions"):
        tune("default", reset=True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(ConfigError, match="is not empty"):
        tune("default", data=str(data), output=tmp_path / "full", threads=1)


def test_a_copy_has_the_decisions_and_the_model_has_none(folder, data, tmp_path):
    tune(str(folder), data=str(data), output=tmp_path / "copy", threads=1)
    assert not (folder / FILE).exists()
    assert load(tmp_path / "copy", "cpu").decisions is not None


def test_decisions_of_other_weights_are_refused_and_can_be_made_anew(folder, data, capsys):
    tune(str(folder), data=str(data), threads=1)
    content = json.loads((folder / FILE).read_text())
    (folder / FILE).write_text(json.dumps({**content, "weights": "0" * 64}))
    with pytest.raises(DecisionsError, match="tuned with other weights"):
        load(folder, "cpu")
    tune(str(folder), data=str(data), threads=1)
    assert "replaced:" in capsys.readouterr().err
    assert load(folder, "cpu").decisions is not None


@pytest.mark.parametrize(
    ("options", "error", "reason"),
    [
        ({}, ConfigError, "--data is missing"),
        ({"aims": ("accuracy",)}, ConfigError, "the aim is 'accuracy'"),
        ({"aims": ()}, ConfigError, "--for is empty"),
        ({"data": "nowhere.csv"}, ConfigError, "no such file"),
    ],
)
def test_wrong_usage(folder, data, options, error, reason):
    given = {"data": str(data)} if "aims" in options else {}
    with pytest.raises(error, match=reason):
        tune(str(folder), **{**given, **options}, threads=1)


def test_data_with_other_labels(folder, tmp_path, data):
    (tmp_path / "birds.csv").write_text(data.read_text().replace("cat", "bird"))
    with pytest.raises(DataError, match="bird"):
        tune(str(folder), data=str(tmp_path / "birds.csv"), threads=1)


def test_unreadable_images_are_left_out(folder, data, tmp_path, capsys):
    (tmp_path / "broken.jpg").write_text("no image")
    data.write_text(data.read_text() + "\nbroken.jpg,cat")
    assert tune(str(folder), data=str(data), threads=1) == 3
    assert "broken.jpg" in capsys.readouterr().err
    assert decisions_of(folder).num_images == 12


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], None),
        (["0.3"], 0.3),
        (["cat=0.3", "traffic light=1"], {"cat": 0.3, "traffic light": 1}),
        (["a=b=0.5"], {"a=b": 0.5}),
    ],
)
def test_thresholds_as_they_are_written(texts, expected):
    assert parse_thresholds("--threshold", texts) == expected


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        (["high"], "expected X or LABEL=X"),
        (["cat="], "expected X or LABEL=X"),
        (["50"], r"50 % is 0\.5"),
        (["cat=-1"], r"expected a probability"),
        (["0.3", "cat=0.2"], "for all labels, and others"),
    ],
)
def test_thresholds_that_are_none(texts, reason):
    with pytest.raises(ConfigError, match=reason):
        parse_thresholds("--threshold", texts)


def test_a_number_of_passes(folder, data, photographs, capsys, tmp_path):
    tune(str(folder), data=str(data), threads=1)
    model = load(folder, "cpu")
    images = sorted(photographs.iterdir())
    whole = model.predict(images)
    least = model.predict(images, passes=1)
    assert not any(prediction.has_views for prediction in least)
    assert all(prediction.has_views for prediction in whole)
    for one, other in zip(least, whole, strict=True):
        assert [region.box for region in one.regions] != []
        assert {label.seen_in for label in one.labels} <= {"image"}
        assert sorted(r.box for r in one.regions) == sorted(r.box for r in other.regions)
    same = model.predict(images, passes=2.5)
    assert [prediction.scores for prediction in same] == [p.scores for p in whole]

    capsys.readouterr()
    assert predict((str(photographs),), model=str(folder), passes=2, threads=1) == 0
    chosen = [p.has_views for p in model.predict(images, passes=2)]
    assert f"{sum(chosen)} with views" in capsys.readouterr().err
    output = tmp_path / "metrics.json"
    evaluate(data=str(data), model=str(folder), passes=1, json=output, threads=1)
    assert json.loads(output.read_text())["forward_passes"] == 1
    assert "1 forward pass per image" in capsys.readouterr().err.replace("\n", " ")
    evaluate(data=str(data), model=str(folder), json=output, overwrite=True, threads=1)
    assert json.loads(output.read_text())["forward_passes"] == 2.5


@pytest.mark.parametrize("settings", [{"top_n": 1}, {"top_n": 0}])
def test_passes_of_other_settings_than_the_models_are_refused(folder, data, photographs, settings):
    tune(str(folder), data=str(data), threads=1)
    with pytest.raises(
        ConfigError, match=r"passes is 2, and the model is not tuned, or not with this preset"
    ):
        load(folder, "cpu").predict(min(photographs.iterdir()), passes=2, **settings)


def test_passes_of_a_model_that_is_not_tuned_are_refused(folder, data):
    with pytest.raises(ConfigError, match=r"passes is 2, and the model is not tuned.*didvit tune"):
        evaluate(data=str(data), model=str(folder), passes=2, threads=1)
