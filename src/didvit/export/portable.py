"""Rewrites of a traced graph: what some engine cannot run, or runs wrongly, as it is exported."""

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

REDUCTIONS = ("ReduceMax", "ReduceMean", "ReduceSum")


def make_portable(graph: onnx.GraphProto) -> None:
    """Rewrite a graph in place. What it computes stays the same.

    Parts of a sequence become slices: OpenVINO knows no sequences whose axis has no known length.
    A reduction keeps its axes, and a node of its own drops them: where a vector is added to a
    reduction that drops its axis, OpenVINO 2026.4 adds element b to image b, not element c to
    category c.
    """
    nodes: list[onnx.NodeProto] = []
    constants = _constants(graph)
    sequences: dict[str, onnx.NodeProto] = {}
    for node in graph.node:
        if node.op_type == "SplitToSequence" and node.input[1] in constants:
            sequences[node.output[0]] = node
        elif node.op_type == "SequenceAt" and node.input[0] in sequences:
            nodes.append(_slice(graph, node, sequences[node.input[0]], constants))
        elif (
            node.op_type in REDUCTIONS and len(node.input) == 2 and not _attribute(node, "keepdims")
        ):
            nodes += _reduce_then_squeeze(node)
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _constants(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    """Values of nodes that give a constant."""
    values = {}
    for node in graph.node:
        for attribute in node.attribute if node.op_type == "Constant" else ():
            value = helper.get_attribute_value(attribute)
            is_tensor = isinstance(value, onnx.TensorProto)
            values[node.output[0]] = numpy_helper.to_array(value) if is_tensor else np.array(value)
    return values


def _slice(
    graph: onnx.GraphProto,
    node: onnx.NodeProto,
    sequence: onnx.NodeProto,
    constants: dict[str, np.ndarray],
) -> onnx.NodeProto:
    """Element i of a sequence of parts, as a slice. Parts have one length, or a list of them."""
    place, lengths = int(constants[node.input[1]]), constants[sequence.input[1]]
    start = int(lengths[:place].sum()) if lengths.ndim else place * int(lengths)
    end = start + int(lengths[place] if lengths.ndim else lengths)
    bounds = {"start": start, "end": end, "axis": _attribute(sequence, "axis")}
    names = [f"{node.output[0]}:{name}" for name in bounds]
    for name, value in zip(names, bounds.values(), strict=True):
        graph.initializer.append(numpy_helper.from_array(np.array([value], np.int64), name))
    return helper.make_node("Slice", [sequence.input[0], *names], list(node.output))


def _reduce_then_squeeze(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    source, axes = node.input
    kept = f"{node.output[0]}:kept"
    reduced = helper.make_node(node.op_type, [source, axes], [kept], keepdims=1)
    return [reduced, helper.make_node("Squeeze", [kept, axes], list(node.output))]


def _attribute(node: onnx.NodeProto, name: str) -> Any:
    """Value of an attribute; where it is not given, the default of the operations above."""
    defaults = {"keepdims": 1, "axis": 0}
    found = [one for one in node.attribute if one.name == name]
    return helper.get_attribute_value(found[0]) if found else defaults[name]
