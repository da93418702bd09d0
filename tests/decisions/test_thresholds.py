import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from didvit.config import ConfigError
from didvit.decisions import thresholds as module
from didvit.decisions.aims import Aim, parse_aim
from didvit.decisions.thresholds import fit_thresholds, wilson


def scores(count=4000, labels=3, seed=0, rate=-2.0):
    """Probabilities that are true."""
    rng = np.random.default_rng(seed)
    p = 1 / (1 + np.exp(-rng.normal(rate, 2.5, (count, labels))))
    return p, (rng.random(p.shape) < p).astype(np.int64)


def slow_f1(p, y):
    """The best F1 over all thresholds, one by one."""
    best = 0.0
    for threshold in set(p.tolist()):
        chosen = p >= threshold
        both = (y[chosen] == 1).sum()
        best = max(best, 2 * both / (chosen.sum() + (y == 1).sum()))
    return best


def f1(p, y, threshold):
    chosen = p >= threshold
    return 2 * y[chosen].sum() / (chosen.sum() + y.sum())


def test_f1_is_the_best_of_all_candidates(monkeypatch):
    monkeypatch.setattr(module, "PULL", 0.0)
    p, y = scores(300)
    for c, label in enumerate(fit_thresholds(p, y, Aim("f1"))):
        assert f1(p[:, c], y[:, c], label.threshold) == pytest.approx(slow_f1(p[:, c], y[:, c]))


def test_f1_of_a_rare_label_is_near_the_threshold_of_all():
    p, y = scores(2000, 4)
    rare = np.flatnonzero(y[:, 0])[1:]
    y[rare, 0] = 0
    alone, *others = fit_thresholds(p, y, Aim("f1"))
    assert alone.positives == 1
    assert alone.note == "few positives"
    assert alone.threshold == pytest.approx(np.mean([o.threshold for o in others]), abs=0.1)


@pytest.mark.parametrize("kind", ["precision", "recall"])
@pytest.mark.parametrize("value", [0.7, 0.9])
def test_a_floor_is_kept_on_other_images(kind, value):
    p, y = scores(4000, 5, seed=1)
    labels = fit_thresholds(p, y, Aim(kind, value))
    other, truth = scores(4000, 5, seed=2)
    chosen = other >= [label.threshold for label in labels]
    correct = (chosen & (truth == 1)).sum()
    assert correct / (chosen.sum() if kind == "precision" else truth.sum()) >= value - 0.02
    assert all(label.note == "" for label in labels)


def test_no_label_is_named_that_is_more_likely_absent():
    p, y = np.full((50, 1), 0.3), np.ones((50, 1), np.int64)
    p[0], y[1:5] = 0.9, 0
    (label,) = fit_thresholds(p, y, Aim("precision", 0.5))
    assert label.threshold >= 0.5


def test_a_floor_out_of_reach_keeps_the_nearest_and_says_so():
    rng = np.random.default_rng(0)
    p, y = rng.uniform(0.1, 0.3, (500, 1)), np.zeros((500, 1), np.int64)
    y[::5] = 1
    (label,) = fit_thresholds(p, y, Aim("precision", 0.95))
    assert label.note == "precision=0.95 cannot be reached; the nearest is kept"


def test_count_predicts_as_many_as_there_are(monkeypatch):
    monkeypatch.setattr(module, "PULL", 0.0)
    p, y = scores(1000, 3)
    labels = fit_thresholds(p, y, Aim("count"))
    for c, label in enumerate(labels):
        assert (p[:, c] >= label.threshold).sum() == y[:, c].sum()


def test_facts_are_counted():
    p = np.array([[0.9], [0.8], [0.7], [0.2], [0.1]])
    y = np.array([[1], [1], [0], [1], [-1]])
    (label,) = fit_thresholds(p, y, Aim("count"))
    assert label.positives == 3
    chosen = p[:4, 0] >= label.threshold
    assert label.precision == pytest.approx(y[:4, 0][chosen].mean())
    assert label.recall == pytest.approx(y[:4, 0][chosen].sum() / 3)
    assert label.recall_interval[0] < label.recall < label.recall_interval[1]


@pytest.mark.parametrize(("value", "note"), [(0, "to have it"), (1, "to lack it")])
@pytest.mark.parametrize("aim", ["f1", "precision=0.9", "recall=0.9", "count"])
def test_labels_without_two_kinds_have_the_threshold_of_all(value, note, aim):
    p, y = scores(500, 3)
    y[:, 1] = value
    labels = fit_thresholds(p, y, parse_aim(aim))
    assert note in labels[1].note
    assert 0 < labels[1].threshold < 1
    assert labels[1].recall is None if value == 0 else labels[1].recall is not None


def test_equal_scores_are_accepted_together():
    p, y = np.full((20, 2), 0.4), np.zeros((20, 2), np.int64)
    y[:10, 0] = y[0, 1] = 1
    for label in fit_thresholds(p, y, Aim("f1")):
        assert label.threshold <= 0.4
        assert label.recall == 1


@given(st.integers(0, 50), st.integers(0, 50))
@settings(max_examples=50, deadline=None)
def test_wilson_solves_its_equation(successes, failures):
    """Both ends are where the normal test of a proportion is just not refused."""
    count = successes + failures
    low, high = wilson(float(successes), float(count), 1.96)
    assert 0 <= low <= high <= 1
    for end in (low, high):
        if count and 0 < end < 1:
            distance = abs(successes / count - end)
            assert distance == pytest.approx(
                1.96 * np.sqrt(end * (1 - end) / count), rel=1e-6, abs=1e-7
            )


@pytest.mark.parametrize(
    "text", ["f1", "count", "precision=0.9", "recall=0.25", "precision=0.9999999"]
)
def test_aims_are_read_as_they_are_written(text):
    assert str(parse_aim(text)) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("precision", "expected f1, count"),
        ("f1=0.5", "expected f1, count"),
        ("accuracy", "expected f1, count"),
        ("precision=90", "90 % is 0.9"),
        ("recall=1", "between 0 and 1"),
        ("recall=high", "between 0 and 1"),
        ("", "expected f1, count"),
    ],
)
def test_what_is_no_aim_is_refused(text, reason):
    with pytest.raises(ConfigError, match=reason):
        parse_aim(text)
