"""Leaving views out: what is estimated, and which images keep theirs."""

import numpy as np
import pytest

from didvit.decisions.calibration import fit_calibration, identity, sigmoid
from didvit.decisions.passes import ViewBudget, ViewPolicy, fit_view_policy, uncertainty
from didvit.method.fusion import FUSIONS

RNG = np.random.default_rng(0)
GLOBAL = RNG.normal(-2, 2, (500, 4))
LOCAL = 0.8 * GLOBAL + 0.3 + RNG.normal(0, 0.5, GLOBAL.shape)


def test_uncertainty_is_the_variance_of_the_number_of_labels():
    p = sigmoid(GLOBAL[:5])
    drawn = (RNG.random((200_000, *p.shape)) < p).sum(2)
    np.testing.assert_allclose(uncertainty(identity(4), GLOBAL[:5]), drawn.var(0), rtol=0.02)


def test_uncertainty_is_of_calibrated_probabilities():
    targets = (RNG.random(GLOBAL.shape) < sigmoid(3 * GLOBAL)).astype(np.int64)
    calibration = fit_calibration(GLOBAL, targets)
    p = calibration.probabilities(GLOBAL)
    np.testing.assert_allclose(uncertainty(calibration, GLOBAL), [sum(x * (1 - x)) for x in p])


def test_the_line_is_that_of_weighted_least_squares():
    policy = fit_view_policy(GLOBAL, LOCAL, FUSIONS["mean"], identity(4))
    x, y, p = GLOBAL.ravel(), LOCAL.ravel(), sigmoid(GLOBAL).ravel()
    w = p * (1 - p)
    mean_x, mean_y = (w * x).sum() / w.sum(), (w * y).sum() / w.sum()
    slope = (w * (x - mean_x) * (y - mean_y)).sum() / (w * (x - mean_x) ** 2).sum()
    assert policy.slope == pytest.approx(slope, rel=1e-5)
    assert policy.offset == pytest.approx(mean_y - slope * mean_x, rel=1e-4)
    np.testing.assert_allclose(policy.estimated(GLOBAL), slope * GLOBAL + policy.offset, rtol=1e-4)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.9])
def test_the_share_of_images_with_views_is_as_asked_and_they_are_the_uncertain_ones(fusion, share):
    fuse = FUSIONS[fusion]
    policy = fit_view_policy(GLOBAL, LOCAL, fuse, identity(4))
    budget = ViewBudget(policy, identity(4), policy.least_uncertainty(share))
    fused = fuse(GLOBAL, budget.estimated(GLOBAL))
    chosen = budget.needs_views(fused)
    assert chosen.mean() == pytest.approx(share, abs=0.01)
    uncertainties = uncertainty(identity(4), fused)
    assert uncertainties[chosen].min() >= uncertainties[~chosen].max()


def test_nobody_and_everybody():
    policy = ViewPolicy(1.0, 0.0, np.linspace(0.1, 0.2, 101))
    for share, expected in ((0, False), (1, True)):
        budget = ViewBudget(policy, identity(4), policy.least_uncertainty(share))
        logits = np.array(
            [[100.0] * 4, [0.0] * 4]
        )  # less uncertainty, and more, than any image had
        assert (budget.needs_views(logits) == expected).all()


@pytest.mark.parametrize("logits", [np.zeros((3, 2)), np.full((1, 2), -2.5), np.full((2, 1), 1e4)])
def test_logits_that_say_nothing_of_a_slope(logits):
    policy = fit_view_policy(logits, logits + 1, FUSIONS["mean"], identity(logits.shape[1]))
    assert (policy.slope, policy.offset) == (1, 1)
    np.testing.assert_allclose(policy.estimated(logits), logits + 1)


def test_what_is_estimated_keeps_its_type():
    policy = ViewPolicy(0.8, 0.3, np.zeros(101))
    assert policy.estimated(GLOBAL.astype(np.float32)).dtype == np.float32
