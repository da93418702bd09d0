import math
import time
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score

from didvit.evaluation.metrics import (
    Interval,
    average_precision,
    average_precisions,
    bootstrap_difference,
    bootstrap_interval,
    mean_average_precision,
    precision_recall,
    voc11_average_precision,
)


def slow_average_precision(scores, targets):
    """Mean over positives of the precision among the images scoring at least as much."""
    known = [(s, t) for s, t in zip(scores, targets, strict=True) if t != -1]
    precisions = []
    for score, target in known:
        if target == 1:
            above = [t for s, t in known if s >= score]
            precisions.append(sum(above) / len(above))
    return sum(precisions) / len(precisions) if has_both(targets) else math.nan


def has_both(targets):
    """Some image has the label, and some lacks it: else any order would do."""
    return 1 in targets and 0 in targets


def slow_voc11(scores, targets):
    """Precision and recall at every threshold; recalls are compared as integers: 3 of 10 is 0.3."""
    known = [(s, t) for s, t in zip(scores, targets, strict=True) if t != -1]
    positives = sum(t for _, t in known)
    if not has_both(targets):
        return math.nan
    total = 0.0
    for tenth in range(11):
        best = 0.0
        for threshold, _ in known:
            above = [t for s, t in known if s >= threshold]
            if 10 * sum(above) >= tenth * positives:
                best = max(best, sum(above) / len(above))
        total += best
    return total / 11


def slow_development_kit(scores, targets):
    """VOC's loop, as its manual gives it: down the list of images, one by one."""
    ranked = [t for _, t in sorted(zip(scores, targets, strict=True), key=lambda pair: -pair[0])]
    positives, true, false = sum(t == 1 for t in ranked), 0, 0
    curve = []
    for target in ranked:
        true, false = true + (target == 1), false + (target == 0)
        if true + false:
            curve.append((true / positives, true / (true + false)))
    total = 0.0
    for tenth in range(11):
        total += max([p for r, p in curve if r >= tenth / 10 - 1e-9], default=0.0) / 11
    return total


def slow_precision_recall(scores, targets, threshold, top_k):
    images, categories = scores.shape
    declared = [c for c in range(categories) if any(targets[:, c] != -1)]
    Np, Ng, Nc = [0] * categories, [0] * categories, [0] * categories
    for i in range(images):
        top = sorted(range(categories), key=lambda c: (-scores[i, c], c))[:top_k]
        for c in range(categories):
            if targets[i, c] == -1:
                continue
            predicted = scores[i, c] >= threshold and c in top
            Np[c] += predicted
            Ng[c] += targets[i, c]
            Nc[c] += predicted and targets[i, c]
    F1s = [2 * Nc[c] / (Np[c] + Ng[c]) for c in range(categories) if Ng[c]]
    macro = sum(F1s) / len(F1s) if F1s else 0.0
    precisions = [Nc[c] / Np[c] if Np[c] else 0.0 for c in declared]
    CP = sum(precisions) / len(precisions) if precisions else 0.0
    recalls = [Nc[c] / Ng[c] for c in range(categories) if Ng[c]]
    CR = sum(recalls) / len(recalls) if recalls else 0.0
    OP = sum(Nc) / sum(Np) if sum(Np) else 0.0
    OR = sum(Nc) / sum(Ng) if sum(Ng) else 0.0
    return CP, CR, harmonic(CP, CR), OP, OR, harmonic(OP, OR), macro


@np.errstate(invalid="ignore")
def ml_gcn_evaluation(scores, targets, threshold, top_k):
    """The steps of ``evaluation`` in ML-GCN's ``util.py``."""
    images, categories = scores.shape
    targets[targets == -1] = 0
    predicted = np.zeros(scores.shape, dtype=bool)
    for i in range(images):
        for c in sorted(range(categories), key=lambda c: (-scores[i, c], c))[:top_k]:
            predicted[i, c] = scores[i, c] >= threshold
    Ng, Np, Nc = targets.sum(0), predicted.sum(0), (targets * predicted).sum(0)
    Np[Np == 0] = 1
    return {
        "OP": Nc.sum() / Np.sum(),
        "OR": Nc.sum() / Ng.sum(),
        "CP": (Nc / Np).sum() / categories,
        "CR": (Nc / Ng).sum() / categories,
    }


def harmonic(a, b):
    return 2 * a * b / (a + b) if a + b else 0.0


# Few distinct scores, so that ties are the rule.
SCORES = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0])
# Neighbors in float64, the least and the greatest numbers: all of them are different scores.
EXTREMES = st.floats(-5, 5) | st.sampled_from([math.nextafter(0.5, 1), 5e-324, 1e308, -1e308])
INFINITE = st.sampled_from([-math.inf, math.inf])


@st.composite
def ranking(draw, targets=(-1, 0, 1), scores=SCORES | EXTREMES | INFINITE):
    size = draw(st.integers(1, 30))
    scores = draw(hnp.arrays(np.float64, size, elements=scores))
    return scores, draw(hnp.arrays(np.int64, size, elements=st.sampled_from(targets)))


@st.composite
def predictions(draw, targets=(-1, 0, 1)):
    shape = draw(st.integers(1, 8)), draw(st.integers(1, 6))
    scores = draw(hnp.arrays(np.float64, shape, elements=SCORES))
    return scores, draw(hnp.arrays(np.int64, shape, elements=st.sampled_from(targets)))


class TestAveragePrecision:
    @given(ranking())
    def test_equals_the_slow_loop(self, case):
        scores, targets = case
        expected = slow_average_precision(scores, targets)
        assert average_precision(scores, targets) == pytest.approx(expected, nan_ok=True)

    @given(ranking(scores=SCORES | EXTREMES))
    def test_equals_scikit_learn(self, case):
        scores, targets = case
        known = targets != -1
        if not has_both(targets):
            assert math.isnan(average_precision(scores, targets))
        else:
            expected = average_precision_score(targets[known], scores[known])
            assert average_precision(scores, targets) == pytest.approx(expected)

    @pytest.mark.parametrize("levels", [1, 2, 7, None])
    @pytest.mark.parametrize("positives", [1, 20, 199])
    def test_equals_scikit_learn_on_larger_sets(self, levels, positives):
        rng = np.random.default_rng(positives)
        scores = rng.random(200) if levels is None else rng.integers(levels, size=200) / 7
        targets = rng.permutation(np.arange(200) < positives).astype(int)
        expected = average_precision_score(targets, scores)
        assert average_precision(scores, targets) == pytest.approx(expected)

    @pytest.mark.parametrize(
        ("scores", "targets", "expected"),
        [
            ([0.9, 0.8, 0.7], [1, 1, 0], 1.0),
            ([0.9, 0.8, 0.7], [0, 0, 1], 1 / 3),
            ([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 0], (1 + 2 / 3) / 2),
            ([0.5, 0.5, 0.5, 0.5], [1, 0, 0, 0], 1 / 4),
            ([0.5, 0.5, 0.5, 0.5], [0, 0, 0, 1], 1 / 4),
            ([0.9, 0.5, 0.5], [1, 1, 0], (1 + 2 / 3) / 2),
            ([0.9, 0.8, 0.7], [-1, 1, 0], 1.0),
            ([0.9, 0.8, 0.7], [0, -1, 1], 1 / 2),
            ([-3.0, -4.0], [1, 0], 1.0),
        ],
    )
    def test_literal_values(self, scores, targets, expected):
        assert average_precision(np.array(scores), np.array(targets)) == pytest.approx(expected)

    @pytest.mark.parametrize(
        "targets", [[0, 0, 0], [-1, -1, -1], [0, -1, 0], [1, 1, 1], [1, -1, 1]]
    )
    def test_without_positives_or_without_negatives_it_is_nan(self, targets):
        assert math.isnan(average_precision(np.array([0.1, 0.2, 0.3]), np.array(targets)))

    @given(ranking(), st.randoms(use_true_random=False))
    def test_the_order_of_the_images_does_not_matter(self, case, random):
        scores, targets = case
        order = random.sample(range(len(scores)), len(scores))
        expected = average_precision(scores, targets)
        assert average_precision(scores[order], targets[order]) == pytest.approx(
            expected, nan_ok=True
        )

    @given(ranking())
    def test_unknown_images_do_not_matter(self, case):
        scores, targets = case
        known = targets != -1
        assert average_precision(scores, targets) == pytest.approx(
            average_precision(scores[known], targets[known]), nan_ok=True
        )

    @given(ranking(), st.data())
    def test_counts_stand_for_copies(self, case, data):
        scores, targets = case
        counts = data.draw(hnp.arrays(np.int64, len(scores), elements=st.integers(0, 3)))
        expected = slow_average_precision(np.repeat(scores, counts), np.repeat(targets, counts))
        assert average_precision(scores, targets, counts) == pytest.approx(expected, nan_ok=True)

    @given(ranking())
    def test_logits_and_probabilities_rank_alike(self, case):
        scores, targets = case
        probabilities = 1 / (1 + np.exp(-np.clip(scores, -30, 30)))
        # Where rounding has not made scores equal that were not.
        if len(set(probabilities)) == len(set(scores)):
            expected = average_precision(scores, targets)
            assert average_precision(probabilities, targets) == pytest.approx(expected, nan_ok=True)

    def test_saturated_probabilities_tie_where_logits_do_not(self):
        logits, targets = np.array([40.0, 41.0, 42.0]), np.array([0, 0, 1])
        probabilities = torch.from_numpy(logits).sigmoid().numpy()
        assert average_precision(logits, targets) == 1
        assert average_precision(probabilities, targets) == pytest.approx(1 / 3)

    def test_of_every_category(self):
        scores = np.array([[0.9, 0.1, 0.2, 0.3], [0.8, 0.6, 0.9, 0.3]])
        targets = np.array([[0, 0, 0, -1], [1, 1, 0, -1]])
        np.testing.assert_allclose(average_precisions(scores, targets), [0.5, 1, np.nan, np.nan])
        # The categories without positives are left out.
        assert mean_average_precision(scores, targets) == pytest.approx(0.75)

    def test_a_label_that_every_image_has_is_not_averaged(self):
        scores = np.array([[0.9, 0.1, 0.3], [0.8, 0.6, 0.2], [0.7, 0.5, 0.1]])
        targets = np.array([[0, 1, 1], [1, 1, -1], [0, 1, 1]])
        np.testing.assert_allclose(average_precisions(scores, targets), [0.5, np.nan, np.nan])
        assert mean_average_precision(scores, targets) == pytest.approx(0.5)

    @given(predictions())
    def test_blocks_of_categories_do_not_matter(self, case):
        scores, targets = case
        expected = [slow_average_precision(s, t) for s, t in zip(scores.T, targets.T, strict=True)]
        for block in (1, len(scores), 3 * len(scores)):
            with mock.patch("didvit.evaluation.metrics.BLOCK", block):
                np.testing.assert_allclose(average_precisions(scores, targets), expected)

    @pytest.mark.parametrize("place", [0, 1, 2])
    def test_nan_is_refused_wherever_it_stands(self, place):
        scores, targets = np.array([[0.9], [0.8], [0.7]]), np.array([[1], [0], [1]])
        scores[place] = np.nan
        measures = (
            lambda: average_precision(scores[:, 0], targets[:, 0]),
            lambda: voc11_average_precision(scores[:, 0], targets[:, 0]),
            lambda: average_precisions(scores, targets),
            lambda: mean_average_precision(scores, targets),
            lambda: bootstrap_interval(scores, targets, 5),
            lambda: precision_recall(scores, targets, 0.5),
        )
        for measure in measures:
            with pytest.raises(ValueError, match="1 of 3 scores are NaN"):
                measure()

    @pytest.mark.filterwarnings("error")
    @pytest.mark.parametrize("targets", [[[0, 0]], [[-1, 0]], np.empty((0, 2), dtype=int)])
    def test_mean_of_nothing_is_nan(self, targets):
        targets = np.array(targets)
        assert math.isnan(mean_average_precision(np.zeros(targets.shape), targets))


class TestVoc11:
    @given(ranking())
    def test_equals_the_slow_loop(self, case):
        scores, targets = case
        expected = slow_voc11(scores, targets)
        assert voc11_average_precision(scores, targets) == pytest.approx(expected, nan_ok=True)

    @given(ranking(), st.randoms(use_true_random=False))
    def test_the_order_of_the_images_does_not_matter(self, case, random):
        scores, targets = case
        order = random.sample(range(len(scores)), len(scores))
        expected = voc11_average_precision(scores, targets)
        assert voc11_average_precision(scores[order], targets[order]) == pytest.approx(
            expected, nan_ok=True
        )

    @given(ranking().filter(lambda case: has_both(case[1])), st.randoms(use_true_random=False))
    def test_without_ties_it_is_the_development_kits(self, case, random):
        _, targets = case
        scores = np.array(random.sample(range(len(targets)), len(targets)), dtype=float)
        expected = slow_development_kit(scores, targets)
        assert voc11_average_precision(scores, targets) == pytest.approx(expected)

    @pytest.mark.parametrize("positives", [3, 7, 10, 30, 70, 90])
    def test_equals_the_slow_loop_on_larger_sets(self, positives):
        rng = np.random.default_rng(positives)
        targets = rng.permutation(np.arange(300) < positives).astype(int)
        scores = rng.random(300) + 0.5 * targets
        expected = slow_voc11(scores, targets)
        assert voc11_average_precision(scores, targets) == pytest.approx(expected)

    @pytest.mark.parametrize(
        ("ranked", "expected"),
        [
            ([1, 0], 1.0),
            ([1, 1, 1, 0], 1.0),
            ([0, 1], 1 / 2),
            # Recall 1/2 is reached at rank 1: 0 to 0.5 have precision 1, 0.6 to 1 have 2/3.
            ([1, 0, 1], (6 * 1 + 5 * 2 / 3) / 11),
            # The precision of a later, higher recall counts for the lower ones.
            ([0, 1, 1], 2 / 3),
            # Ten positives; after three, recall is exactly 0.3, and then everything is lost.
            ([1, 1, 1] + [0] * 90 + [1] * 7, (4 * 1 + 7 * 10 / 100) / 11),
            ([1] * 6 + [0] * 90 + [1] * 4, (7 * 1 + 4 * 10 / 100) / 11),
            ([1] * 7 + [0] * 90 + [1] * 3, (8 * 1 + 3 * 10 / 100) / 11),
            ([-1, 1, 0], 1.0),
        ],
    )
    def test_literal_values(self, ranked, expected):
        scores = np.linspace(1, 0, len(ranked))
        assert voc11_average_precision(scores, np.array(ranked)) == pytest.approx(expected)

    @pytest.mark.parametrize("targets", [[1, 0, 0, 0], [0, 0, 0, 1]])
    def test_equals_share_a_rank(self, targets):
        assert voc11_average_precision(np.full(4, 0.5), np.array(targets)) == pytest.approx(1 / 4)

    @pytest.mark.parametrize("targets", [[0, -1], [1, -1], [1, 1], [-1, -1]])
    def test_without_positives_or_without_negatives_it_is_nan(self, targets):
        assert math.isnan(voc11_average_precision(np.array([0.5, 0.4]), np.array(targets)))


def slow_bootstrap(scores, targets, resamples, seed, confidence):
    """Draw, score what was drawn, and mirror the quantiles at the mAP of all."""

    def mean(s, t):
        values = [slow_average_precision(s[:, c], t[:, c]) for c in range(s.shape[1])]
        known = [value for value in values if not math.isnan(value)]
        return sum(known) / len(known) if known else math.nan

    rng, means = np.random.default_rng(seed), []
    for _ in range(resamples):
        drawn = rng.integers(len(scores), size=len(scores))
        means.append(mean(scores[drawn], targets[drawn]))
    means = [value for value in means if not math.isnan(value)]
    if not means:
        return math.nan, math.nan
    low, high = np.quantile(means, ((1 - confidence) / 2, (1 + confidence) / 2))
    ends = 2 * mean(scores, targets) - high, 2 * mean(scores, targets) - low
    return tuple(min(max(end, 0.0), 1.0) for end in ends)


class TestBootstrapInterval:
    @settings(max_examples=50)
    @given(predictions(), st.integers(0, 5), st.sampled_from([0.5, 0.9, 0.95]))
    def test_equals_the_slow_loop(self, case, seed, confidence):
        interval = bootstrap_interval(*case, resamples=7, seed=seed, confidence=confidence)
        expected = slow_bootstrap(*case, 7, seed, confidence)
        assert interval == pytest.approx(expected, nan_ok=True)

    def test_equals_the_slow_loop_on_a_larger_set(self):
        rng = np.random.default_rng(0)
        targets = rng.integers(-1, 2, (60, 5))
        scores = rng.integers(20, size=(60, 5)) / 7 + targets
        interval = bootstrap_interval(scores, targets, resamples=40, seed=3)
        assert interval == pytest.approx(slow_bootstrap(scores, targets, 40, 3, 0.95))
        assert all(type(end) is float for end in interval)

    def test_the_seed_decides(self):
        rng = np.random.default_rng(0)
        scores, targets = rng.random((30, 3)), rng.integers(0, 2, (30, 3))
        first = bootstrap_interval(scores, targets, resamples=50, seed=1)
        assert bootstrap_interval(scores, targets, resamples=50, seed=1) == first
        assert bootstrap_interval(scores, targets, resamples=50, seed=2) != first

    def test_more_confidence_is_a_wider_interval(self):
        rng = np.random.default_rng(0)
        scores, targets = rng.random((40, 3)), rng.integers(0, 2, (40, 3))
        ends = [bootstrap_interval(scores, targets, 200, confidence=c) for c in (0.5, 0.8, 0.99)]
        assert ends[2].low < ends[1].low < ends[0].low < ends[0].high < ends[1].high < ends[2].high

    def test_a_ranking_without_mistakes_has_no_doubt(self):
        targets = np.array([[1], [1], [1], [0], [0], [0]])
        assert bootstrap_interval(targets - 0.5, targets, 50) == Interval(1.0, 1.0)

    def test_about_as_many_intervals_hold_the_truth_as_said(self):
        rng = np.random.default_rng(0)

        def draw(images):
            targets = (rng.random((images, 2)) < 0.2).astype(int)
            return rng.normal(size=targets.shape) + 1.5 * targets, targets

        truth = mean_average_precision(*draw(100_000))
        intervals = [bootstrap_interval(*draw(400), 80, confidence=0.8) for _ in range(60)]
        held = sum(low <= truth <= high for low, high in intervals)
        # 48 of 60, within three standard deviations.
        assert 39 <= held <= 57

    @pytest.mark.filterwarnings("error")
    @pytest.mark.parametrize("targets", [[[0, 0]], [[-1, 1]], np.empty((0, 2), dtype=int)])
    def test_with_nothing_to_measure_it_is_nan(self, targets):
        targets = np.array(targets)
        interval = bootstrap_interval(np.zeros(targets.shape), targets, 5)
        assert all(math.isnan(end) for end in interval)

    @settings(max_examples=30)
    @given(predictions(), st.integers(1, 9))
    def test_blocks_of_categories_do_not_matter(self, case, block):
        with mock.patch("didvit.evaluation.metrics.BLOCK", block):
            interval = bootstrap_interval(*case, resamples=5, seed=1)
        assert interval == pytest.approx(slow_bootstrap(*case, 5, 1, 0.95), nan_ok=True)

    def test_thousands_of_labels_take_seconds(self):
        rng = np.random.default_rng(0)
        targets = (rng.random((12, 10_000)) < 0.2).astype(int)
        start = time.process_time()
        interval = bootstrap_interval(rng.normal(size=targets.shape), targets, 200)
        assert time.process_time() - start < 10  # one AP after another takes minutes
        assert 0 < interval.low < interval.high < 1

    @pytest.mark.parametrize(
        ("resamples", "confidence", "named"),
        [
            (0, 0.95, "resamples is 0"),
            (-1, 0.95, "resamples is -1"),
            (10, 0.0, "confidence is 0.0"),
            (10, 1.0, "confidence is 1.0"),
            (10, math.nan, "confidence is nan"),
        ],
    )
    def test_refuses_impossible_settings(self, resamples, confidence, named):
        with pytest.raises(ValueError, match=named):
            bootstrap_interval(np.zeros((2, 1)), np.eye(2, 1, dtype=int), resamples, 0, confidence)


class TestPrecisionRecall:
    @settings(max_examples=200)
    @given(predictions(), st.sampled_from([None, 1, 3, 9]), st.sampled_from([0.0, 0.25, 0.5, 0.75]))
    def test_equals_the_slow_loop(self, case, top_k, threshold):
        scores, targets = case
        expected = slow_precision_recall(scores, targets, threshold, top_k)
        assert precision_recall(scores, targets, threshold, top_k) == pytest.approx(expected)

    @pytest.mark.parametrize("top_k", [None, 3])
    def test_equals_the_slow_loop_on_larger_sets(self, top_k):
        rng = np.random.default_rng(0)
        logits, targets = rng.normal(size=(60, 8)), rng.integers(-1, 2, (60, 8))
        expected = slow_precision_recall(logits, targets, 0.0, top_k)
        assert precision_recall(logits, targets, 0.0, top_k) == pytest.approx(expected)

    @settings(max_examples=40)
    @given(predictions(targets=(0, 1)).filter(lambda case: case[1].any(0).all()))
    def test_equals_scikit_learn(self, case):
        # A further category, as scikit-learn takes a single one for a binary problem.
        scores, targets = (np.hstack([values, np.ones((len(values), 1))]) for values in case)
        targets = targets.astype(int)
        predicted = (scores >= 0.5).astype(int)
        expected = [
            score(targets, predicted, average=average, zero_division=0)
            for average in ("macro", "micro")
            for score in (precision_score, recall_score, f1_score)
        ]
        CP, CR, _, OP, OR, OF1, macro_F1 = precision_recall(scores, targets, 0.5)
        assert [CP, CR, macro_F1, OP, OR, OF1] == pytest.approx(expected)

    def test_the_two_f1_of_the_categories(self):
        # Category 0: precision 1, recall 1/2. Category 1: precision 1/2, recall 1.
        scores = np.array([[0.9, 0.9], [0.1, 0.9]])
        result = precision_recall(scores, np.array([[1, 1], [1, 0]]), 0.5)
        # CF1 is of the means, 3/4 and 3/4; macro_F1 is the mean, of 2/3 and 2/3.
        values = {"CP": 3 / 4, "CR": 3 / 4, "CF1": 3 / 4, "OP": 2 / 3, "OR": 2 / 3, "OF1": 2 / 3}
        assert result._asdict() == pytest.approx({**values, "macro_F1": 2 / 3})

    @pytest.mark.parametrize(
        ("scores", "targets", "top_k", "expected"),
        [
            # A label at exactly the threshold is predicted.
            ([[0.5]], [[1]], None, (1, 1, 1, 1, 1, 1, 1)),
            ([[0.4999]], [[1]], None, (0, 0, 0, 0, 0, 0, 0)),
            # The second category is never predicted: its precision is 0, and counts.
            ([[0.9, 0.1]], [[1, 1]], None, (0.5, 0.5, 0.5, 1, 0.5, 2 / 3, 0.5)),
            # The second category has no positives: it has no recall and no F1, but a precision.
            ([[0.9, 0.1]], [[1, 0]], None, (0.5, 1, 2 / 3, 1, 1, 1, 1)),
            # No positives at all, nothing predicted, and both.
            ([[0.9, 0.9]], [[0, 0]], None, (0, 0, 0, 0, 0, 0, 0)),
            ([[0.1, 0.1]], [[1, 1]], None, (0, 0, 0, 0, 0, 0, 0)),
            ([[0.1, 0.1]], [[0, 0]], None, (0, 0, 0, 0, 0, 0, 0)),
            # What is unknown counts neither as predicted nor as true.
            ([[0.9], [0.9]], [[1], [-1]], None, (1, 1, 1, 1, 1, 1, 1)),
            ([[0.9], [0.1]], [[-1], [-1]], None, (0, 0, 0, 0, 0, 0, 0)),
            # A category that is unknown in every image is no category, predicted or not.
            ([[0.9, 0.9]], [[1, -1]], None, (1, 1, 1, 1, 1, 1, 1)),
            ([[0.9, 0.1]], [[1, -1]], None, (1, 1, 1, 1, 1, 1, 1)),
            # Four categories above the threshold, of which three are looked at.
            ([[0.6, 0.7, 0.8, 0.9]], [[1, 1, 1, 1]], 3, (0.75, 0.75, 0.75, 1, 0.75, 6 / 7, 0.75)),
            ([[0.6, 0.7, 0.8, 0.9]], [[1, 1, 1, 1]], None, (1, 1, 1, 1, 1, 1, 1)),
            # What is unknown takes its place among the three.
            (
                [[0.6, 0.7, 0.8, 0.9]],
                [[1, 1, 1, -1]],
                3,
                (2 / 3, 2 / 3, 2 / 3, 1, 2 / 3, 0.8, 2 / 3),
            ),
            # Of equals, the first are among the top three.
            ([[0.9, 0.9, 0.9, 0.9]], [[0, 0, 0, 1]], 3, (0, 0, 0, 0, 0, 0, 0)),
            ([[0.9, 0.9, 0.9, 0.9]], [[1, 0, 0, 0]], 3, (1 / 4, 1, 2 / 5, 1 / 3, 1, 1 / 2, 1)),
            # Being among the top three is not enough.
            ([[0.1, 0.2, 0.6]], [[1, 1, 1]], 3, (1 / 3, 1 / 3, 1 / 3, 1, 1 / 3, 1 / 2, 1 / 3)),
            # There are fewer categories than top_k.
            ([[0.9, 0.9]], [[1, 0]], 3, (0.5, 1, 2 / 3, 0.5, 1, 2 / 3, 1)),
        ],
    )
    def test_edges(self, scores, targets, top_k, expected):
        result = precision_recall(np.array(scores), np.array(targets), 0.5, top_k)
        assert result == pytest.approx(expected)
        assert all(type(value) is float for value in result)

    @pytest.mark.parametrize(
        ("logit", "predicted"),
        [(0.0, True), (-0.0, True), (5e-324, True), (-5e-324, False), (-1e-9, False)],
    )
    def test_a_logit_of_zero_is_a_probability_of_one_half(self, logit, predicted):
        result = precision_recall(np.array([[logit]]), np.array([[1]]), threshold=0.0)
        assert set(result) == {float(predicted)}
        assert torch.tensor(0.0, dtype=torch.float64).sigmoid().item() == 0.5

    def test_logits_rank_where_probabilities_are_all_one(self):
        logits, targets = np.array([[40.0, 41.0, 42.0, 43.0]]), np.array([[0, 0, 0, 1]])
        probabilities = torch.from_numpy(logits).sigmoid().numpy()
        assert precision_recall(logits, targets, 0.0, top_k=1).OP == 1
        assert precision_recall(probabilities, targets, 0.5, top_k=1).OP == 0

    @given(predictions(), st.sampled_from([None, 2]))
    def test_the_meter_of_ml_gcn_equals_its_code(self, case, top_k):
        scores, targets = case
        # Where their code divides by 0 there is nothing to compare.
        expected = ml_gcn_evaluation(scores, targets.copy(), 0.5, top_k or len(scores[0]))
        result = precision_recall(scores, targets, 0.5, top_k, meter="ml_gcn")
        for name, value in expected.items():
            if not math.isnan(value):
                assert getattr(result, name) == pytest.approx(value), name

    def test_the_two_meters_differ_in_what_is_unknown_and_never_predicted(self):
        scores = np.array([[0.9, 0.9, 0.1], [0.9, 0.1, 0.1]])
        targets = np.array([[1, 1, 1], [-1, 0, 0]])
        ours = precision_recall(scores, targets, 0.5)
        theirs = precision_recall(scores, targets, 0.5, meter="ml_gcn")
        # Known pairs alone: 2 predictions, both right. The third category is never predicted.
        assert pytest.approx((2 / 3, 1)) == (ours.CP, ours.OP)
        # The unknown one is a mistake, and the third category counts as predicted once.
        assert pytest.approx((1.5 / 3, 2 / 4)) == (theirs.CP, theirs.OP)
        assert (ours.CR, ours.OR) == (theirs.CR, theirs.OR)

    @given(predictions())
    def test_top_k_of_all_categories_is_all(self, case):
        scores, targets = case
        assert precision_recall(scores, targets, 0.5, top_k=len(scores[0])) == (
            precision_recall(scores, targets, 0.5)
        )


class TestBootstrapDifference:
    @pytest.fixture
    def case(self):
        """Scores that are better than others, and targets of which some are unknown."""
        rng = np.random.default_rng(0)
        targets = rng.integers(-1, 2, (40, 3))
        return targets + 2 * rng.random((40, 3)), rng.random((40, 3)), targets

    def test_equals_a_slow_loop_over_the_same_draws(self, case):
        scores, others, targets = case
        draw, gains = np.random.default_rng(5), []
        for _ in range(30):
            images = draw.integers(40, size=40)
            one, other = (
                mean_average_precision(values[images], targets[images])
                for values in (scores, others)
            )
            gains.append(one - other)
        gain = mean_average_precision(scores, targets) - mean_average_precision(others, targets)
        low, high = 2 * gain - np.quantile(gains, (0.9, 0.1))
        interval = bootstrap_difference(scores, others, targets, 30, seed=5, confidence=0.8)
        assert interval == pytest.approx((low, high))

    def test_the_other_way_round_it_is_mirrored(self, case):
        scores, others, targets = case
        low, high = bootstrap_difference(scores, others, targets, 50)
        assert 0 < low < high
        assert bootstrap_difference(others, scores, targets, 50) == pytest.approx((-high, -low))

    def test_equal_scores_differ_by_nothing(self, case):
        scores, _, targets = case
        assert bootstrap_difference(scores, scores, targets, 5) == Interval(0, 0)

    @pytest.mark.parametrize(("resamples", "confidence"), [(0, 0.5), (5, 0.0), (5, 1.0)])
    def test_impossible_settings_are_refused(self, case, resamples, confidence):
        scores, others, targets = case
        with pytest.raises(ValueError, match=r"resamples is 0|confidence is"):
            bootstrap_difference(scores, others, targets, resamples, 0, confidence)
