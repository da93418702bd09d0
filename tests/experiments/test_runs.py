import json
from dataclasses import replace

import numpy as np
import pytest

from didvit.data.table import DataError
from didvit.evaluation.scores import Scores
from didvit.experiments.runs import (
    check_data,
    check_settings,
    find_runs,
    has_scores,
    read_run,
    read_scores,
    run_path,
    write_run,
    write_scores,
)
from didvit.experiments.trainer import training_config
from tiny_experiments import BASELINE, DID, EQUAL_PASSES, LITERAL, WITH_VIEWS, literal_run


def test_a_run_is_read_back(tmp_path):
    run = literal_run(DID, 60.0, difference=(BASELINE, 1.5))
    path = run_path(tmp_path, DID, 0)
    write_run(path, run)
    assert read_run(path) == run
    assert list(path.parent.iterdir()) == [path]


def test_runs_are_found_by_their_row_and_seed(tmp_path):
    for row, seed in ((BASELINE, 10), (BASELINE, 2), (EQUAL_PASSES, 0), (WITH_VIEWS, 1)):
        path = run_path(tmp_path, row, seed)
        write_run(path, literal_run(row, 60.0, seed))
        path.with_suffix(".npz").touch()
    assert list(find_runs(tmp_path, BASELINE)) == [2, 10]
    assert list(find_runs(tmp_path, EQUAL_PASSES)) == [0]
    assert list(find_runs(tmp_path, WITH_VIEWS)) == [1]
    assert find_runs(tmp_path, DID) == {}


@pytest.mark.parametrize("content", ["{", "[]", '{"row": "did"}'])
def test_a_damaged_run_is_refused_by_name(tmp_path, content):
    path = tmp_path / "did.s0.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"did\.s0\.json is not the file of a run .* delete it"):
        read_run(path)


def test_a_run_of_other_settings_is_refused(tmp_path):
    run, config = literal_run(DID, 60.0), training_config(LITERAL, DID, 0)
    check_settings(tmp_path, run, config)
    check_settings(tmp_path, run, replace(config, output=tmp_path, resume=True))
    other = replace(config, schedule=replace(config.schedule, steps=3))
    with pytest.raises(DataError, match=r"schedule\.steps was 2 and is 3.*delete it"):
        check_settings(tmp_path, run, other)


def test_a_setting_that_is_newer_than_a_run_had_its_default(tmp_path):
    run, config = literal_run(DID, 60.0), training_config(LITERAL, DID, 0)
    del run.settings["optimizer"]["clip_norm"], run.settings["init_seed"]
    check_settings(tmp_path, run, config)
    other = replace(config, optimizer=replace(config.optimizer, clip_norm=1.0))
    with pytest.raises(DataError, match=r"optimizer\.clip_norm was None and is 1\.0"):
        check_settings(tmp_path, run, other)


def test_a_run_of_other_data_is_refused(tmp_path):
    run = literal_run(DID, 60.0)
    check_data(tmp_path, run, {})  # unknown, as of old runs
    check_data(tmp_path, replace(run, data={}), run.data)
    with pytest.raises(DataError, match=r"other data \(val\); delete it"):
        check_data(tmp_path, run, {**run.data, "val": "other"})


@pytest.mark.parametrize("with_views", [False, True])
def test_scores_are_read_back(tmp_path, with_views):
    rng = np.random.default_rng(0)
    main, local = rng.normal(size=(2, 5, 3)).astype(np.float16).astype(float)
    targets = np.array([[1, 0, -1]] * 5)
    scores = Scores(np.arange(5), main, local if with_views else main, targets, ())
    path = tmp_path / "did.s0.json"
    assert not has_scores(path)
    write_scores(path, scores)
    assert has_scores(path)
    again = read_scores(path)
    for name in ("global_logits", "local_logits", "targets"):
        assert np.array_equal(getattr(again, name), getattr(scores, name))


def test_a_run_is_readable_json(tmp_path):
    """Other programs can read it: no tuples, NaN or paths."""
    path = tmp_path / "did.s0.json"
    write_run(path, literal_run(DID, 60.0))
    content = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert content["settings"]["model"]["method"]["top_n"] == 2
