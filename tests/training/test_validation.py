import dataclasses
import json
import math

import pytest
import torch

from didvit.data.datasets import read_dataset
from didvit.evaluation.report import report
from didvit.evaluation.scoring import score_table
from didvit.modeling.checkpoint import load_checkpoint
from didvit.training import trainer as training
from didvit.training.trainer import train
from didvit.training.validation import best_step
from runs import MODEL, Record, results_of, tiny_config

pytestmark = pytest.mark.usefixtures("without_curves")

# Which evaluation is the best


def evaluations(whole_images, own_fusion):
    """The history of an evaluation after every step."""
    pairs = zip(whole_images, own_fusion, strict=True)
    return [
        {"step": step, "loss": 1.0, "val_global": whole, "val_mean": own}
        for step, (whole, own) in enumerate(pairs, 1)
    ]


@pytest.mark.parametrize(
    ("single_view_steps", "whole_images", "own_fusion", "expected"),
    [
        (0, (1, 9, 1, 1), (1, 2, 4, 3), (1, 2, 3, 3)),  # the model's fusion alone counts
        (0, (1, 1, 1, 1), (5, 5, 5, 5), (1, 1, 1, 1)),  # the first of equals
        (2, (9, 8, 1, 1), (9, 8, 3, 2), (1, 1, 3, 3)),  # chosen anew after the single-view steps
        (2, (8, 9, 1, 1), (8, 9, 3, 4), (1, 2, 3, 4)),
        (3, (8, 9, 7, 1), (8, 9, 7, 1), (1, 2, 2, 4)),  # the last has nothing to compete with
        (
            4,
            (8, 9, 7, 6),
            (8, 9, 7, 99),
            (1, 2, 2, 2),
        ),  # whole images choose among those steps
        (4, (6, 7, 8, 9), (6, 7, 8, 1), (1, 2, 3, 4)),
    ],
)
def test_best_step(make_config, single_view_steps, whole_images, own_fusion, expected):
    config = make_config(steps=4, single_view_fraction=single_view_steps / 4, evaluate_every=1)
    history = evaluations(whole_images, own_fusion)
    assert tuple(best_step(config, history[:count]) for count in range(1, 5)) == expected
    last = dataclasses.replace(config, choose="last")
    assert tuple(best_step(last, history[:count]) for count in range(1, 5)) == (1, 2, 3, 4)


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_where_nothing_can_be_measured_the_newest_step_wins(make_config, fraction):
    config = make_config(steps=4, single_view_fraction=fraction, evaluate_every=1)
    history = evaluations([math.nan] * 4, [math.nan] * 4)
    assert [best_step(config, history[:count]) for count in range(1, 5)] == [1, 2, 3, 4]


# A run of single-view steps alone

SETTINGS = {
    "steps": 4,
    "single_view_fraction": 1.0,
    "evaluate_every": 1,
    "save_every": 2,
    "batch_size": 2,
    "freeze_backbone": False,
    "ema": 0.5,
    "localization": "random",
}


def score_whole_images(monkeypatch, *scores):
    """Let whole images have these mAPs at the steps; what is scored after them is not touched."""
    left = list(scores)

    def fake(*arguments):
        result = report(*arguments)
        if left:
            of_global = dataclasses.replace(result.fusions["global"], mAP=left.pop(0))
            result.fusions["global"] = of_global
        return result

    monkeypatch.setattr(training, "report", fake)


def metrics_of(folder) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def test_best_of_single_view_steps_is_chosen_by_whole_images(make_config, squares, monkeypatch):
    score_whole_images(monkeypatch, 10, 30, 20, 25)
    config, record = make_config(**SETTINGS), Record()
    train(config, record)
    told = [(step, best) for step, _, best in record.of("evaluation")]
    assert told == [(1, True), (2, True), (3, False), (4, False), (2, True)]
    metrics = metrics_of(config.output)
    assert metrics.pop("step") == 2
    assert metrics_of(config.output / "last")["step"] == 4

    # The chosen weights were scored with views too.
    chosen = load_checkpoint(config.output)
    table = read_dataset(squares[1], chosen.labels)
    scores = score_table(chosen.model, table, MODEL.image_size, torch.device("cpu"))
    assert (scores.global_logits != scores.local_logits).any()
    assert metrics == report(scores, chosen.labels).to_dict()


def test_the_last_of_single_view_steps_can_be_the_best(make_config, monkeypatch):
    score_whole_images(monkeypatch, 10, 20, 30, 40)
    config = make_config(**SETTINGS)
    train(config)
    assert metrics_of(config.output) == metrics_of(config.output / "last")
    assert metrics_of(config.output)["fusions"]["global"]["mAP"] == 40


def second_is_best(config, history):
    return min(2, int(history[-1]["step"]))


@pytest.fixture(scope="module")
def whole(squares, tmp_path_factory):
    """The results of a run that nothing interrupted, whose second weights are the best."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "best_step", second_is_best)
        return results_of(train(tiny_config(folder, *squares, **SETTINGS)).folder)


class KilledError(Exception):
    pass


def kill_at(monkeypatch, name, call):
    """End a run in a method of its trainer that is called for so many times."""
    calls, method = [], getattr(training.Trainer, name)

    def dying(self, *arguments):
        calls.append(None)
        if len(calls) == call:
            raise KilledError
        return method(self, *arguments)

    monkeypatch.setattr(training.Trainer, name, dying)


@pytest.mark.parametrize(("name", "call"), [("_evaluate", 4), ("_finish", 1), ("_save", 3)])
def test_killed_before_it_is_scored_with_views_it_ends_the_same(
    whole, make_config, monkeypatch, name, call
):
    config = make_config(**SETTINGS)
    monkeypatch.setattr(training, "best_step", second_is_best)
    with monkeypatch.context() as patch:
        kill_at(patch, name, call)
        with pytest.raises(KilledError):
            train(config)
    train(dataclasses.replace(config, resume=True))
    assert results_of(config.output) == whole
    assert metrics_of(config.output)["step"] == 2
