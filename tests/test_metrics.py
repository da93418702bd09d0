import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import average_precision_score

from didvit.metrics import (
    average_precision,
    average_precisions,
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
    return sum(precisions) / len(precisions) if precisions else math.nan


def slow_voc11(scores, targets):
    """VOC's loop; recalls are compared as integers, so that 3 of 10 is exactly 0.3."""
    known = [(s, t) for s, t in zip(scores, targets, strict=True) if t != -1]
    ranked = [t for _, t in sorted(known, key=lambda pair: -pair[0])]
    positives = sum(ranked)
    if not positives:
        return math.nan
    total = 0.0
    for tenth in range(11):
        best, hits = 0.0, 0
        for rank, target in enumerate(ranked, 1):
            hits += target
            if 10 * hits >= tenth * positives:
                best = max(best, hits / rank)
        total += best
    return total / 11


def slow_precision_recall(probabilities, targets, threshold, top_k):
    images, categories = probabilities.shape
    Np, Ng, Nc = [0] * categories, [0] * categories, [0] * categories
    for i in range(images):
        top = sorted(range(categories), key=lambda c: (-probabilities[i, c], c))[:top_k]
        for c in range(categories):
            if targets[i, c] == -1:
                continue
            predicted = probabilities[i, c] >= threshold and c in top
            Np[c] += predicted
            Ng[c] += targets[i, c]
            Nc[c] += predicted and targets[i, c]
    CP = sum(Nc[c] / Np[c] if Np[c] else 0.0 for c in range(categories)) / categories
    recalls = [Nc[c] / Ng[c] for c in range(categories) if Ng[c]]
    CR = sum(recalls) / len(recalls) if recalls else 0.0
    OP = sum(Nc) / sum(Np) if sum(Np) else 0.0
    OR = sum(Nc) / sum(Ng) if sum(Ng) else 0.0
    return CP, CR, harmonic(CP, CR), OP, OR, harmonic(OP, OR)


def harmonic(a, b):
    return 2 * a * b / (a + b) if a + b else 0.0


# Few distinct scores, so that ties are the rule.
SCORES = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0])


@st.composite
def ranking(draw, targets=(-1, 0, 1)):
    size = draw(st.integers(1, 30))
    scores = draw(hnp.arrays(np.float64, size, elements=SCORES | st.floats(-5, 5)))
    return scores, draw(hnp.arrays(np.int64, size, elements=st.sampled_from(targets)))


@st.composite
def predictions(draw):
    shape = draw(st.integers(1, 8)), draw(st.integers(1, 6))
    probabilities = draw(hnp.arrays(np.float64, shape, elements=SCORES))
    return probabilities, draw(hnp.arrays(np.int64, shape, elements=st.sampled_from([-1, 0, 1])))


class TestAveragePrecision:
    @given(ranking())
    def test_equals_the_slow_loop(self, case):
        scores, targets = case
        expected = slow_average_precision(scores, targets)
        assert average_precision(scores, targets) == pytest.approx(expected, nan_ok=True)

    @given(ranking(targets=(0, 1)).filter(lambda case: case[1].any()))
    def test_equals_scikit_learn(self, case):
        scores, targets = case
        expected = average_precision_score(targets, scores)
        assert average_precision(scores, targets) == pytest.approx(expected)

    @pytest.mark.parametrize("levels", [1, 2, 7, None])
    @pytest.mark.parametrize("positives", [1, 20, 199, 200])
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
            ([0.9, 0.8], [-1, 1], 1.0),
            ([0.9, 0.8, 0.7], [0, -1, 1], 1 / 2),
            ([-3.0], [1], 1.0),
        ],
    )
    def test_literal_values(self, scores, targets, expected):
        assert average_precision(np.array(scores), np.array(targets)) == pytest.approx(expected)

    @pytest.mark.parametrize("targets", [[0, 0, 0], [-1, -1, -1], [0, -1, 0]])
    def test_without_positives_it_is_nan(self, targets):
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

    def test_of_every_category(self):
        scores = np.array([[0.9, 0.1, 0.2], [0.8, 0.6, 0.9]])
        targets = np.array([[0, 0, 0], [1, 1, 0]])
        values = average_precisions(scores, targets)
        np.testing.assert_allclose(values, [0.5, 1.0, np.nan])


class TestVoc11:
    @given(ranking())
    def test_equals_the_slow_loop(self, case):
        scores, targets = case
        expected = slow_voc11(scores, targets)
        assert voc11_average_precision(scores, targets) == pytest.approx(expected, nan_ok=True)

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
            ([1], 1.0),
            ([1, 1, 1], 1.0),
            ([0, 1], 1 / 2),
            # Recall 1/2 is reached at rank 1: 0 to 0.5 have precision 1, 0.6 to 1 have 2/3.
            ([1, 0, 1], (6 * 1 + 5 * 2 / 3) / 11),
            # The precision of a later, higher recall counts for the lower ones.
            ([0, 1, 1], 2 / 3),
            # Ten positives; after three, recall is exactly 0.3, and then everything is lost.
            ([1, 1, 1] + [0] * 90 + [1] * 7, (4 * 1 + 7 * 10 / 100) / 11),
            ([1] * 6 + [0] * 90 + [1] * 4, (7 * 1 + 4 * 10 / 100) / 11),
            ([1] * 7 + [0] * 90 + [1] * 3, (8 * 1 + 3 * 10 / 100) / 11),
            ([-1, 1], 1.0),
        ],
    )
    def test_literal_values(self, ranked, expected):
        scores = np.linspace(1, 0, len(ranked))
        assert voc11_average_precision(scores, np.array(ranked)) == pytest.approx(expected)

    def test_without_positives_it_is_nan(self):
        assert math.isnan(voc11_average_precision(np.array([0.5, 0.4]), np.array([0, -1])))


class TestPrecisionRecall:
    @settings(max_examples=200)
    @given(predictions(), st.sampled_from([None, 1, 3, 9]), st.sampled_from([0.0, 0.25, 0.5, 0.75]))
    def test_equals_the_slow_loop(self, case, top_k, threshold):
        probabilities, targets = case
        expected = slow_precision_recall(probabilities, targets, threshold, top_k)
        assert precision_recall(probabilities, targets, threshold, top_k) == pytest.approx(expected)

    @pytest.mark.parametrize("top_k", [None, 3])
    def test_equals_the_slow_loop_on_larger_sets(self, top_k):
        rng = np.random.default_rng(0)
        probabilities, targets = rng.random((60, 8)), rng.integers(-1, 2, (60, 8))
        expected = slow_precision_recall(probabilities, targets, 0.5, top_k)
        assert precision_recall(probabilities, targets, top_k=top_k) == pytest.approx(expected)

    def test_cf1_is_of_the_means(self):
        # Category 0: precision 1, recall 1/2. Category 1: precision 1/2, recall 1.
        probabilities = np.array([[0.9, 0.9], [0.1, 0.9]])
        result = precision_recall(probabilities, np.array([[1, 1], [1, 0]]))
        # The mean of the F1s would be 2/3.
        assert result == pytest.approx((0.75, 0.75, 0.75, 2 / 3, 2 / 3, 2 / 3))

    @pytest.mark.parametrize(
        ("probabilities", "targets", "top_k", "expected"),
        [
            # A label at exactly the threshold is predicted.
            ([[0.5]], [[1]], None, (1, 1, 1, 1, 1, 1)),
            ([[0.4999]], [[1]], None, (0, 0, 0, 0, 0, 0)),
            # The second category is never predicted: its precision is 0, and counts.
            ([[0.9, 0.1]], [[1, 1]], None, (0.5, 0.5, 0.5, 1, 0.5, 2 / 3)),
            # The second category has no positives: it has no recall, but a precision.
            ([[0.9, 0.1]], [[1, 0]], None, (0.5, 1, 2 / 3, 1, 1, 1)),
            # No positives at all, nothing predicted, and both.
            ([[0.9, 0.9]], [[0, 0]], None, (0, 0, 0, 0, 0, 0)),
            ([[0.1, 0.1]], [[1, 1]], None, (0, 0, 0, 0, 0, 0)),
            ([[0.1, 0.1]], [[0, 0]], None, (0, 0, 0, 0, 0, 0)),
            # What is unknown counts neither as predicted nor as true.
            ([[0.9], [0.9]], [[1], [-1]], None, (1, 1, 1, 1, 1, 1)),
            ([[0.9], [0.1]], [[-1], [-1]], None, (0, 0, 0, 0, 0, 0)),
            # Four categories above the threshold, of which three are looked at.
            ([[0.6, 0.7, 0.8, 0.9]], [[1, 1, 1, 1]], 3, (0.75, 0.75, 0.75, 1, 0.75, 6 / 7)),
            ([[0.6, 0.7, 0.8, 0.9]], [[1, 1, 1, 1]], None, (1, 1, 1, 1, 1, 1)),
            # Of equals, the first are among the top three.
            ([[0.9, 0.9, 0.9, 0.9]], [[0, 0, 0, 1]], 3, (0, 0, 0, 0, 0, 0)),
            ([[0.9, 0.9, 0.9, 0.9]], [[1, 0, 0, 0]], 3, (1 / 4, 1, 2 / 5, 1 / 3, 1, 1 / 2)),
            # Being among the top three is not enough.
            ([[0.1, 0.2, 0.6]], [[1, 1, 1]], 3, (1 / 3, 1 / 3, 1 / 3, 1, 1 / 3, 1 / 2)),
            # There are fewer categories than top_k.
            ([[0.9, 0.9]], [[1, 0]], 3, (0.5, 1, 2 / 3, 0.5, 1, 2 / 3)),
        ],
    )
    def test_edges(self, probabilities, targets, top_k, expected):
        result = precision_recall(np.array(probabilities), np.array(targets), top_k=top_k)
        assert result == pytest.approx(expected)
        assert all(type(value) is float for value in result)

    @given(predictions())
    def test_top_k_of_all_categories_is_all(self, case):
        probabilities, targets = case
        assert precision_recall(probabilities, targets, top_k=len(probabilities[0])) == (
            precision_recall(probabilities, targets)
        )
