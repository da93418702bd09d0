import numpy as np
import pytest
from cleanlab.multilabel_classification.rank import get_label_quality_scores_per_class

from didvit.curation.audit import audit
from didvit.curation.heads import out_of_sample
from didvit.data.table import DataError
from didvit.decisions.calibration import sigmoid

LABELS = ("cat", "dog", "car")


def data(count=600, seed=0):
    """Labels that follow from the features, of which some are turned."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((count, 3)) < 0.3).astype(np.int64)
    features = np.concatenate([3 * targets, np.zeros((count, 3))], 1) + rng.normal(size=(count, 6))
    given = targets.copy()
    turned = rng.random(given.shape) < 0.03
    given[turned] = 1 - given[turned]
    return features, given, turned


def test_most_suspicions_are_true():
    features, given, turned = data()
    found = audit(features, given, LABELS).suspicions[:30]
    assert sum(turned[one.image, one.label] for one in found) >= 24


def test_kinds_scores_and_order():
    features, given, _ = data()
    found = audit(features, given, LABELS).suspicions
    assert [one.suspicion for one in found] == sorted((o.suspicion for o in found), reverse=True)
    assert {one.kind for one in found} == {"missing", "wrong"}
    for one in found:
        has = given[one.image, one.label] == 1
        assert one.kind == ("wrong" if has else "missing")
        assert one.suspicion == pytest.approx(1 - one.score if has else one.score)
        assert one.suspicion > 0.5


def test_suspicion_is_the_complement_of_cleanlabs_self_confidence():
    features, given, _ = data()
    probabilities = sigmoid(out_of_sample(features, given, 5, 0))
    rows = [np.flatnonzero(row).tolist() for row in given]
    quality = get_label_quality_scores_per_class(rows, probabilities, method="self_confidence")
    for one in audit(features, given, LABELS).suspicions:
        assert 1 - one.suspicion == pytest.approx(quality[one.image, one.label], abs=1e-9)


def test_unknown_labels_are_never_suspected():
    features, given, turned = data()
    given[turned] = -1
    found = audit(features, given, LABELS).suspicions
    assert not any(turned[one.image, one.label] for one in found)


def test_labels_that_cannot_be_audited_are_left_out_with_the_reason():
    features, given, _ = data()
    given[:, 0] = 0
    given[3:, 1] = 0
    given[:3, 1] = 1
    result = audit(features, given, LABELS)
    assert result.left_out == {
        "cat": "no image is known to have it",
        "dog": "it has 3 positives, fewer than the 5 folds",
    }
    assert {one.label for one in result.suspicions} == {2}


def test_what_cannot_be_audited_at_all():
    features, given, _ = data(4)
    with pytest.raises(DataError, match="4 images can be read, and the audit makes 5 parts"):
        audit(features, given, LABELS)
    features, given, _ = data()
    with pytest.raises(DataError, match="no label can be audited: it is unknown in every image"):
        audit(features, np.full_like(given, -1), LABELS)
