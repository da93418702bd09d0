"""What a result depends on besides its settings: the versions of packages, and the machine."""

import importlib.metadata
import platform

import torch


def versions() -> dict[str, str]:
    """What a result depends on besides its settings."""
    packages = ("didvit", "torch", "torchvision", "timm", "numpy", "opencv-python-headless")
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads"
    if torch.cuda.is_available():
        machine += f", {torch.cuda.device_count()} x {torch.cuda.get_device_name()}"
    return {
        "python": platform.python_version(),
        "machine": machine,
        **{name: _version(name) for name in packages},
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed as such"  # another package may bring the same module
