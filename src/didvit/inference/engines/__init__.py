"""Engines, which compute the network: PyTorch, ONNX Runtime and OpenVINO. Each module imports its
own package; `didvit.inference.engine` is what they have in common."""
