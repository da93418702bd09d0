"""Confusions and worst cases against slow searches."""

from collections import Counter
from itertools import product

import numpy as np
import pytest

from didvit.reports import mistakes
from didvit.reports.mistakes import Case, confusions, worst_false_positives, worst_misses


def drawn(seed, images=60, labels=7):
    rng = np.random.default_rng(seed)
    targets = rng.choice([0, 1, -1], (images, labels), p=[0.6, 0.3, 0.1]).astype(np.int8)
    return rng.random((images, labels)), targets


def slow_confusions(predicted, targets):
    """Every pair with an excess, by its excess."""
    found = {}
    columns = range(targets.shape[1])
    for label, other in product(columns, columns):
        lacking = [i for i in range(len(targets)) if targets[i, label] == 0]
        wrong = [i for i in lacking if predicted[i, label]]
        together = sum(targets[i, other] == 1 for i in wrong)
        usual = sum(targets[i, other] == 1 for i in lacking) / max(len(lacking), 1)
        excess = together - len(wrong) * usual
        if together >= 2 and excess > 1e-9:
            found[label, other] = (len(wrong), together, usual, excess)
    return found


@pytest.mark.parametrize("block", [2, 128])
@pytest.mark.parametrize("seed", range(4))
def test_confusions(seed, block, monkeypatch):
    monkeypatch.setattr(mistakes, "BLOCK", block)
    probabilities, targets = drawn(seed)
    predicted = probabilities > 0.6
    slow = slow_confusions(predicted, targets)
    found = confusions(predicted, targets, 1000)
    assert {(pair.label, pair.other) for pair in found} == set(slow)
    excesses = []
    for pair in found:
        wrong, together, usual, excess = slow[pair.label, pair.other]
        assert (pair.false_positives, pair.together) == (wrong, together)
        assert pair.usual == pytest.approx(usual, abs=1e-6)
        excesses.append(excess)
    assert excesses == pytest.approx(sorted(excesses, reverse=True), abs=1e-4)
    assert confusions(predicted, targets, 3) == found[:3]


def test_a_frequent_label_is_no_confusion():
    """'Person' is everywhere; 'car' is what trucks are taken for."""
    truck, car, person = range(3)
    targets = np.zeros((100, 3), np.int8)
    targets[:, person] = 1
    targets[:20, car] = 1
    predicted = np.zeros((100, 3), bool)
    predicted[:10, truck] = predicted[90, truck] = True
    assert confusions(predicted, targets, 5) == ((truck, car, 11, 10, pytest.approx(0.2)),)


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (5, 1)])
def test_no_confusion(shape):
    assert confusions(np.ones(shape, bool), np.zeros(shape, np.int8), 5) == ()


@pytest.mark.parametrize("seed", range(4))
def test_worst_cases_are_wrong_and_of_different_images(seed):
    probabilities, targets = drawn(seed)
    thresholds = np.linspace(0.3, 0.9, 7)
    wrong = worst_false_positives(probabilities, targets, thresholds, 12)
    missed = worst_misses(probabilities, targets, thresholds, 12)
    for cases, truth, order in ((wrong, 0, -1), (missed, 1, 1)):
        assert len(cases) == 12
        assert len({case.row for case in cases}) == 12
        for case in cases:
            assert targets[case.row, case.label] == truth
            assert case.probability == probabilities[case.row, case.label]
            assert case.threshold == thresholds[case.label]
            assert (case.probability >= case.threshold) == (truth == 0)
        values = [order * case.probability for case in cases]
        assert values == sorted(values)


def test_a_label_comes_twice_before_others_had_their_turn():
    probabilities = np.zeros((30, 3))
    probabilities[:20, 0] = np.linspace(0.99, 0.9, 20)
    probabilities[20:24, 1] = 0.8
    probabilities[24, 2] = 0.6
    targets = np.zeros((30, 3), np.int8)
    cases = worst_false_positives(probabilities, targets, np.full(3, 0.5), 8)
    assert Counter(case.label for case in cases) == {0: 4, 1: 3, 2: 1}
    assert [case.row for case in cases[:4]] == [0, 1, 2, 3]


def test_one_label_fills_the_list():
    probabilities = np.linspace(0.99, 0.6, 20)[:, None]
    cases = worst_false_positives(probabilities, np.zeros((20, 1), np.int8), np.array([0.5]), 12)
    assert [case.row for case in cases] == list(range(12))


@pytest.mark.parametrize(
    ("probability", "target", "wrong", "missed"),
    [
        (0.5, 0, True, False),  # a threshold that is just reached
        (0.5, 1, False, False),
        (0.5, -1, False, False),
        (0.49, 0, False, False),
        (0.49, 1, False, True),
        (0.49, -1, False, False),
    ],
)
def test_what_is_wrong(probability, target, wrong, missed):
    given = np.array([[probability]]), np.array([[target]]), np.array([0.5]), 12
    case = Case(0, 0, probability, 0.5)
    assert worst_false_positives(*given) == ((case,) if wrong else ())
    assert worst_misses(*given) == ((case,) if missed else ())
