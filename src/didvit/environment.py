"""What a result depends on besides its settings: the versions of packages, and the machine."""

import importlib.metadata
import platform
from importlib.util import find_spec
from pathlib import Path

MODULES = {
    "didvit": "didvit",
    "numpy": "numpy",
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "torch": "torch",
    "torchvision": "torchvision",
    "timm": "timm",
}
"""Module of each package whose version is told."""


def versions() -> dict[str, str]:
    """Tell what a result depends on besides its settings.

    Returns:
        ``python``; ``machine``: the architecture, the model of the processor where the system
        tells it and, where PyTorch is installed, its number of threads and the GPUs; and the
        version of each package that is installed. A module that another package brings, as
        ``opencv-python`` does, is "not installed as such".
    """
    return {
        "python": platform.python_version(),
        "machine": ", ".join([platform.machine(), *_processor(), *_torch_devices()]),
        **{name: _version(name) for name, module in MODULES.items() if find_spec(module)},
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed as such"  # another package may bring the same module


def _processor(information: Path = Path("/proc/cpuinfo")) -> list[str]:
    """The model of the processor; nothing where the system does not tell it."""
    try:
        lines = information.read_text(errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.processor()
    return [model] if model and model != platform.machine() else []


def _torch_devices() -> list[str]:
    """The number of PyTorch's threads, and the GPUs; nothing where PyTorch is not installed."""
    if not find_spec("torch"):
        return []
    import torch

    devices = [f"{torch.get_num_threads()} threads"]
    if torch.cuda.is_available():
        devices.append(f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}")
    return devices
