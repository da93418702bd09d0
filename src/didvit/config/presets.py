"""The settings of the method by name, as ``--preset`` takes them, and the names of engines."""

from types import MappingProxyType
from typing import Literal

from didvit.method.config import DIDVIT, FAST, PAPER, DiDConfig

Preset = Literal["didvit", "fast", "paper"]

PRESETS: MappingProxyType[Preset, DiDConfig] = MappingProxyType(
    {"didvit": DIDVIT, "fast": FAST, "paper": PAPER}
)

EngineName = Literal["onnx", "openvino", "pytorch"]
"""What computes a prediction, as ``--engine`` takes it."""

Precision = Literal["fp32", "int8"]
"""What ONNX Runtime computes in, as ``--precision`` takes it."""
