"""The engine of ONNX Runtime, on the CPU."""

from pathlib import Path

import numpy as np
import onnxruntime
from jaxtyping import Float

from didvit.config import DiDConfig
from didvit.config.presets import Precision
from didvit.inference.engine import (
    GLOBAL_GRAPH,
    INT8_SUFFIX,
    VIEWS_GRAPH,
    EngineError,
    GlobalPass,
    has_fast_int8,
    int8_graph,
)
from didvit.inference.engines.graphs import (
    AGAIN,
    METADATA,
    GraphDescription,
    check_graph,
    check_method,
    named_outputs,
    weights_of,
)

INPUT = "images"


class OnnxEngine:
    """ONNX Runtime on the graphs of a model folder.

    With products in 8 bits, one image is computed at a time: inputs are rounded by the largest
    value of a batch, and what is found in an image must not depend on the others.

    Args:
        folder: A model folder with graphs.
        threads: Number of threads. None: ONNX Runtime's own choice, the physical cores.
        precision: None: products in 8 bits where the folder has graphs for it and the processor is
            fast at it, else float32.

    Attributes:
        precision: What was chosen.

    Raises:
        EngineError: A file is missing, damaged, of another version, or of other weights.
    """

    name = "onnx"
    all_at_once = False

    def __init__(
        self, folder: Path, threads: int | None = None, precision: Precision | None = None
    ):
        weights = weights_of(folder)
        self.precision = precision or _best_precision(folder)
        whole, part = folder / GLOBAL_GRAPH, folder / VIEWS_GRAPH
        has_views = part.is_file()
        if self.precision == "int8":
            whole, part = int8_graph(whole), int8_graph(part)
        self._global, self._graph = _open(whole, weights, threads)
        self._outputs = [output.name for output in self._global.get_outputs()]
        self._views, self._views_graph = self._global, self._graph
        if has_views:
            self._views, self._views_graph = _open(part, weights, threads)
        self.input_size, self.patch_size = self._graph.input_size, self._graph.patch_size

    def global_pass(
        self, images: Float[np.ndarray, "B 3 H W"], with_boxes: bool = True
    ) -> GlobalPass:
        """The forward pass over whole images; the graph computes all of it in any case."""
        parts = np.split(images, len(images)) if self.precision == "int8" else [images]
        results = [self._global.run(self._outputs, {INPUT: part}) for part in parts]
        return named_outputs(self._outputs, [np.concatenate(v) for v in zip(*results, strict=True)])

    def view_logits(self, views: Float[np.ndarray, "n 3 H W"]) -> Float[np.ndarray, "n C"]:
        """Logits of views, by the graph of their size."""
        fits = views.shape[2:] == self._views_graph.input_size
        session = self._views if fits else self._global
        return np.asarray(session.run(["logits"], {INPUT: views})[0])

    def check_method(self, method: DiDConfig) -> None:
        """Refuse settings other than those that the graphs were made with.

        Raises:
            EngineError: Names the setting.
        """
        check_method(self._graph, self._views_graph, method)


def _best_precision(folder: Path) -> Precision:
    return "int8" if int8_graph(folder / GLOBAL_GRAPH).is_file() and has_fast_int8() else "fp32"


def _open(
    path: Path, weights: str, threads: int | None
) -> tuple[onnxruntime.InferenceSession, GraphDescription]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Threads that spin while they wait take the processor from other programs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if threads is not None:
        options.intra_op_num_threads = threads
    if not path.is_file():
        mend = AGAIN
        if path.name.endswith(INT8_SUFFIX):
            mend = "make it with 'didvit export --precision int8 --data VAL', or take fp32"
        raise EngineError(f"{path} is missing; {mend}")
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    # ONNX Runtime's errors have no common class but Exception.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise EngineError(
            f"{path} cannot be run by ONNX Runtime {onnxruntime.__version__} ({reason[:300]}); "
            f"{AGAIN}, or update ONNX Runtime: pip install -U onnxruntime"
        ) from error
    text = session.get_modelmeta().custom_metadata_map.get(METADATA)
    description = GraphDescription.parse(path, text)
    check_graph(path, description, weights)
    return session, description
