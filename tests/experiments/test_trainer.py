import json
from dataclasses import replace

import pytest
import safetensors.torch
import torch
from filelock import FileLock

from didvit.config import with_settings
from didvit.config.serialization import changed_settings, to_json
from didvit.data.table import DataError
from didvit.experiments.benchmarks import SCALES
from didvit.experiments.plans import Row
from didvit.experiments.trainer import training_config
from didvit.heads.labels import LabelEmbeddingError
from didvit.modeling.backbones import build_backbone
from didvit.modeling.checkpoint import load_checkpoint
from tiny_experiments import BASELINE, DID, EQUAL_PASSES, LITERAL, Steps


def test_equal_passes_are_those_of_did():
    baseline, did = (training_config(SCALES["cpu"]["coco"], r, 0) for r in (EQUAL_PASSES, Row("")))
    assert baseline.schedule.steps * 1 == did.schedule.steps * 5


def test_a_head_has_the_settings_of_its_benchmark():
    heads = {"csra": {"csra_heads": 2, "csra_weight": 0.5, "head_lr_scale": 5.0}}
    benchmark = replace(LITERAL, heads=heads)
    csra, other = (
        training_config(benchmark, Row("", {"head": head}), 0) for head in ("csra", "add_gcn")
    )
    assert (csra.model.csra_heads, csra.optimizer.head_lr_scale) == (2, 5)
    assert (other.model.csra_heads, other.optimizer.head_lr_scale) == (None, 1)


def test_seeds_of_a_row_are_different_and_those_of_rows_the_same():
    seeds = [training_config(LITERAL, BASELINE, seed).seed for seed in (0, 1, 2)]
    assert seeds == [training_config(LITERAL, DID, seed).seed for seed in (0, 1, 2)]
    assert seeds == [0, 1, 2]


def test_all_rows_begin_with_the_weights_below_the_root(make_runner):
    runner = make_runner()
    benchmark = runner.benchmarks["coco"]
    weights = build_backbone("test_vit", "random", (32, 48)).vit.state_dict()
    (runner.root / "weights").mkdir()
    safetensors.torch.save_file(weights, runner.root / "weights" / "test.safetensors")
    config = with_settings(benchmark.config, {"learning_rate": 1e-12})
    config = replace(config, model=replace(config.model, weights="weights/test.safetensors"))
    runner = replace(runner, benchmarks={"coco": replace(benchmark, config=config)})
    for row in (DID, Row("CSRA", {"head": "csra", "top_n": 0})):
        state = load_checkpoint(runner.trained(row, 0)).model.backbone.vit.state_dict()
        for name, value in weights.items():
            torch.testing.assert_close(state[name], value, rtol=0, atol=1e-6)


def test_another_command_at_the_same_row_is_waited_for(make_runner):
    runner, told = make_runner(), []
    held = FileLock(runner.trained(BASELINE, 0).with_suffix(".lock"))
    held.acquire()

    def tell(message):
        told.append(message)
        held.release()

    replace(runner, tell=tell).trained(BASELINE, 0)
    assert len(told) == 1
    assert "waiting for another command" in told[0]


def test_what_is_missing_is_refused_before_anything_is_trained(make_runner, tmp_path):
    steps = Steps()
    with pytest.raises(DataError, match="nowhere"):
        replace(make_runner(steps), root=tmp_path / "nowhere").check([BASELINE])
    row = Row("ML-GCN", {"head": "ml_gcn", "label_embeddings": "absent.txt"})
    with pytest.raises(LabelEmbeddingError, match=r"absent\.txt"):
        make_runner(steps).check([row])
    assert steps.total == 0


def test_the_scales_on_coco40k_share_all_but_what_they_are_about():
    gpu, deit, cpu = (to_json(SCALES[s]["coco"].config) for s in ("gpu", "gpu-deit", "cpu"))
    assert {change.split(" ")[0] for change in changed_settings(gpu, deit, ())} == {
        *("model.backbone", "model.weights"),
    }
    assert {change.split(" ")[0] for change in changed_settings(gpu, cpu, ())} == {
        *("model.image_size", "schedule.save_every", "runtime.precision"),
    }


def test_a_teacher_is_trained_first_and_its_folder_is_the_setting(make_runner):
    steps = Steps()
    runner = make_runner(steps)
    distilled = Row("distilled", {**BASELINE.changes, "teacher": "did"}, teacher=DID)
    folder = runner.trained(distilled, 0)
    of_teacher = runner.trained(DID, 0)
    settings = json.loads((folder / "train.json").read_text())
    total = steps.total
    assert settings["settings"]["loss"]["teacher"] == str(of_teacher)
    assert of_teacher != folder
    assert runner.trained(distilled, 0) == folder
    assert steps.total == total  # both are in the cache


def test_a_distilled_row_and_its_baseline_are_two_rows(make_runner):
    runner = make_runner()
    distilled = Row("distilled", {**BASELINE.changes, "teacher": "did"}, teacher=DID)
    assert runner.folder(distilled, 0) != runner.folder(BASELINE, 0)
    ours, baseline = (
        load_checkpoint(runner.trained(row, 0)).model.state_dict() for row in (distilled, BASELINE)
    )
    assert any(not torch.equal(ours[name], baseline[name]) for name in ours)
