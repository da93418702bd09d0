import numpy as np
import pytest
from sklearn.metrics import brier_score_loss

from didvit.evaluation.calibration import brier_score, calibration_error, pooled_calibration_error


def slow_error(p, y, bins):
    pairs = sorted(zip(p, y, strict=True), key=lambda pair: pair[0])
    size, rest = divmod(len(pairs), min(bins, len(pairs)))
    error, start = 0.0, 0
    for i in range(min(bins, len(pairs))):
        part = pairs[start : start + size + (i < rest)]
        start += len(part)
        mean_p = sum(pair[0] for pair in part) / len(part)
        mean_y = sum(pair[1] for pair in part) / len(part)
        error += len(part) / len(pairs) * abs(mean_p - mean_y)
    return error


@pytest.mark.parametrize("count", [1, 7, 15, 100, 501])
def test_equals_the_loop(count):
    rng = np.random.default_rng(count)
    p, y = rng.random((count, 3)), rng.integers(0, 2, (count, 3))
    expected = [slow_error(p[:, c].tolist(), y[:, c].tolist(), 15) for c in range(3)]
    np.testing.assert_allclose(calibration_error(p, y), expected)
    pooled = slow_error(p.ravel().tolist(), y.ravel().tolist(), 15)
    assert pooled_calibration_error(p, y) == pytest.approx(pooled)
    expected = [brier_score_loss(y[:, c], p[:, c]) for c in range(3)]
    np.testing.assert_allclose(brier_score(p, y), expected)


def test_unknown_labels_are_left_out():
    p, y = np.array([[0.2, 0.9], [0.7, 0.4]]), np.array([[0, -1], [1, -1]])
    errors, scores = calibration_error(p, y), brier_score(p, y)
    assert errors[0] == pytest.approx((0.2 + 0.3) / 2)
    assert scores[0] == pytest.approx((0.04 + 0.09) / 2)
    assert np.isnan(errors[1])
    assert np.isnan(scores[1])
    assert np.isnan(pooled_calibration_error(p[:, 1:], y[:, 1:]))


def test_perfect_probabilities_have_no_error():
    y = np.array([[0], [1]] * 50)
    assert calibration_error(y.astype(float), y).tolist() == [0]
    assert brier_score(y.astype(float), y).tolist() == [0]
