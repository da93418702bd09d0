"""From a model to two ONNX graphs. Weights stay in ``model.safetensors``, which they point into."""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import onnx
import torch
from onnx import TensorProto, helper
from onnxscript.optimizer import fold_constants, remove_unused_nodes

from didvit.config.serialization import to_json
from didvit.export.network import GlobalNetwork, ViewsNetwork
from didvit.files import whole_file
from didvit.inference.engine import GLOBAL_GRAPH, VIEWS_GRAPH, Size
from didvit.inference.engines.graphs import (
    GRAPH_FORMAT,
    METADATA,
    GraphDescription,
    view_size,
    weights_of,
)
from didvit.method.model import DiD
from didvit.modeling.folder import WEIGHTS
from didvit.modeling.quantize import SCALE

OPSET = 20
INPUT = "images"
RUN_BY_PYTORCH = "run it with the engine pytorch"
TAGS_GRAPH = "tags.onnx"
"""The whole image alone: pixels in, logits out."""

SMALL = 1024
"""Bytes of a tensor below which it is kept in the graph itself."""

ONNX_TYPES = {"F32": TensorProto.FLOAT, "F16": TensorProto.FLOAT16, "I8": TensorProto.INT8}


class ExportError(ValueError):
    """A model cannot be exported; the message says what of it."""


class Stored(NamedTuple):
    """Where a tensor lies in a safetensors file: its type, shape, first byte and length."""

    kind: str
    shape: tuple[int, ...]
    offset: int
    length: int


def write_graphs(
    folder: Path,
    model: DiD,
    input_size: Size,
    precision: str = "fp32",
    labels: tuple[str, ...] | None = None,
) -> list[Path]:
    """Write the graphs of a model beside its weights.

    Args:
        folder: A model folder with ``model.safetensors``, of floats or packed in 8 bits.
        model: The model in it. It is unchanged.
        input_size: Height and width of the network's input.
        precision: What the graphs say of themselves.
        labels: Write `TAGS_GRAPH` too, the whole image alone, which says what other programs need
            to know: the labels, and how pixels are normalized.

    Returns:
        The graphs.

    Raises:
        ExportError: The exporter cannot write a part of the model.
        OSError: A file cannot be written.
    """
    method, patch_size = model.config, model.backbone.patch_size
    weights, stored = weights_of(folder), stored_tensors(folder / WEIGHTS)
    views = view_size(method, input_size, patch_size)
    networks: dict[str, tuple[GlobalNetwork | ViewsNetwork, Size]] = {
        GLOBAL_GRAPH: (GlobalNetwork(model, input_size), input_size)
    }
    if method.top_n and views != input_size:
        networks[VIEWS_GRAPH] = ViewsNetwork(model, views), views
    if labels is not None:
        networks[TAGS_GRAPH] = ViewsNetwork(model, input_size), input_size
    for name, (network, size) in networks.items():
        graph = trace(network, size)
        point_into(graph, stored)
        description = GraphDescription(
            GRAPH_FORMAT, size, patch_size, precision, weights, to_json(method)
        )
        info = model_info(labels) if name == TAGS_GRAPH and labels else {}
        helper.set_model_props(graph, {METADATA: description.text(), **info})
        with whole_file(folder / name) as path:
            path.write_bytes(graph.SerializeToString())
            onnx.checker.check_model(str(path))  # by its path, as it reads the weights beside it
    return [folder / name for name in networks]


def model_info(labels: tuple[str, ...]) -> dict[str, str]:
    """What openvino-model-api reads of a graph, by its keys. Spaces in labels become ``_``."""
    values = {
        "model_type": "Classification",
        "task_type": "classification",
        "multilabel": "True",
        "output_raw_scores": "True",
        "confidence_threshold": "0.5",
        "labels": " ".join("_".join(label.split()) for label in labels),
        "resize_type": "standard",
        "mean_values": "0.0 0.0 0.0",
        "scale_values": "255.0 255.0 255.0",
        "reverse_input_channels": "False",
    }
    return {f"model_info {key}": value for key, value in values.items()}


def trace(network: GlobalNetwork | ViewsNetwork, size: Size) -> onnx.ModelProto:
    """An ONNX graph of a network, with any number of images in a batch.

    Weights have the names that they have in ``model.safetensors``.

    Raises:
        ExportError: The exporter cannot write a part of the network, or would write a graph of one
            batch size alone.
    """
    program = _exported(network, size)
    _without_sequences(program.model)
    graph = program.model_proto
    graph.producer_name = "didvit"
    _strip(graph)
    for tensor in graph.graph.initializer:
        _rename(graph, tensor.name, tensor.name.removeprefix("model."))
    return graph


def _exported(network: GlobalNetwork | ViewsNetwork, size: Size) -> Any:
    """The exporter's result."""
    # A batch of one would be taken for a constant.
    example = torch.zeros(2, 3, *size)
    batch = torch.export.Dim("batch", min=1, max=4096)
    parts = f"{type(network.model.backbone.vit).__name__} with {type(network.model.head).__name__}"
    try:
        with torch.no_grad(), _quiet():
            program: Any = torch.onnx.export(
                network,
                (example,),
                dynamo=True,
                optimize=False,
                opset_version=OPSET,
                dynamic_shapes={INPUT: {0: batch}},
                input_names=[INPUT],
                output_names=list(network.outputs),
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        reason = " ".join(str(error).split())[:300]
        raise ExportError(f"{parts} cannot be exported ({reason}); {RUN_BY_PYTORCH}") from error
    if isinstance(program.model.graph.inputs[0].shape[0], int):
        raise ExportError(
            f"{parts} cannot be exported: its graph would take batches of two images alone, as a "
            f"number in it depends on the batch; {RUN_BY_PYTORCH}"
        )
    return program


def point_into(graph: onnx.ModelProto, stored: dict[str, Stored]) -> None:
    """Have a graph read its weights from a safetensors file in its folder.

    A weight that is packed in 8 bits is multiplied with its scales in the graph, which ONNX Runtime
    does once, when it loads the graph. A tensor that is other than the stored one, such as
    resampled position embeddings, stays in the graph.
    """
    nodes, initializers = [], []
    for tensor in graph.graph.initializer:
        place = stored.get(tensor.name)
        if place is None or place.length < SMALL or tuple(tensor.dims) != place.shape:
            initializers.append(tensor)
        elif place.kind == "I8":
            packed, scale = f"{tensor.name}:packed", tensor.name + SCALE
            columns = [place.shape[0], *[1] * (len(place.shape) - 1)]
            initializers.append(_external(packed, place, place.shape))
            initializers.append(_external(scale, stored[scale], columns))
            floats = f"{tensor.name}:floats"
            nodes.append(helper.make_node("Cast", [packed], [floats], to=TensorProto.FLOAT))
            nodes.append(helper.make_node("Mul", [floats, scale], [tensor.name]))
        elif place.kind == "F16":
            half = f"{tensor.name}:half"
            initializers.append(_external(half, place, place.shape))
            nodes.append(helper.make_node("Cast", [half], [tensor.name], to=TensorProto.FLOAT))
        else:
            initializers.append(_external(tensor.name, place, place.shape))
    del graph.graph.initializer[:]
    graph.graph.initializer.extend(initializers)
    old = list(graph.graph.node)
    del graph.graph.node[:]
    graph.graph.node.extend([*nodes, *old])


def stored_tensors(path: Path) -> dict[str, Stored]:
    """Where the tensors of a safetensors file lie."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    start = 8 + length
    return {
        name: Stored(
            entry["dtype"],
            tuple(entry["shape"]),
            start + entry["data_offsets"][0],
            entry["data_offsets"][1] - entry["data_offsets"][0],
        )
        for name, entry in header.items()
        if name != "__metadata__"
    }


def _external(name: str, place: Stored, shape: tuple[int, ...] | list[int]) -> TensorProto:
    tensor = TensorProto(
        name=name,
        data_type=ONNX_TYPES[place.kind],
        dims=shape,
        data_location=TensorProto.EXTERNAL,
    )
    entries = {"location": WEIGHTS, "offset": place.offset, "length": place.length}
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def _rename(graph: onnx.ModelProto, old: str, new: str) -> None:
    for tensor in graph.graph.initializer:
        if tensor.name == old:
            tensor.name = new
    for node in graph.graph.node:
        for i, name in enumerate(node.input):
            if name == old:
                node.input[i] = new


def _without_sequences(model: Any) -> None:
    """Give the parts of a tensor as outputs of Split: OpenVINO has no sequences."""
    if any(node.op_type == "SplitToSequence" for node in model.graph):
        fold_constants(model, should_fold=lambda node: False)  # rewrites, and folds nothing
        remove_unused_nodes(model)


def _strip(graph: onnx.ModelProto) -> None:
    """Take out what the exporter notes of each node, such as lines of source files."""
    for node in graph.graph.node:
        node.ClearField("doc_string")
        del node.metadata_props[:]
    for value in (*graph.graph.input, *graph.graph.output, *graph.graph.initializer):
        del value.metadata_props[:]
    del graph.graph.value_info[:], graph.graph.metadata_props[:]


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of its own workings."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
