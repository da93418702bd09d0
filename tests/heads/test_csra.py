import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from didvit.heads.csra import TEMPERATURES, CSRAHead, attention_pool

SCHEDULES = {  # of T; the last of several heads takes the maximum
    1: [1],
    2: [1, None],
    4: [1, 2, 4, None],
    6: [1, 2, 3, 4, 5, None],
    8: [1, 2, 3, 4, 5, 6, 7, None],
}


def slow_pool(scores, temperature):
    """The scores' mean, weighted by their softmax at a temperature; None is the maximum."""
    if temperature is None:
        return max(scores)
    exponentials = [math.exp(temperature * (score - max(scores))) for score in scores]
    return sum(e * score for e, score in zip(exponentials, scores, strict=True)) / sum(exponentials)


def slow_head(tokens, classifiers, schedule, attention_weight):
    """Of one image, ``(D, h, w)``: the maps ``(C, h, w)`` and logits ``(C,)``, by the formulas."""
    width, height, columns = tokens.shape
    categories = classifiers.shape[1]
    maps, logits = (
        torch.zeros(categories, height, columns).double(),
        torch.zeros(categories).double(),
    )
    for head, temperature in enumerate(schedule):
        for c in range(categories):
            m = classifiers[head, c].tolist()
            length = math.sqrt(sum(value**2 for value in m))
            scores = []
            for y in range(height):
                for x in range(columns):
                    score = sum(m[d] / length * tokens[d, y, x].item() for d in range(width))
                    maps[c, y, x] += score / len(schedule)
                    scores.append(score)
            mean = sum(scores) / len(scores)
            logits[c] += mean + attention_weight * slow_pool(scores, temperature)
    return maps, logits


@pytest.mark.parametrize("num_heads", SCHEDULES)
@pytest.mark.parametrize(
    ("batch", "categories", "grid"),
    [(1, 1, (1, 1)), (1, 3, (2, 3)), (2, 1, (3, 1)), (3, 4, (2, 2))],
)
def test_equals_the_loop(num_heads, batch, categories, grid):
    head = CSRAHead(5, categories, num_heads, attention_weight=0.3).double()
    tokens = torch.randn(batch, 5, *grid).double()
    output = head(tokens)
    for image in range(batch):
        maps, logits = slow_head(
            tokens[image], head.classifiers.detach(), SCHEDULES[num_heads], attention_weight=0.3
        )
        torch.testing.assert_close(output.semantic_maps[image], maps)
        torch.testing.assert_close(output.logits[image], logits)


def test_literal():
    head = CSRAHead(2, 1, num_heads=2, attention_weight=0.5)
    with torch.no_grad():
        head.classifiers.copy_(torch.tensor([[[3.0, 4.0]], [[0.0, -2.0]]]))
    tokens = torch.tensor([[[[5.0, 0.0]], [[0.0, 0.0]]]])  # two channels of a 1x2 grid
    maps, logits = head(tokens)
    # Unit classifiers (0.6, 0.8) and (0, -1): scores (3, 0) and (0, 0). At T = 1 the softmax of
    # (3, 0) weighs the 3 with 1 / (1 + e^-3); the second head's maximum is 0.
    assert maps[0, 0, 0].tolist() == pytest.approx([1.5, 0.0])
    assert logits.item() == pytest.approx(1.5 + 0.5 * 3 / (1 + math.exp(-3)))


scores = st.lists(st.floats(-20, 20), min_size=1, max_size=9)


@given(scores, st.sampled_from([1.0, 2.0, 4.0, 7.0, math.inf]))
def test_a_pool_lies_between_mean_and_maximum(values, temperature):
    row = torch.tensor(values, dtype=torch.float64)
    pooled = attention_pool(row[None, None], temperature).item()
    assert row.mean().item() - 1e-9 <= pooled <= row.max().item() + 1e-9


@given(scores)
def test_hotter_pools_are_larger_and_tend_to_the_maximum(values):
    row = torch.tensor(values, dtype=torch.float64)[None, None]
    pools = [attention_pool(row, t).item() for t in (1.0, 2.0, 4.0, 1e6, math.inf)]
    assert all(low <= high + 1e-9 for low, high in pairwise(pools))
    assert pools[-1] == max(values)
    assert pools[-2] == pytest.approx(pools[-1], abs=1e-4)


def test_without_attention_logits_are_the_means_of_the_maps():
    head = CSRAHead(6, 4, num_heads=4, attention_weight=0.0)
    maps, logits = head(torch.randn(2, 6, 3, 3))
    torch.testing.assert_close(logits, 4 * maps.mean((-2, -1)))


def test_the_length_of_a_classifier_does_not_matter():
    head, tokens = CSRAHead(6, 4, num_heads=2), torch.randn(2, 6, 3, 3)
    before = head(tokens)
    with torch.no_grad():
        head.classifiers.mul_(torch.rand(2, 4, 1) + 0.5)
    torch.testing.assert_close(head(tokens), before)


@pytest.mark.parametrize("num_heads", SCHEDULES)
def test_gradient_reaches_tokens_and_every_classifier(num_heads):
    head, tokens = CSRAHead(6, 4, num_heads), torch.randn(2, 6, 3, 2, requires_grad=True)
    head(tokens).logits.square().sum().backward()
    assert head.classifiers.grad.abs().sum(-1).gt(0).all()
    assert tokens.grad.abs().sum(1).gt(0).all()


def test_state_round_trip_at_every_grid():
    saved, loaded = CSRAHead(6, 4, num_heads=4), CSRAHead(6, 4, num_heads=4)
    loaded.load_state_dict(saved.state_dict())
    for grid in [(1, 1), (2, 5), (4, 3)]:
        tokens = torch.randn(2, 6, *grid)
        assert saved(tokens).semantic_maps.shape == (2, 4, *grid)
        assert all(map(torch.equal, saved(tokens), loaded(tokens)))


@pytest.mark.parametrize("num_heads", [0, 3, 5, 7, 9])
def test_numbers_of_heads_without_a_schedule_are_refused(num_heads):
    with pytest.raises(ValueError, match=rf"num_heads is {num_heads}.*1, 2, 4, 6, 8"):
        CSRAHead(6, 4, num_heads)


def test_every_schedule_was_tested():
    assert TEMPERATURES.keys() == SCHEDULES.keys()


def test_defaults_are_the_authors_of_voc():
    head = CSRAHead(4, 3)
    assert (head.temperatures, head.attention_weight) == (TEMPERATURES[1], 0.1)
