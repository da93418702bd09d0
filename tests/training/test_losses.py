import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import oracles
from didvit.training.losses import (
    LOSSES,
    asymmetric,
    balancing_weights,
    focal,
    masked_mean,
    soft_margin,
)


@st.composite
def batch(draw, targets=(-1, 0, 1)):
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 5)))
    floats = st.floats(-60, 60, width=32)
    logits = torch.from_numpy(draw(hnp.arrays(np.float32, shape, elements=floats)))
    values = draw(hnp.arrays(np.int8, shape, elements=st.sampled_from(targets)))
    return logits, torch.from_numpy(values)


def test_every_loss_has_a_slow_loop():
    assert set(LOSSES) == set(oracles.LOSSES)


@pytest.mark.parametrize("name", LOSSES)
@given(batch(targets=(0, 1)))
def test_losses_equal_the_formulas(name, case):
    logits, targets = case
    losses = LOSSES[name](logits, targets)
    for i, j in np.ndindex(*logits.shape):
        expected = oracles.LOSSES[name](logits[i, j].item(), targets[i, j].item())
        assert losses[i, j].item() == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
@given(batch(), st.data())
def test_the_mean_equals_the_slow_loop(name, case, data):
    logits, targets = case
    weights = data.draw(hnp.arrays(np.float32, logits.shape[1], elements=st.floats(0, 8, width=32)))
    unweighted = masked_mean(LOSSES[name], logits, targets).item()
    assert unweighted == pytest.approx(
        oracles.masked_mean(oracles.LOSSES[name], logits, targets), rel=1e-4, abs=1e-6
    )
    weighted = masked_mean(LOSSES[name], logits, targets, torch.from_numpy(weights)).item()
    expected = oracles.masked_mean(oracles.LOSSES[name], logits, targets, weights.tolist())
    assert weighted == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    ("loss", "logit", "target", "expected"),
    [
        (soft_margin, 0.0, 1, math.log(2)),
        (soft_margin, 0.0, 0, math.log(2)),
        (soft_margin, math.log(3), 1, math.log(4 / 3)),  # a probability of 3/4
        (soft_margin, math.log(3), 0, math.log(4)),
        (focal, 0.0, 1, math.log(2) / 4),
        (focal, 0.0, 0, math.log(2) / 4),
        (focal, math.log(3), 1, math.log(4 / 3) / 16),
        (focal, math.log(3), 0, math.log(4) * 9 / 16),
        (asymmetric, 0.0, 1, math.log(2)),
        (asymmetric, 0.0, 0, -(0.45**4) * math.log(0.55)),
        (asymmetric, math.log(3), 1, math.log(4 / 3)),
        (asymmetric, math.log(3), 0, -(0.7**4) * math.log(0.3)),
        # A probability of 1/21 is less than the margin: what is that easy costs nothing.
        (asymmetric, -math.log(20), 0, 0.0),
        (asymmetric, -math.log(20), 1, math.log(21)),
    ],
)
def test_literal_values(loss, logit, target, expected):
    value = loss(torch.tensor([[logit]]), torch.tensor([[target]]))
    assert value.item() == pytest.approx(expected, rel=1e-5)


@given(batch(targets=(0, 1)))
def test_the_paper_loss_is_pytorchs(case):
    logits, targets = case
    expected = torch.nn.MultiLabelSoftMarginLoss()(logits, targets.float())
    torch.testing.assert_close(masked_mean(soft_margin, logits, targets), expected)


@given(batch(targets=(0, 1)), st.data())
def test_weighted_it_is_pytorchs_cross_entropy(case, data):
    logits, targets = case
    floats = st.floats(0, 8, width=32)
    weights = torch.from_numpy(data.draw(hnp.arrays(np.float32, logits.shape[1], elements=floats)))
    expected = torch.nn.BCEWithLogitsLoss(pos_weight=weights)(logits, targets.float())
    torch.testing.assert_close(masked_mean(soft_margin, logits, targets, weights), expected)


@given(batch(targets=(0, 1)))
def test_without_focus_and_margin_they_are_all_cross_entropy(case):
    logits, targets = case
    logits = logits.clamp(-10, 10)  # beyond, 1 - p has no digits left
    expected = soft_margin(logits, targets)
    torch.testing.assert_close(focal(logits, targets, gamma=0.0), expected)
    unfocused = asymmetric(logits, targets, gamma=0.0, margin=0.0)
    torch.testing.assert_close(unfocused, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 3.0])
@given(batch(targets=(0, 1)))
def test_gamma_and_margin_are_those_of_the_formulas(gamma, case):
    logits, targets = case
    focused = focal(logits, targets, gamma)
    shifted = asymmetric(logits, targets, gamma, margin=0.2)
    for i, j in np.ndindex(*logits.shape):
        z, y = logits[i, j].item(), targets[i, j].item()
        expected = oracles.focal(z, y, gamma), oracles.asymmetric(z, y, gamma, 0.2)
        values = focused[i, j].item(), shifted[i, j].item()
        assert values == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("weights", [None, [0.5, 3.0, 1.0]])
def test_gradients_are_the_slopes_of_the_slow_loop(name, weights):
    rng = np.random.default_rng(0)
    values, targets = rng.uniform(-6, 6, (8, 3)), rng.integers(-1, 2, (8, 3))
    logits = torch.tensor(values, dtype=torch.float32, requires_grad=True)
    tensor = None if weights is None else torch.tensor(weights)
    masked_mean(LOSSES[name], logits, torch.from_numpy(targets), tensor).backward()
    step = 1e-5
    slopes = np.zeros_like(values)
    for place in np.ndindex(*values.shape):
        around = []
        for moved in (values[place] + step, values[place] - step):
            changed = values.copy()
            changed[place] = moved
            around.append(oracles.masked_mean(oracles.LOSSES[name], changed, targets, weights))
        slopes[place] = (around[0] - around[1]) / (2 * step)
    np.testing.assert_allclose(logits.grad.numpy(), slopes, rtol=1e-3, atol=1e-7)
    assert (logits.grad.numpy()[targets == -1] == 0).all()
    assert np.abs(logits.grad.numpy()[targets == 1]).min() > 0


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("target", [-1, 0, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_extreme_logits_have_finite_losses_and_gradients(name, target, dtype):
    logits = torch.tensor([[-1e4, -100.0, -20.0, 0.0, 20.0, 100.0, 1e4]], dtype=dtype)
    logits.requires_grad_()
    loss = masked_mean(LOSSES[name], logits, torch.full(logits.shape, target))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", ["soft_margin", "focal"])
@pytest.mark.parametrize("target", [0, 1])
def test_what_is_certain_and_wrong_costs_its_logit(name, target):
    wrong = -1e4 if target else 1e4
    value = LOSSES[name](torch.tensor([[wrong, -wrong]]), torch.tensor([[target, target]]))
    assert value.tolist() == [[1e4, 0.0]]


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(name, dtype):
    generator = torch.Generator().manual_seed(0)
    logits = (4 * torch.randn(20, 5, generator=generator)).to(dtype)
    targets = torch.randint(-1, 2, (20, 5), generator=generator)
    loss = masked_mean(LOSSES[name], logits, targets)
    assert loss.dtype == torch.float32
    assert loss == masked_mean(LOSSES[name], logits.float(), targets)
    assert LOSSES[name](logits, targets).dtype == torch.float32


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.float32])
def test_targets_may_be_of_any_type(name, dtype):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(20, 5, generator=generator)
    targets = torch.randint(-1, 2, (20, 5), generator=generator)
    expected = masked_mean(LOSSES[name], logits, targets)
    assert masked_mean(LOSSES[name], logits, targets.to(dtype)) == expected


@pytest.mark.parametrize("name", LOSSES)
@given(batch())
def test_logits_of_unknown_labels_do_not_matter(name, case):
    logits, targets = case
    weights = torch.full((logits.shape[1],), 2.0)
    other = torch.where(targets == -1, 7.0, logits)
    assert masked_mean(LOSSES[name], other, targets, weights) == (
        masked_mean(LOSSES[name], logits, targets, weights)
    )


@pytest.mark.parametrize("name", LOSSES)
def test_parts_of_a_batch_add_up_however_much_of_them_is_unknown(name):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(8, 5, generator=generator)
    targets = torch.randint(-1, 2, (8, 5), generator=generator)
    targets[:3] = -1
    whole = masked_mean(LOSSES[name], logits, targets)
    for size in (1, 2, 4):
        parts = zip(logits.split(size), targets.split(size), strict=True)
        means = [masked_mean(LOSSES[name], z, y) for z, y in parts]
        torch.testing.assert_close(torch.stack(means).mean(), whole)


def test_the_mean_takes_functions_of_the_same_kind():
    logits, targets = torch.tensor([[0.0, 2.0]]), torch.tensor([[1, 0]])
    sharper = partial(focal, gamma=5.0)
    expected = oracles.masked_mean(partial(oracles.focal, gamma=5.0), logits, targets)
    assert masked_mean(sharper, logits, targets).item() == pytest.approx(expected, rel=1e-5)


def test_weights_are_of_the_positives_alone():
    logits, targets = torch.zeros(1, 3), torch.tensor([[1, 0, -1]])
    weights = torch.tensor([3.0, 5.0, 7.0])
    loss = masked_mean(soft_margin, logits, targets, weights)
    assert loss.item() == pytest.approx((3 + 1 + 0) * math.log(2) / 3)


@pytest.mark.parametrize(
    ("column", "weight"),
    [
        ([1, 0], 1.0),
        ([1, 0, 0, 0], 3.0),
        ([1, 1, 1, 0], 1 / 3),
        ([1, 0, 0, -1, -1, -1], 2.0),  # what is unknown is neither
        ([1, 1], 1.0),
        ([0, 0], 1.0),
        ([-1, -1], 1.0),
        ([1, -1], 1.0),
    ],
)
@pytest.mark.parametrize("dtype", [torch.int8, torch.float32])
def test_balancing_weights(column, weight, dtype):
    targets = torch.tensor(column, dtype=dtype)[:, None]
    assert balancing_weights(targets).tolist() == [pytest.approx(weight)]


@given(batch())
def test_balanced_positives_weigh_as_much_as_the_negatives(case):
    _, targets = case
    weights = balancing_weights(targets)
    assert weights.dtype == torch.float32
    assert weights.shape == targets.shape[1:]
    for category, weight in enumerate(weights.tolist()):
        column = targets[:, category].tolist()
        positives, negatives = column.count(1), column.count(0)
        if positives and negatives:
            assert weight * positives == pytest.approx(negatives)
        else:
            assert weight == 1
