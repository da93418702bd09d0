import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import skimage.data
import torch

from did_by_hand import see
from didvit.config import ConfigError
from didvit.inference import engine as engines
from didvit.inference.engine import EngineError, choose_engine
from didvit.inference.predictor import Predictor, load
from didvit.modeling.checkpoint import CheckpointError, load_checkpoint
from didvit.modeling.folder import find_model

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


# Which engine


@pytest.fixture
def only(monkeypatch):
    """A function that takes the engines that are installed."""

    def install(*names):
        monkeypatch.setattr(engines, "is_installed", lambda name: name in names)

    return install


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        *((device, "onnx") for device in (None, "auto", "cpu", torch.device("cpu"))),
        *((device, "pytorch") for device in ("cuda", "cuda:1", "mps", torch.device("cuda"))),
    ],
)
def test_graphs_are_run_on_the_cpu_and_pytorch_elsewhere(device, expected):
    assert choose_engine("default", None, device) == expected


def test_a_folder_without_graphs_needs_pytorch(model_folder, only):
    assert choose_engine(model_folder, None) == "pytorch"
    only("onnx")
    with pytest.raises(EngineError, match=r"no global\.onnx.*pip install 'didvit\[train\]'"):
        choose_engine(model_folder, None)


@pytest.mark.parametrize("engine", ["onnx", "openvino", "pytorch"])
def test_an_engine_that_is_not_installed_is_named_with_what_installs_it(only, engine):
    only(*({"onnx", "openvino", "pytorch"} - {engine}))
    with pytest.raises(EngineError, match=f"{engine} is not installed: pip install"):
        choose_engine("default", engine)


def test_what_is_installed_is_taken(only):
    only("pytorch")
    assert choose_engine("default", None) == "pytorch"
    only()
    with pytest.raises(EngineError, match=r"no engine is installed: pip install onnxruntime, or"):
        choose_engine("default", None)
    only("onnx")
    with pytest.raises(EngineError, match=r"device cuda needs PyTorch: .*didvit\[train\]"):
        choose_engine("default", None, "cuda")


@pytest.mark.parametrize(
    ("engine", "device", "words"),
    [
        ("tensorrt", None, "engine is 'tensorrt'; expected one of onnx, openvino, pytorch"),
        ("onnx", "cuda", "engine onnx runs on the CPU, not on cuda; expected pytorch"),
        ("openvino", "mps", "engine openvino runs on the CPU, not on mps"),
    ],
)
def test_impossible_engines_are_refused(engine, device, words):
    with pytest.raises(ConfigError, match=words):
        choose_engine("default", engine, device)


def test_graphs_that_are_not_there_are_asked_for(model_folder):
    with pytest.raises(EngineError, match=r"no global\.onnx for the engine onnx.*didvit export"):
        choose_engine(model_folder, "onnx")


def test_what_is_no_model_is_told_whatever_is_installed(tmp_path, only):
    only("onnx")
    with pytest.raises(CheckpointError, match=r"not a model: config\.json is missing"):
        choose_engine(tmp_path, None)
    (tmp_path / "train.json").touch()
    with pytest.raises(CheckpointError, match="a run without a model yet"):
        choose_engine(tmp_path, None)
    with pytest.raises(CheckpointError, match="no model 'nowhere'"):
        choose_engine("nowhere", None)


# A model of graphs


@pytest.fixture(scope="module")
def default():
    return load("default", "cpu", threads=1, decide=False, precision="fp32")


def test_a_model_of_graphs_sees_what_its_weights_see(default):
    """ONNX Runtime, against the formulas around PyTorch."""
    model = load_checkpoint("default").model
    array = skimage.data.chelsea()[::2, ::2]
    output, seen = default.run([array]), see(model, array, default.image_size)
    np.testing.assert_allclose(output.global_logits[0], seen.global_logits, atol=1e-4)
    np.testing.assert_allclose(output.view_logits[0], seen.view_logits, atol=1e-4)
    assert output.categories[0].tolist() == seen.categories
    np.testing.assert_array_equal(output.boxes[0], seen.boxes)
    np.testing.assert_allclose(output.spatial_map[0], seen.spatial_map, atol=1e-6)
    for maps, name in ((output.semantic_maps, "semantic"), (output.instance_maps, "instance")):
        expected = getattr(seen, f"{name}_maps")[seen.categories]
        np.testing.assert_allclose(maps[0], expected, atol=1e-4)


def test_regions_that_a_graph_was_not_made_for_are_refused_at_once(default):
    other = replace(default.method, top_n=0, reconstraint="none")
    bare = Predictor(default.engine, default.labels, replace(default.config, method=other))
    assert bare.predict(PIXELS).regions == ()
    with pytest.raises(EngineError, match="reconstraint is 'none', and the graph was made with"):
        bare.stream([PIXELS], top_n=1)


def test_another_input_size_than_the_graphs_is_refused(tmp_path):
    folder = shutil.copytree(find_model("default"), tmp_path / "m")
    content = json.loads((folder / "config.json").read_text())
    content["model"]["image_size"] = [224, 224]
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(EngineError, match=r"image_size is \(224, 224\).*made with \(288, 288\)"):
        load(folder)


def test_another_number_of_labels_than_logits_is_refused(default):
    fewer = Predictor(default.engine, default.labels[:-1], default.config)
    with pytest.raises(CheckpointError, match=r"config\.json has 79 labels.*gives 80 logits"):
        fewer.predict(PIXELS)
    with pytest.raises(CheckpointError, match="79 labels"):
        fewer.run([PIXELS])
