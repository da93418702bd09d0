import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from didvit.curation.heads import fit_head, out_of_sample
from didvit.decisions.calibration import sigmoid


def drawn(count=400, width=6, labels=3, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.normal(2, 3, (count, width)).astype(np.float32)
    weights = rng.normal(0, 0.5, (width, labels))
    p = sigmoid((features - 2) @ weights)
    return features, (rng.random(p.shape) < p).astype(np.int64)


@pytest.mark.parametrize("ridge", [3.0, 30.0])
def test_equals_logistic_regression(ridge):
    features, targets = drawn()
    head = fit_head(features, targets, ridge)
    standardized = (features - features.mean(0)) / (features.std(0) + 1e-6)
    for c in range(targets.shape[1]):
        expected = LogisticRegression(C=1 / ridge, tol=1e-8).fit(standardized, targets[:, c])
        logits = expected.decision_function(standardized)
        np.testing.assert_allclose(head.logits(features)[:, c], logits, atol=0.01)


def test_unknown_targets_have_no_part():
    """Another label's weights are unchanged, and this label's are those of its known images."""
    features, targets = drawn(2000)
    hidden = targets.copy()
    hidden[1000:, 1] = -1
    weights, whole = (fit_head(features, t).weights for t in (hidden, targets))
    np.testing.assert_allclose(weights[:, 0], whole[:, 0], atol=1e-9)
    half = fit_head(features[:1000], targets[:1000])
    known = half.logits(features)[:, 1]
    np.testing.assert_allclose(fit_head(features, hidden).logits(features)[:, 1], known, atol=0.1)


def test_no_image_is_scored_by_a_head_that_learned_from_it():
    """Targets that are noise cannot be foreseen; a head that had seen them would do better."""
    rng = np.random.default_rng(0)
    features, targets = rng.normal(size=(200, 60)), rng.integers(0, 2, (200, 1))
    held_out = out_of_sample(features, targets)
    seen = fit_head(features, targets).logits(features)
    assert ((held_out > 0) == targets).mean() < 0.6
    assert ((seen > 0) == targets).mean() > 0.7


def test_folds_follow_the_seed():
    features, targets = drawn()
    one, again, other = (out_of_sample(features, targets, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
