"""The engine of OpenVINO, on the CPU. It runs the same graphs as the engine of ONNX Runtime."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from jaxtyping import Float

from didvit.config import DiDConfig
from didvit.config.presets import Precision
from didvit.inference.engine import (
    GLOBAL_GRAPH,
    IR_SUFFIX,
    VIEWS_GRAPH,
    EngineError,
    GlobalPass,
)
from didvit.inference.engines.graphs import (
    AGAIN,
    METADATA,
    OUTPUTS,
    GraphDescription,
    check_graph,
    check_method,
    named_outputs,
    weights_of,
)


class OpenVinoEngine:
    """OpenVINO on the graphs of a model folder.

    Graphs of the precision fp32 are computed in float32; of others, as OpenVINO chooses: in
    bfloat16 where the processor has instructions for it.

    Args:
        folder: A model folder with graphs.
        threads: Number of threads. None: OpenVINO's own choice.
        precision: ``"fp32"``: float32, whatever the graph's precision.

    Raises:
        EngineError: A file is missing, damaged, of another version, or of other weights.
    """

    name = "openvino"
    all_at_once = False

    def __init__(
        self, folder: Path, threads: int | None = None, precision: Precision | None = None
    ):
        weights = weights_of(folder)
        whole = _graph(folder, GLOBAL_GRAPH)
        self._global, self._graph = _open(whole, weights, threads, precision)
        # An output may have other names beside its own.
        names = {name for output in self._global.outputs for name in output.names}
        self._outputs = [name for name in OUTPUTS if name in names]
        self._views, self._views_graph = self._global, self._graph
        if (views := _graph(folder, VIEWS_GRAPH)).is_file():
            self._views, self._views_graph = _open(views, weights, threads, precision)
        self.input_size, self.patch_size = self._graph.input_size, self._graph.patch_size

    def global_pass(
        self, images: Float[np.ndarray, "B 3 H W"], with_boxes: bool = True
    ) -> GlobalPass:
        """The forward pass over whole images; the graph computes all of it in any case."""
        values = self._global(images)
        return named_outputs(self._outputs, [values[name] for name in self._outputs])

    def view_logits(self, views: Float[np.ndarray, "n 3 H W"]) -> Float[np.ndarray, "n C"]:
        """Logits of views, by the graph of their size."""
        fits = views.shape[2:] == self._views_graph.input_size
        return (self._views if fits else self._global)(views)["logits"]

    def check_method(self, method: DiDConfig) -> None:
        """Refuse settings other than those that the graphs were made with.

        Raises:
            EngineError: Names the setting.
        """
        check_method(self._graph, self._views_graph, method)


@cache
def core() -> openvino.Core:
    """OpenVINO's core, one for the whole process, which is never given up.

    On processors with AMX, a core moves the stack on which signals are handled, and puts it back
    when it goes. Of two cores that go in the order in which they came, the last puts back a stack
    that is gone, and the next signal, such as Ctrl-C, ends the process.
    """
    return openvino.Core()


def _graph(folder: Path, name: str) -> Path:
    """A graph in OpenVINO's own form, where there is one, else in ONNX's."""
    own = (folder / name).with_suffix(IR_SUFFIX)
    return own if own.is_file() else folder / name


def _open(
    path: Path, weights: str, threads: int | None, precision: Precision | None
) -> tuple[Any, GraphDescription]:
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    if not path.is_file():
        raise EngineError(f"{path} is missing; {AGAIN}")
    try:
        model = core().read_model(path)
    # OpenVINO raises RuntimeError, and nearly anything at a damaged file.
    except Exception as error:
        raise _cannot_run(path, error) from error
    info = model.get_rt_info()
    text = info["framework"][METADATA].value if "framework" in info else None
    description = GraphDescription.parse(path, text)
    check_graph(path, description, weights)
    if "fp32" in (description.precision, precision):
        settings["INFERENCE_PRECISION_HINT"] = "f32"
        settings["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = 0  # else packed weights compute in 8 bits
    try:
        return core().compile_model(model, "CPU", settings), description
    except Exception as error:
        raise _cannot_run(path, error) from error


def _cannot_run(path: Path, error: Exception) -> EngineError:
    reason = " ".join(str(error).split())[:300]
    return EngineError(
        f"{path} cannot be run by OpenVINO {openvino.__version__} ({reason}); {AGAIN}"
    )
