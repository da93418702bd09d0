"""Graphs that compute matrix products in 8 bits, beside those that compute in float32."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
from jaxtyping import Float
from onnx import TensorProto, helper

from didvit.files import whole_file
from didvit.inference.engine import Size, int8_graph
from didvit.inference.engines.graphs import METADATA, GraphDescription
from didvit.modeling.quantize import SCALE

INPUT = "images"
OUTLIER = 6
"""How many times the median channel a layer's largest channel may reach."""

BACKBONE, FIRST_BLOCK = "backbone.", ".blocks.0."
"""In the names of weights. An error in the first block goes through all others."""


class Layer(NamedTuple):
    """A product of tokens with a weight that is stored in 8 bits.

    Attributes:
        node: The product.
        weight: Name of the weight ``(out, in)``.
        channels: Its number of rows.
    """

    node: onnx.NodeProto
    weight: str
    channels: int


Batches = Sequence[Float[np.ndarray, "B 3 H W"]]


def write_int8_graph(path: Path, batches: Callable[[Size], Batches]) -> Path:
    """Write a graph beside another one, whose layers are computed in 8 bits.

    The weights are those that the other graph points into, which must be packed in 8 bits. A
    layer's inputs are rounded when they come, all by one scale. Where a channel stands out by far,
    as one does behind the GELU of a late block, that scale leaves nothing of the others, and the
    layer stays in float32; so do the first block, convolutions, attention, norms and the head.

    Args:
        path: The graph. It is unchanged.
        batches: Gives images in [0, 1] of a height and width, on which channels are measured.

    Returns:
        The new graph.

    Raises:
        OSError: The file cannot be written.
    """
    model = onnx.load(path, load_external_data=False)
    layers = [
        layer
        for layer in packed_layers(model.graph)
        if layer.weight.startswith(BACKBONE) and FIRST_BLOCK not in layer.weight
    ]
    properties = {entry.key: entry.value for entry in model.metadata_props}
    description = GraphDescription.parse(path, properties.get(METADATA))
    inputs = [layer.node.input[0] for layer in layers]
    highest = channel_maxima(path, inputs, batches(description.input_size))
    chosen = [layer for layer in layers if not stands_out(highest[layer.node.input[0]])]
    _compute_in_8_bits(model.graph, chosen)
    described = description._replace(precision="int8")
    helper.set_model_props(model, {**properties, METADATA: described.text()})
    target = int8_graph(path)
    with whole_file(target) as temporary:
        temporary.write_bytes(model.SerializeToString())
        onnx.checker.check_model(str(temporary))
    return target


def stands_out(channels: Float[np.ndarray, " D"]) -> bool:
    """Whether the highest magnitude of a channel is far above that of the median channel."""
    return bool(channels.max() > OUTLIER * np.median(channels))


def packed_layers(graph: onnx.GraphProto) -> Iterator[Layer]:
    """The products with weights in 8 bits."""
    makers = {output: node for node in graph.node for output in node.output}
    stored = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        turned = makers.get(node.input[1]) if node.op_type == "MatMul" else None
        if turned is None or turned.op_type != "Transpose":
            continue
        packed = stored.get(f"{turned.input[0]}:packed")
        if packed is not None and len(packed.dims) == 2:
            yield Layer(node, turned.input[0], packed.dims[0])


def channel_maxima(
    path: Path, names: Sequence[str], batches: Batches
) -> Mapping[str, Float[np.ndarray, " D"]]:
    """Highest magnitude, over images and tokens, of every channel of some tensors of a graph."""
    model = onnx.load(path, load_external_data=False)
    wanted = list(dict.fromkeys(names))
    del model.graph.output[:]
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in wanted)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    with whole_file(path.with_name("measured.onnx")) as temporary:  # beside the weights
        temporary.write_bytes(model.SerializeToString())
        session = onnxruntime.InferenceSession(
            temporary, options, providers=["CPUExecutionProvider"]
        )
    path.with_name("measured.onnx").unlink()
    highest: dict[str, np.ndarray] = {}
    for batch in batches:
        for name, value in zip(wanted, session.run(wanted, {INPUT: batch}), strict=True):
            values = np.abs(np.asarray(value))
            channels = values.reshape(-1, values.shape[-1]).max(0)
            highest[name] = np.maximum(highest.get(name, 0), channels)
    return highest


def _compute_in_8_bits(graph: onnx.GraphProto, layers: Sequence[Layer]) -> None:
    """Put a product of whole numbers in the place of each layer."""
    by_output = {layer.node.output[0]: layer for layer in layers}
    nodes, rounded = [], set()
    for node in list(graph.node):
        layer = by_output.get(node.output[0])
        nodes += [node] if layer is None else _product(layer, rounded)
    scales = [f"{layer.weight}{SCALE}" for layer in layers]
    for tensor in [tensor for tensor in graph.initializer if tensor.name in scales]:
        row = onnx.TensorProto.FromString(tensor.SerializeToString())
        row.name = f"{tensor.name}:row"
        row.dims[:] = [tensor.dims[0]]
        graph.initializer.append(row)
    del graph.node[:]
    graph.node.extend(_used(nodes, {output.name for output in graph.output}))
    needed = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _product(layer: Layer, rounded: set[str]) -> list[onnx.NodeProto]:
    """Round what comes, multiply whole numbers, and scale the result; ONNX Runtime fuses it."""
    x, y = layer.node.input[0], layer.node.output[0]
    nodes = []
    if x not in rounded:
        rounded.add(x)
        outputs = [f"{x}:rounded", f"{x}:scale", f"{x}:zero"]
        nodes.append(helper.make_node("DynamicQuantizeLinear", [x], outputs))
    weight, whole, floats, scale = (f"{y}:{i}" for i in ("weight", "whole", "floats", "scale"))
    scales = [f"{x}:scale", f"{layer.weight}{SCALE}:row"]
    return [
        *nodes,
        helper.make_node("Transpose", [f"{layer.weight}:packed"], [weight], perm=[1, 0]),
        helper.make_node("MatMulInteger", [f"{x}:rounded", weight, f"{x}:zero"], [whole]),
        helper.make_node("Cast", [whole], [floats], to=TensorProto.FLOAT),
        helper.make_node("Mul", scales, [scale]),
        helper.make_node("Mul", [floats, scale], [y]),
    ]


def _used(nodes: Sequence[onnx.NodeProto], outputs: set[str]) -> list[onnx.NodeProto]:
    """The nodes, in order, that outputs depend on."""
    needed, kept = set(outputs), []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    return kept[::-1]
