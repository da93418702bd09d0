import json

import numpy as np
import pytest

from didvit.config import ConfigError
from didvit.decisions.aims import parse_aim
from didvit.decisions.calibration import sigmoid
from didvit.decisions.store import (
    FILE,
    DecisionsError,
    copy_decisions,
    data_digest,
    decide,
    read_decisions,
    remove_decisions,
    weights_digest,
    with_older_aims,
    write_decisions,
)

LABELS = ("cat", "dog", 'a "b" <c>')


def scores(count=300, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1, 2, (count, len(LABELS)))
    return logits, (rng.random(logits.shape) < sigmoid(0.7 * logits)).astype(np.int64)


def decided(*aims, weights="w", digest="d", **changes):
    arguments = {"fusion": "mean", "weights": weights, "data": "val.csv", "digest": digest}
    logits, targets = scores()
    local = changes.pop("local", logits)
    wanted = [parse_aim(aim) for aim in aims]
    return decide(logits, local, targets, LABELS, wanted, **{**arguments, **changes})


def test_what_is_written_is_read(tmp_path):
    written = decided("precision=0.8", "f1")
    write_decisions(tmp_path, written)
    read = read_decisions(tmp_path, LABELS, "w")
    logits, _ = scores(seed=1)
    np.testing.assert_array_equal(read.probabilities(logits), written.probabilities(logits))
    assert read.default_aim == "precision=0.8"
    assert list(read.aims) == ["precision=0.8", "f1"]
    for aim in read.aims:
        np.testing.assert_array_equal(read.thresholds(aim), written.thresholds(aim))
    for name in ("fusion", "data", "data_digest", "num_images", "date", "forced", "weights"):
        assert getattr(read, name) == getattr(written, name)


def test_curves_are_read_again(tmp_path):
    rng = np.random.default_rng(0)
    logits = rng.uniform(-4, 4, (4000, 1))
    targets = (rng.random(logits.shape) < np.where(logits < 0, 0.1, 0.6)).astype(np.int64)
    names = {"fusion": "mean", "weights": "w", "data": "v", "digest": "d"}
    written = decide(logits, logits, targets, ("a",), [parse_aim("f1")], **names)
    assert written.calibration.curves
    write_decisions(tmp_path, written)
    read = read_decisions(tmp_path, ("a",), "w")
    np.testing.assert_array_equal(read.probabilities(logits), written.probabilities(logits))


def test_no_file_is_no_decisions(tmp_path):
    assert read_decisions(tmp_path, LABELS, "w") is None
    assert not remove_decisions(tmp_path)


def test_removed(tmp_path):
    write_decisions(tmp_path, decided("f1"))
    assert remove_decisions(tmp_path)
    assert read_decisions(tmp_path, LABELS, "w") is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: c.update(format=0), "has format 0"),
        (lambda c: c.pop("aims"), "damaged"),
        (lambda c: c.update(aims={}), "damaged"),
        (lambda c: c["calibration"]["cat"].update(slope=-1), "damaged"),
        (lambda c: c["calibration"]["cat"].update(offset=float("nan")), "damaged"),
        (lambda c: c["aims"]["f1"]["cat"].update(threshold=2), "damaged"),
        (lambda c: c["aims"]["f1"].pop("cat"), "damaged"),
        (lambda c: c["aims"].update(nonsense={}), "damaged"),
        (lambda c: c["views"].pop("slope"), "damaged"),
        (lambda c: c["views"].update(offset=float("inf")), "damaged"),
        (lambda c: c["views"]["uncertainties"].pop(), "damaged"),
        (lambda c: c["views"]["uncertainties"].reverse(), "damaged"),
        (lambda c: c["views"].update(uncertainties=[float("nan")] * 101), "damaged"),
    ],
)
def test_damaged_files_are_refused_by_name(tmp_path, change, reason):
    write_decisions(tmp_path, decided("f1", local=scores(seed=1)[0]))
    content = json.loads((tmp_path / FILE).read_text())
    change(content)
    (tmp_path / FILE).write_text(json.dumps(content))
    with pytest.raises(DecisionsError, match=reason) as caught:
        read_decisions(tmp_path, LABELS, "w")
    assert str(tmp_path / FILE) in str(caught.value)
    assert "didvit tune" in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 10_000])
def test_what_is_no_json_is_refused(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(DecisionsError, match="damaged"):
        read_decisions(tmp_path, LABELS, "w")


def test_other_weights_are_refused_with_both_digests(tmp_path):
    write_decisions(tmp_path, decided("f1", weights="a" * 64))
    with pytest.raises(DecisionsError, match=r"digest a{12}\).*\(b{12}\)"):
        read_decisions(tmp_path, LABELS, "b" * 64)


def test_other_labels_are_refused(tmp_path):
    write_decisions(tmp_path, decided("f1"))
    with pytest.raises(DecisionsError, match="other labels"):
        read_decisions(tmp_path, LABELS[::-1], "w")


def test_an_aim_that_is_not_stored():
    with pytest.raises(ConfigError, match=r"no thresholds for recall=0\.9, but for f1; make them"):
        decided("f1").thresholds("recall=0.9")


def test_aims_of_the_same_data_are_kept():
    old, new = decided("f1", "count"), decided("precision=0.9", "f1")
    assert list(with_older_aims(new, old).aims) == ["precision=0.9", "f1", "count"]
    assert with_older_aims(new, None) is new
    for change in ({"digest": "other"}, {"weights": "other"}):
        assert with_older_aims(new, decided("count", **change)) is new


def test_nothing_to_tune_on():
    logits, targets = scores()
    with pytest.raises(ConfigError, match="no label has both"):
        decide(
            logits,
            logits,
            np.ones_like(targets),
            LABELS,
            [parse_aim("f1")],
            fusion="mean",
            weights="w",
            data="val.csv",
            digest="d",
        )


def test_digest_of_data_knows_images_and_labels_whatever_their_order_and_folder():
    targets = np.array([[1, 0], [0, 1], [-1, 0]])
    digest = data_digest(["a/x.jpg", "a/y.jpg", "b/z.jpg"], targets)
    assert data_digest(["q/z.jpg", "q/x.jpg", "y.jpg"], targets[[2, 0, 1]]) == digest
    assert data_digest(["a/x.jpg", "a/y.jpg", "b/w.jpg"], targets) != digest
    changed = targets.copy()
    changed[0, 0] = 0
    assert data_digest(["a/x.jpg", "a/y.jpg", "b/z.jpg"], changed) != digest


def test_a_rounded_copy_keeps_the_decisions(tmp_path):
    for name, content in (("one", b"weights"), ("other", b"rounded")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "m.bin").write_bytes(content)
    one, other = tmp_path / "one", tmp_path / "other"
    assert not copy_decisions(one, other, LABELS, "m.bin")
    decisions = decided("f1", weights=weights_digest(one / "m.bin"))
    write_decisions(one, decisions)
    assert copy_decisions(one, other, LABELS, "m.bin")
    read = read_decisions(other, LABELS, weights_digest(other / "m.bin"))
    np.testing.assert_array_equal(read.thresholds(), decisions.thresholds())


def test_views_are_learned_where_the_model_takes_them_and_read_again(tmp_path):
    assert decided("f1").views is None
    written = decided("f1", local=scores(seed=1)[0])
    write_decisions(tmp_path, written)
    read = read_decisions(tmp_path, LABELS, "w")
    assert (read.views.slope, read.views.offset) == (written.views.slope, written.views.offset)
    np.testing.assert_array_equal(read.views.uncertainties, written.views.uncertainties)


def test_a_budget_of_passes():
    decisions = decided("f1", local=scores(seed=1)[0])
    assert decisions.view_budget(3, 3.0) is None
    assert decisions.view_budget(1, 3.0).least_uncertainty == np.inf
    median = decisions.views.uncertainties[50]
    assert decisions.view_budget(2, 3.0).least_uncertainty == pytest.approx(median)
    for passes in (0.99, 3.01, float("nan"), "2", None):
        with pytest.raises(ConfigError, match=r"expected a number from 1 .* to 3 \(all views\)"):
            decisions.view_budget(passes, 3.0)
    for model, most in ((decided("f1"), 3.0), (decisions, 1.0)):
        with pytest.raises(ConfigError, match="passes is 1, and the model takes no views, or was"):
            model.view_budget(1, most)


def test_decisions_of_before_there_was_a_choice_of_views(tmp_path):
    write_decisions(tmp_path, decided("f1", local=scores(seed=1)[0]))
    content = json.loads((tmp_path / FILE).read_text())
    del content["views"]
    (tmp_path / FILE).write_text(json.dumps(content))
    read = read_decisions(tmp_path, LABELS, "w")
    assert read.views is None
    with pytest.raises(ConfigError, match="tune it again"):
        read.view_budget(2, 3.0)
