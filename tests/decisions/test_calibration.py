import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from didvit.decisions.calibration import (
    MANY,
    Calibration,
    _fit,
    fit_calibration,
    identity,
    log_loss,
    sigmoid,
)
from didvit.decisions.isotonic import isotonic
from didvit.evaluation.metrics import average_precisions


def drawn(count, slopes, offsets, seed=0):
    """Logits, and targets that have the labels' true probabilities."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1, 3, (count, len(slopes)))
    p = sigmoid(np.array(slopes) * logits + np.array(offsets))
    return logits, (rng.random(p.shape) < p).astype(np.int64), p


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(0, 1)), min_size=1, max_size=40))
@settings(max_examples=100, deadline=None)
def test_isotonic_equals_scikit_learn(pairs):
    x, y = np.array(pairs, float).T
    knots, values = isotonic(x, y)
    expected = IsotonicRegression(out_of_bounds="clip").fit(x, y)
    blocks = np.unique(expected.predict(x).round(9))  # ours is straight between their centers
    np.testing.assert_allclose(values, blocks, atol=1e-8)
    assert (np.diff(values) > 0).all()
    assert (np.diff(knots) > 0).all()


def test_isotonic_literal():
    knots, values = isotonic(np.array([0.0, 1, 2, 3]), np.array([0.0, 1, 0, 1]))
    assert knots.tolist() == [0, 1.5, 3]
    assert values.tolist() == [0, 0.5, 1]


def test_a_fit_without_a_pull_is_logistic_regression():
    logits, targets, _ = drawn(500, [0.7], [-0.4])
    slope, offset = _fit(logits[:, 0], targets[:, 0].astype(float), (1.0, 0.0), 0.0)
    expected = LogisticRegression(C=1e6).fit(logits, targets[:, 0])
    assert slope == pytest.approx(expected.coef_[0, 0], rel=1e-3)
    assert offset == pytest.approx(expected.intercept_[0], abs=1e-3)


def test_a_strong_pull_gives_what_it_pulls_towards():
    logits, targets, _ = drawn(200, [2.0], [1.0])
    fitted = _fit(logits[:, 0], targets[:, 0].astype(float), (0.5, -0.5), 1e9)
    assert fitted == pytest.approx((0.5, -0.5), abs=1e-4)


def test_true_probabilities_are_found():
    logits, targets, p = drawn(6000, [0.5, 1.5, 1.0], [-1.0, 0.5, 0.0])
    calibration = fit_calibration(logits, targets)
    assert np.abs(calibration.probabilities(logits) - p).mean() < 0.03
    assert log_loss(calibration.probabilities(logits), targets) < log_loss(sigmoid(logits), targets)


def test_a_rare_label_borrows_from_all():
    """Its own two positives would say nearly anything; all labels share one slope."""
    logits, targets, _ = drawn(2000, [0.5] * 8, [-1.0] * 8)
    rare = np.flatnonzero(targets[:, 0])[2:]
    targets[rare, 0] = -1
    slopes = fit_calibration(logits, targets).slopes
    assert slopes[0] == pytest.approx(slopes[1:].mean(), abs=0.4)


@pytest.mark.parametrize("curved", [False, True])
def test_no_order_and_no_ap_changes(curved):
    logits, targets, _ = drawn(800, [0.6, 1.3], [-0.5, 0.5])
    calibration = fit_calibration(logits, targets)
    if curved:
        curve = np.array([-2.0, 0.0, 1.0]), np.array([0.1, 0.4, 0.9])
        calibration = Calibration(calibration.slopes, calibration.offsets, {0: curve}, {})
    probabilities = calibration.probabilities(logits)
    for c in range(2):
        order = np.argsort(logits[:, c])
        assert (np.diff(probabilities[order, c]) > 0).all()
    np.testing.assert_array_equal(
        average_precisions(probabilities, targets), average_precisions(logits, targets)
    )


def test_a_label_whose_scores_are_no_sigmoid_gets_a_curve():
    rng = np.random.default_rng(0)
    logits = rng.uniform(-4, 4, (4000, 1))
    p = np.where(logits < 0, 0.1, 0.6)  # a step
    targets = (rng.random(p.shape) < p).astype(np.int64)
    calibration = fit_calibration(logits, targets)
    assert targets.sum() >= MANY
    assert list(calibration.curves) == [0]
    assert np.abs(calibration.probabilities(logits) - p).mean() < 0.06


def test_unknown_labels_are_left_out():
    logits, targets, _ = drawn(600, [1.0, 0.8], [0.0, -0.3])
    hidden = targets.copy()
    hidden[::2] = -1
    other = logits.copy()
    other[::2] = 50.0
    one, same = (fit_calibration(values, hidden) for values in (logits, other))
    np.testing.assert_allclose(one.slopes, same.slopes)
    np.testing.assert_allclose(one.offsets, same.offsets)


@pytest.mark.parametrize(
    ("column", "score", "note"),
    [
        (0, None, "no image is known to have it"),
        (1, None, "no image is known to lack it"),
        (None, 0.3, "all scores are equal"),
    ],
)
def test_labels_that_say_nothing_have_the_sigmoid_of_all(column, score, note):
    logits, targets, _ = drawn(300, [1.0, 1.0, 0.5], [0.0, 0.2, 0.0])
    if column is not None:
        targets[:, 2] = column
    if score is not None:
        logits[:, 2] = score
    calibration = fit_calibration(logits, targets)
    assert calibration.notes == {2: note}
    assert np.isfinite(calibration.probabilities(logits)).all()


def test_without_a_calibration_probabilities_are_sigmoids():
    logits = np.array([[0.0, 800.0, -800.0]])
    assert identity(3).probabilities(logits).tolist() == [[0.5, 1.0, 0.0]]
