"""What computes the network: the interface of an engine, and which one a folder is opened with."""

import importlib.util
from pathlib import Path
from typing import NamedTuple, Protocol, cast, get_args

import numpy as np
from jaxtyping import Float

from didvit.config import ConfigError, DiDConfig
from didvit.config.presets import EngineName
from didvit.modeling.folder import CONFIG, check_is_there, find_model

Size = tuple[int, int]

GLOBAL_GRAPH, VIEWS_GRAPH = "global.onnx", "views.onnx"
"""Files of a model folder that ONNX Runtime and OpenVINO run."""

CPU_FLAGS = Path("/proc/cpuinfo")
FAST_FLAGS = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")
"""Any of these: products of whole numbers of 8 bits are fast, and exact."""

INT8_SUFFIX = ".int8.onnx"
"""Suffix of the same graphs that compute in 8 bits."""

IR_SUFFIX = ".xml"
"""Suffix of the same graphs in OpenVINO's own form, which OpenVINO alone runs."""

MENDS = {
    "onnx": "pip install onnxruntime",
    "openvino": "pip install 'didvit[openvino]'",
    "pytorch": "pip install 'didvit[train]'",
}
"""What installs an engine."""

MODULES = {"onnx": "onnxruntime", "openvino": "openvino", "pytorch": "torch"}


class EngineError(ValueError):
    """An engine is not installed, or cannot run a model; the message says how to mend it."""


class GlobalPass(NamedTuple):
    """Result of the forward pass over whole images. The baseline has no spatial map.

    Attributes:
        logits: Global logits.
        features: Mean of an image's patch tokens.
        semantic_maps: A map per category; their means are the logits of most heads.
        instance_maps: Semantic maps combined with the spatial map; boxes are found on them.
        spatial_map: Attention rollout of the class token, or None.
    """

    logits: Float[np.ndarray, "B C"]
    features: Float[np.ndarray, "B D"]
    semantic_maps: Float[np.ndarray, "B C h w"]
    instance_maps: Float[np.ndarray, "B C h w"]
    spatial_map: Float[np.ndarray, "B h w"] | None


class Engine(Protocol):
    """A network that is ready to run.

    Attributes:
        name: How users name the engine.
        input_size: Height and width of whole images, in pixels.
        patch_size: Height and width of a patch, in pixels.
        all_at_once: Views of a batch are fastest in one pass, as on a GPU. On a CPU, they are in
            passes of as many as fill the area of the input.
    """

    name: str
    all_at_once: bool
    input_size: Size
    patch_size: Size

    def global_pass(
        self, images: Float[np.ndarray, "B 3 H W"], with_boxes: bool = True
    ) -> GlobalPass:
        """The forward pass over whole images, float32 in [0, 1]; ``with_boxes``: for boxes too."""
        ...

    def view_logits(self, views: Float[np.ndarray, "n 3 H W"]) -> Float[np.ndarray, "n C"]:
        """Logits of views, float32 in [0, 1], of the size that the method asks for."""
        ...

    def check_method(self, method: DiDConfig) -> None:
        """Refuse settings that the engine cannot run.

        Raises:
            EngineError: Names the setting.
        """
        ...


def choose_engine(model: str | Path, engine: str | None, device: object = None) -> EngineName:
    """The engine that a model is run by.

    Args:
        model: Folder or name of a model.
        engine: Name of an engine. None: the one that the folder has graphs for, where no other
            device than the CPU is asked for; else ``pytorch``.
        device: ``None``, ``"auto"``, ``"cpu"``, or a device of PyTorch.

    Raises:
        ConfigError: There is no such engine, or it does not run on the device.
        EngineError: It is not installed, or the folder has no graphs for it.
        CheckpointError: There is no such model.
    """
    folder, on_cpu = find_model(model), str(device).partition(":")[0] in ("None", "auto", "cpu")
    check_is_there(folder / CONFIG)
    has_graphs = (folder / GLOBAL_GRAPH).is_file()
    of_openvino = (folder / GLOBAL_GRAPH).with_suffix(IR_SUFFIX).is_file()
    if engine is None:
        engine = "pytorch"
        if on_cpu and of_openvino and not has_graphs:
            engine = "openvino"
        elif on_cpu and has_graphs and is_installed("onnx"):
            engine = "onnx"
        if not is_installed(engine):
            raise EngineError(_why_none(folder, has_graphs, device if not on_cpu else None))
    if engine not in get_args(EngineName):
        raise ConfigError(f"engine is {engine!r}; expected one of {', '.join(MODULES)}")
    if engine != "pytorch" and not on_cpu:
        raise ConfigError(f"engine {engine} runs on the CPU, not on {device}; expected pytorch")
    if not is_installed(engine):
        raise EngineError(f"the engine {engine} is not installed: {MENDS[engine]}")
    if engine != "pytorch" and not (has_graphs or (of_openvino and engine == "openvino")):
        raise EngineError(
            f"{folder} has no {GLOBAL_GRAPH} for the engine {engine}; make it with "
            f"'didvit export {model} --output DIR'"
        )
    return cast("EngineName", engine)


def int8_graph(path: Path) -> Path:
    """Where the graph lies that computes in 8 bits what this one computes in float32."""
    return path.with_suffix(INT8_SUFFIX)


def has_fast_int8() -> bool:
    """Whether the processor has instructions for products in 8 bits; False where it is unknown."""
    try:
        text = CPU_FLAGS.read_text()
    except OSError:
        return False
    flags = next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), "")
    return any(flag in flags.split() for flag in FAST_FLAGS)


def is_installed(engine: str) -> bool:
    """Whether the package of an engine can be imported."""
    try:
        return importlib.util.find_spec(MODULES[engine]) is not None
    except ValueError:  # a module that stands in sys.modules as None
        return False


def _why_none(folder: Path, has_graphs: bool, device: object) -> str:
    if device is not None:
        return f"device {device} needs PyTorch: {MENDS['pytorch']}"
    if has_graphs:
        return f"no engine is installed: {MENDS['onnx']}, or {MENDS['pytorch']}"
    if (folder / GLOBAL_GRAPH).with_suffix(IR_SUFFIX).is_file():
        return f"{folder} has graphs for OpenVINO: {MENDS['openvino']}"
    return (
        f"{folder} has no {GLOBAL_GRAPH}, so that it needs PyTorch: {MENDS['pytorch']}; or export "
        "it where PyTorch is installed, with 'didvit export'"
    )
