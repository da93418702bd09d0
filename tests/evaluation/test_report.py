import json

import numpy as np
import pytest
import torch
from PIL import Image

from didvit.config import ConfigError
from didvit.data.images import read_image
from didvit.data.table import DataError, Table
from didvit.evaluation import metrics
from didvit.evaluation.metrics import bootstrap_interval, voc11_average_precision
from didvit.evaluation.report import report
from didvit.evaluation.scores import Scores, merge_scores
from didvit.evaluation.scoring import score_table
from didvit.method.views import resize_whole
from didvit.modeling.checkpoint import load_checkpoint

LABELS = ("cat", "cup", "dog", "person", "spoon")
SIZE = (32, 48)
CPU = torch.device("cpu")
FUSIONS = ("global", "local", "max", "mean")


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Table:
    """Ten pictures of different sizes; no image has 'person', one has no label."""
    folder = tmp_path_factory.mktemp("table")
    rng = np.random.default_rng(5)
    images, image_labels = [], []
    for i in range(10):
        coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        images.append(folder / f"{i}.png")
        coarse.resize((30 + 7 * i, 70 - 3 * i), Image.Resampling.BILINEAR).save(images[-1])
        present = [label for label in LABELS if label != "person" and rng.random() < 0.5]
        image_labels.append(frozenset(present if i else ()))
    return Table(tuple(images), tuple(image_labels), LABELS)


@pytest.fixture(scope="module")
def model(model_folder):
    return load_checkpoint(model_folder).model


@pytest.fixture(scope="module")
def logits(model, table):
    """Global and local logits of every image, looked at one by one."""
    rows = []
    with torch.inference_mode():
        for path in table.images:
            source = torch.from_numpy(read_image(path)).permute(2, 0, 1)
            output = model(resize_whole([source], SIZE), [source])
            rows.append((output.global_logits[0].tolist(), output.local_logits[0].tolist()))
    return np.array(rows).transpose(1, 0, 2)


def fuse(fusion, logits):
    global_logits, local_logits = logits
    return {
        "global": global_logits,
        "local": local_logits,
        "max": np.maximum(global_logits, local_logits),
        "mean": (global_logits + local_logits) / 2,
    }[fusion]


def average_precision(scores, positive):
    ranked = sorted(range(len(scores)), key=lambda i: -scores[i])
    hits, precisions = 0, []
    for rank, i in enumerate(ranked, start=1):
        if positive[i]:
            hits += 1
            precisions.append(hits / rank)
    return 100 * sum(precisions) / len(precisions)


def precision_recall(scores, truth, top_k):
    """CP, CR, CF1, OP, OR, OF1, macro F1 in percent, by counting."""
    predicted = np.zeros(truth.shape, bool)
    for i, row in enumerate(scores):
        top = sorted(range(len(row)), key=lambda c: -row[c])[:top_k]
        for c in top:
            predicted[i, c] = row[c] >= 0  # a logit of 0 is a probability of one half
    correct, n_predicted, n_true = (predicted & truth).sum(0), predicted.sum(0), truth.sum(0)
    precisions = [c / p if p else 0 for c, p in zip(correct, n_predicted, strict=True)]
    recalls = [c / t for c, t in zip(correct, n_true, strict=True) if t]
    values = []
    for p, r in (
        (sum(precisions) / len(precisions), sum(recalls) / len(recalls)),
        (correct.sum() / n_predicted.sum(), correct.sum() / n_true.sum()),
    ):
        values += [100 * p, 100 * r, 100 * 2 * p * r / (p + r)]
    f1 = [200 * c / (p + t) for c, p, t in zip(correct, n_predicted, n_true, strict=True) if t]
    return [*values, sum(f1) / len(f1)]


@pytest.mark.parametrize("fusion", FUSIONS)
def test_report_equals_metrics_by_hand(model, table, logits, fusion):
    result = report(score_table(model, table, SIZE, CPU), LABELS).fusions[fusion]
    scores, truth = fuse(fusion, logits), table.targets == 1
    expected = {
        label: average_precision(scores[:, c], truth[:, c]) if truth[:, c].any() else None
        for c, label in enumerate(LABELS)
    }
    assert expected["person"] is None
    assert pytest.approx(expected, abs=1e-6) == result.AP
    known = [ap for ap in expected.values() if ap is not None]
    by_voc = [
        voc11_average_precision(*column) for column in zip(scores.T, table.targets.T, strict=True)
    ]
    assert result.mAP_11_point == pytest.approx(100 * np.nanmean(by_voc))
    assert result.mAP == pytest.approx(sum(known) / len(known))
    assert list(result.all) == pytest.approx(precision_recall(scores, truth, len(LABELS)))
    assert list(result.top3) == pytest.approx(precision_recall(scores, truth, 3))


def test_fusions_and_top3_differ_here(model, table):
    """Else the test above would not tell them apart."""
    fusions = report(score_table(model, table, SIZE, CPU), LABELS).fusions
    assert len({fusion.mAP for fusion in fusions.values()}) >= 3
    assert any(fusion.all != fusion.top3 for fusion in fusions.values())


def scores_of(global_logits, local_logits, targets):
    return Scores(np.arange(len(targets)), global_logits, local_logits, targets, ())


def test_perfect_and_reversed_scores_in_percent():
    targets = np.array([[1, 0], [0, 1]])
    good = np.where(targets == 1, 3.0, -3.0)
    result = report(scores_of(good, good, targets), ("a", "b"))
    for fusion in result.fusions.values():
        assert fusion.mAP == 100
        assert fusion.AP == {"a": 100, "b": 100}
        assert tuple(fusion.all) == tuple(fusion.top3) == (100,) * 7
    fusion = report(scores_of(-good, good, targets), ("a", "b")).fusions["global"]
    assert fusion.mAP == 50
    assert tuple(fusion.all) == (0,) * 7


def test_top3_takes_three_of_an_image():
    logits = np.array([[5.0, 4.0, 3.0, 2.0, 1.0]])
    fusion = report(scores_of(logits, logits, np.ones((1, 5), int)), LABELS).fusions["mean"]
    assert fusion.all.OR == 100
    assert pytest.approx(60) == fusion.top3.OR
    assert pytest.approx(60) == fusion.top3.CP
    assert fusion.top3.OP == 100


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_batch_size_does_not_matter(model, table, logits, batch_size):
    scores = score_table(model, table, SIZE, CPU, batch_size)
    np.testing.assert_allclose(scores.global_logits, logits[0], atol=1e-4)
    np.testing.assert_allclose(scores.local_logits, logits[1], atol=1e-4)
    np.testing.assert_array_equal(scores.targets, table.targets)
    np.testing.assert_array_equal(scores.indices, np.arange(10))


def test_workers_do_not_matter(model, broken_table):
    one, other = (score_table(model, broken_table, SIZE, CPU, 3, workers) for workers in (0, 2))
    assert same_scores(one, other)


def same_scores(one, other):
    return one.failures == other.failures and all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("indices", "global_logits", "local_logits", "targets")
    )


@pytest.mark.parametrize("world_size", [1, 2, 3, 5, 20])
@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_merged_parts_equal_the_whole(model, broken_table, world_size, batch_size):
    """Of sizes that differ, and of none at all, with images that cannot be read."""
    whole = score_table(model, broken_table, SIZE, CPU, 1)
    parts = [
        score_table(model, broken_table, SIZE, CPU, batch_size, part=(rank, world_size))
        for rank in range(world_size)
    ]
    merged = merge_scores(parts)
    np.testing.assert_array_equal(merged.indices, whole.indices)
    np.testing.assert_array_equal(merged.targets, whole.targets)
    np.testing.assert_allclose(merged.global_logits, whole.global_logits, atol=1e-4)
    np.testing.assert_allclose(merged.local_logits, whole.local_logits, atol=1e-4)
    assert sorted(merged.failures) == sorted(whole.failures)
    merged_mAP, mAP = (report(s, LABELS).fusions["mean"].mAP for s in (merged, whole))
    assert merged_mAP == pytest.approx(mAP)


def test_indices_lead_to_the_images(model, broken_table):
    scores = score_table(model, broken_table, SIZE, CPU, 3)
    assert scores.indices.tolist() == [i for i in range(14) if i not in (0, 4, 5, 9)]
    for i, target in zip(scores.indices, scores.targets, strict=True):
        assert (target == broken_table.targets[i]).all()


def test_interval_is_that_of_the_logits_in_percent(model, table):
    scores = score_table(model, table, SIZE, CPU)
    result = report(scores, LABELS, resamples=50)
    for name, fusion in result.fusions.items():
        logits = fuse(name, (scores.global_logits, scores.local_logits))
        low, high = bootstrap_interval(logits, scores.targets, 50)
        assert tuple(fusion.mAP_interval) == pytest.approx((100 * low, 100 * high))
    written = strict_json(result.to_dict())["fusions"]["mean"]["mAP_interval"]
    assert written == list(result.fusions["mean"].mAP_interval)


def test_unknown_labels_are_left_out():
    targets = np.array([[1, 0], [-1, 1], [0, -1]])
    logits = np.array([[1.0, -5.0], [9.0, 2.0], [-1.0, 7.0]])
    result = report(scores_of(logits, logits, targets), ("a", "b"))
    fusion = result.fusions["mean"]
    assert result.left_out == {}
    assert fusion.AP == {"a": 100, "b": 100}
    assert fusion.all.OP == fusion.all.OR == 100


def test_advance_counts_every_image(model, table):
    done = []
    score_table(model, table, SIZE, CPU, 4, advance=done.append)
    assert done == [4, 4, 2]


@pytest.fixture
def broken_table(table, tmp_path) -> Table:
    """The table with unreadable images at the start, amid, and in a batch of their own."""
    images, image_labels = list(table.images), list(table.image_labels)
    for place in (0, 4, 5, 9):
        path = tmp_path / f"broken{place}.jpg"
        path.write_text("not an image")
        images.insert(place, path)
        image_labels.insert(place, frozenset(["person"]))
    return Table(tuple(images), tuple(image_labels), LABELS)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_unreadable_images_are_left_out_and_listed(model, table, broken_table, batch_size):
    scores = score_table(model, broken_table, SIZE, CPU, batch_size)
    whole = score_table(model, table, SIZE, CPU)
    np.testing.assert_allclose(scores.global_logits, whole.global_logits, atol=1e-4)
    np.testing.assert_array_equal(scores.targets, table.targets)
    result = report(scores, LABELS)
    assert result.num_images == 10
    assert len(result.failures) == 4
    for place, failure in zip((0, 4, 5, 9), result.failures, strict=True):
        assert f"broken{place}.jpg" in failure
    assert result.fusions["mean"].AP["person"] is None


@pytest.mark.parametrize("training", [True, False])
def test_model_is_left_in_its_mode(model, table, broken_table, training):
    model.train(training)
    try:
        score_table(model, table, SIZE, CPU)
        assert model.training is training
        bad = Table(broken_table.images[:1], broken_table.image_labels[:1], LABELS)
        scores = score_table(model, bad, SIZE, CPU)
        assert model.training is training
        with pytest.raises(DataError, match=r"no image can be read.*broken0\.jpg"):
            report(scores, LABELS)
    finally:
        model.eval()


def test_model_is_scored_in_evaluation_mode(model, table):
    modes = []
    hook = model.head.register_forward_hook(lambda head, *_: modes.append(head.training))
    model.train()
    try:
        score_table(model, table, SIZE, CPU)
    finally:
        hook.remove()
        model.eval()
    assert modes
    assert not any(modes)


def test_impossible_batch_size_is_refused(model, table):
    with pytest.raises(ConfigError, match="batch_size is 0"):
        score_table(model, table, SIZE, CPU, 0)


def strict_json(content) -> dict:
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(json.dumps(content), parse_constant=refuse)


def test_to_dict_is_the_json_of_the_contract(model, broken_table):
    content = strict_json(report(score_table(model, broken_table, SIZE, CPU), LABELS).to_dict())
    assert content["num_images"] == 10
    assert content["left_out"] == {"person": "no image is known to have it"}
    assert tuple(content["fusions"]) == FUSIONS
    for fusion in content["fusions"].values():
        keys = ["mAP", "mAP_interval", "mAP_11_point", "AP", "all", "top3"]
        assert sorted(fusion) == sorted(keys)
        assert fusion["mAP_interval"] is None
        assert tuple(fusion["AP"]) == LABELS
        assert fusion["AP"]["person"] is None
        for part in ("all", "top3"):
            assert list(fusion[part]) == ["CP", "CR", "CF1", "OP", "OR", "OF1", "macro_F1"]


def test_no_label_at_all_is_still_json():
    logits = np.array([[1.0, -1.0]])
    content = report(scores_of(logits, logits, np.zeros((1, 2), int)), ("a", "b")).to_dict()
    fusion = strict_json(content)["fusions"]["mean"]
    assert fusion["mAP"] is fusion["mAP_11_point"] is None
    assert fusion["AP"] == {"a": None, "b": None}


def test_a_label_that_every_image_has_does_not_count_in_the_mean():
    """Any order of the images would score 100 on it."""
    targets = np.array([[1, 1, 1, -1], [0, 1, -1, -1], [1, 1, 1, -1]])
    logits = np.array([[1.0, 5, 5, 5], [2.0, 5, 5, 5], [-1.0, 5, 5, 5]])
    labels = ("a", "everywhere", "never lacking", "unknown")
    result = report(scores_of(logits, logits, targets), labels, resamples=5)
    assert result.left_out == {
        "everywhere": "no image is known to lack it",
        "never lacking": "no image is known to lack it",
        "unknown": "it is unknown in every image",
    }
    for fusion in result.fusions.values():
        mean = 100 * (1 / 2 + 2 / 3) / 2
        assert {
            "a": pytest.approx(mean), "everywhere": None, "never lacking": None, "unknown": None,
        } == fusion.AP  # fmt: skip
        assert fusion.mAP == pytest.approx(mean)


def test_with_nothing_but_labels_that_every_image_has_there_is_no_mean():
    ones = np.ones((2, 1), int)
    content = report(scores_of(ones + 0.5, ones + 0.5, ones), ("a",), resamples=5).to_dict()
    fusion = strict_json(content)["fusions"]["mean"]
    assert fusion["mAP"] is fusion["mAP_11_point"] is fusion["mAP_interval"] is None


def test_the_meter_is_the_one_asked_for():
    targets, logits = np.array([[1, 1], [-1, 0]]), np.array([[1.0, -1], [1.0, -1]])
    for meter in ("known", "ml_gcn"):
        fusion = report(scores_of(logits, logits, targets), ("a", "b"), meter=meter).fusions["max"]
        expected = metrics.precision_recall(logits, targets, 0.0, meter=meter)
        assert tuple(fusion.all) == pytest.approx([100 * value for value in expected])
        assert pytest.approx({"known": 100, "ml_gcn": 100 / 3}[meter]) == fusion.all.OP


@pytest.mark.parametrize("top_n", [0, 2])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_hold_nan_are_refused_with_and_without_regions(
    save_tiny_model, table, tmp_path, top_n, value
):
    damaged = load_checkpoint(save_tiny_model(tmp_path / "m", top_n=top_n)).model
    with torch.no_grad():
        next(damaged.head.parameters()).fill_(value)
    with pytest.raises(ValueError, match="the weights are damaged"):
        score_table(damaged, table, SIZE, CPU)
