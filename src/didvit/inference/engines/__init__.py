"""Engines, which compute the network: PyTorch, ONNX Runtime and OpenVINO. Each module imports its
own package; `didvit.inference.engine` is what they have in common."""

import os

# From version 1.29 on, ONNX Runtime reports its use to Microsoft, unless it is told not to before
# it is imported. ORT_DISABLE_TELEMETRY=0 in the environment leaves that as it is.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
