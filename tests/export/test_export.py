"""Exports of a tiny model, run on photographs beside the model itself."""

import copy
import hashlib
import json
import shutil

import numpy as np
import onnx
import pytest
import safetensors.torch
from timm.models import create_model, register_model

from didvit.config import ConfigError
from didvit.data.datasets import read_dataset
from didvit.decisions.aims import parse_aim
from didvit.decisions.store import decide, read_decisions, weights_digest, write_decisions
from didvit.export import graphs as graphs_module
from didvit.export import parity as parity_module
from didvit.export.folder import PARITY, export_model
from didvit.export.graphs import TAGS_GRAPH, ExportError, trace
from didvit.export.parity import Parity, ParityError
from didvit.inference.engine import GLOBAL_GRAPH, VIEWS_GRAPH, EngineError
from didvit.inference.engines.graphs import METADATA
from didvit.inference.paths import find_images
from didvit.inference.predictor import load


@register_model
def vit_of_two_blocks(pretrained=False, **settings):
    """A backbone that is traced in half the time of timm's ``test_vit``, which has six blocks."""
    return create_model("test_vit", depth=2, **settings)


SHALLOW = {"backbone": "vit_of_two_blocks"}


@pytest.fixture(scope="module", autouse=True)
def traced_once():
    """One trace of each network serves all exports of the same weights: it takes seconds."""
    traced = {}

    def remembered(network, size):
        state = safetensors.torch.save(
            {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
        )
        key = type(network), network.outputs, size, hashlib.sha256(state).digest()
        if key not in traced:
            traced[key] = trace(network, size)
        return copy.deepcopy(traced[key])  # weights are taken out of it

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graphs_module, "trace", remembered)
        yield


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, save_tiny_model):
    """A model with decisions, whose views are smaller than its input."""
    settings = {"view_scale": 0.5, "tiles": 2, **SHALLOW}
    folder = save_tiny_model(tmp_path_factory.mktemp("tuned") / "m", **settings)
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(60, 5)), rng.integers(0, 2, (60, 5))
    labels = load(folder, "cpu").labels
    decisions = decide(
        logits,
        logits,
        targets,
        labels,
        [parse_aim("f1")],
        fusion="mean",
        weights=weights_digest(folder / "model.safetensors"),
        data="val.csv",
        digest="d",
    )
    write_decisions(folder, decisions)
    return folder


@pytest.fixture(scope="module")
def images(photographs):
    return find_images([photographs])


@pytest.fixture(scope="module")
def exported(tmp_path_factory, tuned, images):
    output = tmp_path_factory.mktemp("exports") / "onnx"
    before = {path.name: path.read_bytes() for path in tuned.iterdir()}
    export_model(tuned, output, images, threads=1)
    assert {path.name: path.read_bytes() for path in tuned.iterdir()} == before
    assert [path.name for path in output.parent.iterdir()] == ["onnx"]
    return output


def assert_same(one, other, images, atol=1e-4):
    for a, b in zip(one.predict(images), other.predict(images), strict=True):
        np.testing.assert_allclose(list(a.scores.values()), list(b.scores.values()), atol=atol)
        assert [region.box for region in a.regions] == [region.box for region in b.regions]
        assert a.thresholds == b.thresholds
        for maps, others in zip(a.maps, b.maps, strict=True):
            np.testing.assert_allclose(maps, others, atol=10 * atol)


@pytest.mark.parametrize("engine", ["onnx", "openvino", "pytorch"])
def test_an_export_is_a_model_that_gives_the_same(tuned, exported, images, engine):
    predictor = load(exported, engine=engine, threads=1)
    assert_same(load(tuned, "cpu"), predictor, images)
    assert predictor.engine.name == engine
    assert load(exported).engine.name == "onnx"
    alone = [predictor.predict(image, batch_size=1) for image in images]
    for a, b in zip(alone, predictor.predict(images, batch_size=3), strict=True):
        np.testing.assert_allclose(list(a.scores.values()), list(b.scores.values()), atol=1e-5)


def test_the_proof(exported):
    proof = json.loads((exported / PARITY).read_text())
    assert proof["num_images"] == 3
    assert proof["score_difference"] < 1e-4
    assert (proof["label_flips"], proof["least_box_iou"], proof["same_regions"]) == (0, 1, 1)
    assert proof["mAP_source"] is None
    assert proof["versions"]["onnxruntime"]


def test_decisions_go_with_the_export(tuned, exported):
    labels = load(tuned, "cpu").labels
    decisions = read_decisions(exported, labels, weights_digest(exported / "model.safetensors"))
    before = read_decisions(tuned, labels, weights_digest(tuned / "model.safetensors"))
    np.testing.assert_array_equal(decisions.thresholds(), before.thresholds())


def test_half_weights(tuned, images, tmp_path):
    export_model(tuned, tmp_path / "half", images, precision="fp16", threads=1)
    sizes = [(f / "model.safetensors").stat().st_size for f in (tuned, tmp_path / "half")]
    assert sizes[1] < 0.75 * sizes[0]
    assert_same(load(tmp_path / "half"), load(tmp_path / "half", engine="pytorch"), images)
    assert load(tmp_path / "half").decisions is not None


def test_openvinos_own_form(tuned, images, tmp_path):
    export_model(tuned, tmp_path / "own", images, format="openvino", threads=1)
    names = {path.name for path in (tmp_path / "own").iterdir()}
    assert {"global.xml", "views.xml", "tags.xml"} <= names
    assert not any(name.endswith(".onnx") for name in names)
    predictor = load(tmp_path / "own")
    assert predictor.engine.name == "openvino"
    assert_same(load(tuned, "cpu"), predictor, images)
    with pytest.raises(EngineError, match=r"no global\.onnx for the engine onnx"):
        load(tmp_path / "own", engine="onnx")


def test_eight_bits_are_measured_on_labeled_images(tuned, images, tmp_path, monkeypatch):
    labels = load(tuned, "cpu").labels
    rows = [f"{image},{labels[i]}" for i, image in enumerate(images)]
    (tmp_path / "val.csv").write_text("\n".join(["image,labels", *rows]))
    table = read_dataset(str(tmp_path / "val.csv"), labels)
    monkeypatch.setattr(parity_module, "MAP_BOUND", 100)
    arguments = {"precision": "int8", "table": table, "threads": 1}
    parity = export_model(tuned, tmp_path / "eight", images, **arguments)
    assert parity.mAP_export is not None
    for name in ("global.int8.onnx", "views.int8.onnx", "tags.int8.onnx"):
        graph = onnx.load(tmp_path / "eight" / name, load_external_data=False)
        assert "MatMulInteger" in {node.op_type for node in graph.graph.node}
    for precision in ("fp32", "int8"):
        assert load(tmp_path / "eight", precision=precision).engine.precision == precision
    # OpenVINO takes the graphs in float32, and computes them so.
    plain = load(tmp_path / "eight", precision="fp32")
    assert_same(plain, load(tmp_path / "eight", engine="openvino"), images)
    monkeypatch.setattr(parity_module, "MAP_BOUND", -100)
    with pytest.raises(ParityError, match=r"loses .* mAP .* nothing is written: take another"):
        export_model(tuned, tmp_path / "not", images, **arguments)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["eight", "val.csv"]


def test_instance_maps_that_are_the_semantic_maps(save_tiny_model, images, tmp_path):
    settings = {"reconstraint": "none", "view_scale": 1.0, **SHALLOW}
    folder = save_tiny_model(tmp_path / "m", **settings)
    export_model(folder, tmp_path / "out", images, threads=1)
    for engine in ("onnx", "openvino"):
        assert_same(load(folder, "cpu"), load(tmp_path / "out", engine=engine), images)


def test_what_cannot_be_exported_leaves_nothing(tuned, images, tmp_path, monkeypatch):
    def refuse(network, size):
        raise ExportError("a head cannot be exported")

    monkeypatch.setattr(graphs_module, "trace", refuse)
    with pytest.raises(ExportError, match="a head cannot be exported"):
        export_model(tuned, tmp_path / "out", images, threads=1)
    assert not list(tmp_path.iterdir())


def test_tags_graph_says_what_other_programs_ask_for(exported):
    graph = onnx.load(exported / TAGS_GRAPH, load_external_data=False)
    assert [output.name for output in graph.graph.output] == ["logits"]
    info = {entry.key: entry.value for entry in graph.metadata_props}
    assert info["model_info model_type"] == "Classification"
    assert info["model_info labels"].split() == ["cat", "cup", "dog", "person", "spoon"]


def test_an_export_that_differs_is_refused_and_leaves_nothing(tuned, images, tmp_path, monkeypatch):
    monkeypatch.setitem(parity_module.SCORE_BOUNDS, "fp32", -1.0)
    with pytest.raises(ParityError, match=r"a score of the export differs by 0\.0000.*more than"):
        export_model(tuned, tmp_path / "out", images, threads=1)
    assert not list(tmp_path.iterdir())


def test_nothing_is_proven_on_nothing(tuned, tmp_path):
    (tmp_path / "a.jpg").write_text("no image")
    with pytest.raises(ParityError, match="none of the photographs can be read"):
        export_model(tuned, tmp_path / "out", [tmp_path / "a.jpg"], threads=1)


def test_what_exists_is_replaced_only_if_it_is_an_export_and_asked_for(
    tuned, exported, images, tmp_path
):
    with pytest.raises(ConfigError, match=r"is an export already.*--overwrite"):
        export_model(tuned, exported, images)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.jpg").touch()
    with pytest.raises(ConfigError, match="is no export; choose another folder"):
        export_model(tuned, tmp_path / "mine", images, overwrite=True)
    with pytest.raises(ConfigError, match="is the model itself"):
        export_model(tuned, tuned, images, overwrite=True)
    shutil.copytree(exported, tmp_path / "noted")
    (tmp_path / "noted" / "notes.txt").touch()
    with pytest.raises(ConfigError, match=r"holds 'notes\.txt', which no export wrote"):
        export_model(tuned, tmp_path / "noted", images, overwrite=True)
    shutil.copytree(exported, tmp_path / "again")
    export_model(tuned, tmp_path / "again", images, overwrite=True, threads=1)
    assert (tmp_path / "again" / PARITY).is_file()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"format": "tflite"}, "format is 'tflite'; expected one of onnx, openvino"),
        ({"precision": "int4"}, "precision is 'int4'; expected one of fp32, fp16, int8"),
        ({"precision": "int8"}, "expected --data VAL"),
        ({"precision": "int8", "format": "openvino"}, "needs the format onnx"),
    ],
)
def test_impossible_settings(tuned, images, tmp_path, settings, reason):
    with pytest.raises(ConfigError, match=reason):
        export_model(tuned, tmp_path / "out", images, **settings)


def damaged(exported, tmp_path, change):
    folder = shutil.copytree(exported, tmp_path / "damaged")
    change(folder)
    return folder


def with_metadata(folder, text):
    path = folder / GLOBAL_GRAPH
    graph = onnx.load(path, load_external_data=False)
    del graph.metadata_props[:]
    if text is not None:
        onnx.helper.set_model_props(graph, {METADATA: text})
    path.write_bytes(graph.SerializeToString())


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda f: (f / "model.safetensors").unlink(), r"model\.safetensors"),
        (lambda f: (f / GLOBAL_GRAPH).write_bytes(b"no graph"), "cannot be run by"),
        (lambda f: (f / VIEWS_GRAPH).write_bytes(b""), "cannot be run by"),
        (lambda f: with_metadata(f, None), "no metadata of didvit"),
        (lambda f: with_metadata(f, "{}"), "damaged metadata"),
        (lambda f: with_metadata(f, '{"format": 0}'), "has format 0, and this version"),
    ],
    ids=["no weights", "no graph", "empty graph", "no metadata", "damaged", "another version"],
)
def test_damaged_folders_are_refused_with_the_mend(exported, tmp_path, engine, change, reason):
    folder = damaged(exported, tmp_path, change)
    (folder / "decisions.json").unlink()
    with pytest.raises(EngineError, match=reason) as caught:
        load(folder, engine=engine)
    assert "didvit export" in str(caught.value)


def test_graphs_of_other_weights_are_refused(exported, tuned, tmp_path):
    def change(folder):
        content = bytearray((folder / "model.safetensors").read_bytes())
        content[-1] ^= 1
        (folder / "model.safetensors").write_bytes(content)

    folder = damaged(exported, tmp_path, change)
    (folder / "decisions.json").unlink()
    with pytest.raises(EngineError, match="made with other weights"):
        load(folder)


def test_parity_within_its_bounds_passes():
    Parity(1, 1e-4, 0, 1.0, 1.0, 1.0, 70.0, 69.8).check("fp32")
    Parity(1, 0.5, 9, 0.1, 0.5, 1.0, 70.0, 69.8).check("int8")
    with pytest.raises(ParityError, match=r"more than 0\.02"):
        Parity(1, 0.05, 0, 1.0, 1.0, 1.0).check("fp16")
