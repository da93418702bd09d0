"""Products in 8 bits: against a slow computation, and against float32 on a tiny model."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from didvit.config import ConfigError
from didvit.export import quantized
from didvit.export.folder import write_int8_graphs
from didvit.export.graphs import write_graphs
from didvit.export.parity import ParityError
from didvit.export.quantized import Layer, channel_maxima, packed_layers, stands_out
from didvit.inference import engine as engine_module
from didvit.inference.engine import GLOBAL_GRAPH, VIEWS_GRAPH, EngineError, has_fast_int8
from didvit.inference.paths import find_images
from didvit.inference.predictor import load
from didvit.modeling.checkpoint import load_checkpoint, save_checkpoint

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def images(photographs):
    return find_images([photographs])


@pytest.fixture(scope="module")
def folder(tmp_path_factory, save_tiny_model, images):
    """A packed model with both kinds of graphs. Its views are smaller than its input."""
    plain = save_tiny_model(tmp_path_factory.mktemp("plain") / "m", view_scale=0.5, tiles=2)
    whole, folder = load_checkpoint(plain), tmp_path_factory.mktemp("packed") / "m"
    save_checkpoint(folder, whole.model, whole.labels, whole.config, packed=True)
    checkpoint = load_checkpoint(folder)
    write_graphs(folder, checkpoint.model, checkpoint.config.image_size)
    write_int8_graphs(folder, images)
    return folder


def number(path, kind):
    graph = onnx.load(path, load_external_data=False).graph
    return sum(node.op_type == kind for node in graph.node)


def rounded(x):
    """ONNX's DynamicQuantizeLinear: whole numbers from 0 to 255, their step, and that of zero."""
    low, high = min(x.min(), 0), max(x.max(), 0)
    step = np.float32((high - low) / 255)
    zero = np.clip(np.rint(-low / step), 0, 255)
    return np.clip(np.rint(x / step) + zero, 0, 255).astype(int), step, int(zero)


def test_a_product_is_that_of_whole_numbers():
    x = RNG.normal(size=(2, 7, 6)).astype(np.float32)
    packed = RNG.integers(-127, 128, (5, 6)).astype(np.int8)
    scales = RNG.uniform(0.01, 0.1, 5).astype(np.float32)
    node = helper.make_node("MatMul", ["x", "turned"], ["y"])
    graph = helper.make_graph(
        quantized._product(Layer(node, "w", 5), set()),
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 7, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 7, 5])],
        [
            numpy_helper.from_array(packed, "w:packed"),
            numpy_helper.from_array(scales, "w:scale:row"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    whole, step, zero = rounded(x)
    expected = (whole - zero) @ packed.T.astype(int) * (step * scales)
    np.testing.assert_allclose(session.run(None, {"x": x})[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("channels", "expected"),
    [
        ([1, 1, 1], False),
        ([1, 2, 5.9], False),
        ([1, 1, 5.9, 1], False),
        ([1, 1, 6.1, 1], True),
        ([0, 0, 1], True),
        ([0, 0, 0], False),
    ],
)
def test_a_channel_that_stands_out(channels, expected):
    assert stands_out(np.array(channels, np.float32)) is expected


def test_maxima_are_over_images_and_tokens(folder):
    graph = onnx.load(folder / GLOBAL_GRAPH, load_external_data=False).graph
    name = next(packed_layers(graph)).node.input[0]
    batches = [RNG.random((1, 3, 32, 48)).astype(np.float32) for _ in range(3)]
    both = channel_maxima(folder / GLOBAL_GRAPH, [name, name], batches)[name]
    each = [channel_maxima(folder / GLOBAL_GRAPH, [name], [batch])[name] for batch in batches]
    np.testing.assert_array_equal(both, np.max(each, 0))
    assert sorted(path.suffix for path in folder.iterdir()).count(".onnx") == 4


def test_all_layers_but_those_of_the_first_block_and_with_outliers(
    folder, images, tmp_path, monkeypatch
):
    """timm's test_vit has six blocks of four layers."""
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    for outlier, expected in ((np.inf, 20), (0, 0)):
        monkeypatch.setattr(quantized, "OUTLIER", outlier)
        write_int8_graphs(tmp_path, images)
        for name in ("global.int8.onnx", "views.int8.onnx"):
            assert number(tmp_path / name, "MatMulInteger") == expected
        assert number(tmp_path / GLOBAL_GRAPH, "MatMulInteger") == 0
    # With no layer in 8 bits, both graphs are the same.
    one, other = (load(tmp_path, threads=1, precision=p) for p in ("fp32", "int8"))
    for image in images:
        assert one.predict(image).scores == pytest.approx(other.predict(image).scores, abs=1e-6)


def test_scores_are_near_those_of_float32_and_weights_are_shared(folder, images):
    one, other = (load(folder, threads=1, precision=p) for p in ("fp32", "int8"))
    differences = [
        abs(a.scores[label] - b.scores[label])
        for a, b in zip(one.predict(images), other.predict(images), strict=True)
        for label in a.scores
    ]
    assert 0 < max(differences) < 0.1
    weights = (folder / "model.safetensors").stat().st_size
    for name in ("global", "views"):
        graph = (folder / f"{name}.int8.onnx").stat().st_size
        assert graph < (folder / f"{name}.onnx").stat().st_size + weights / 4


def test_what_is_found_in_an_image_does_not_depend_on_the_others(folder, images):
    model = load(folder, threads=1, precision="int8")
    for batch_size in (2, 8):
        together = model.predict(images, batch_size=batch_size)
        for image, found in zip(images, together, strict=True):
            alone = model.predict(image)
            assert found.scores == alone.scores
            assert found.regions == alone.regions


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("flags\t\t: fpu avx2 avx512_vnni\n", True),
        ("flags\t\t: fpu avx2\n", False),
        ("Features\t: fp asimddp\n", True),
        ("model name: unknown\n", False),
        (None, False),
    ],
)
def test_8_bits_are_taken_where_the_processor_is_fast_at_them(
    folder, tmp_path, monkeypatch, text, expected
):
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(engine_module, "CPU_FLAGS", tmp_path / "cpuinfo")
    assert has_fast_int8() is expected
    assert load(folder).engine.precision == ("int8" if expected else "fp32")
    assert load(folder, precision="fp32").engine.precision == "fp32"
    assert load(folder, precision="int8").engine.precision == "int8"


def test_where_there_are_no_such_graphs(folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "views.int8.onnx").unlink()
    with pytest.raises(EngineError, match=r"views\.int8\.onnx is missing; make it with"):
        load(tmp_path, precision="int8")
    (tmp_path / "global.int8.onnx").unlink()
    assert load(tmp_path).engine.precision == "fp32"
    with pytest.raises(EngineError, match=r"global\.int8\.onnx is missing; make it with"):
        load(tmp_path, precision="int8")
    assert (tmp_path / VIEWS_GRAPH).is_file()


@pytest.mark.parametrize("engine", ["pytorch", "openvino"])
def test_other_engines_do_not_compute_in_8_bits(folder, engine):
    with pytest.raises(ConfigError, match=f"precision int8 needs the engine onnx, not {engine}"):
        load(folder, engine=engine, precision="int8")


def test_an_unknown_precision(folder):
    with pytest.raises(ConfigError, match=r"precision is 'int4'; expected one of fp32, int8"):
        load(folder, precision="int4")


def test_nothing_to_choose_layers_by(folder, tmp_path):
    (tmp_path / "a.jpg").write_text("no image")
    with pytest.raises(ParityError, match="none of the photographs can be read"):
        write_int8_graphs(folder, [tmp_path / "a.jpg"])
