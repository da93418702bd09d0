import importlib.metadata
import platform
import subprocess
import sys

import pytest
import torch

from didvit import environment
from didvit.environment import versions


def test_versions_are_those_of_the_packages():
    found = versions()
    for package in ("didvit", "numpy", "pillow", "torch", "torchvision", "timm"):
        assert found[package] == importlib.metadata.version(package)
    assert found["python"] == platform.python_version()


def test_the_machine():
    machine = versions()["machine"].split(", ")
    assert machine[0] == platform.machine()
    assert f"{torch.get_num_threads()} threads" in machine


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("processor\t: 0\nmodel name\t: A: B CPU\n\nmodel name\t: second\n", ["A: B CPU"]),
        ("processor\t: 0\nBogoMIPS\t: 50.00\n", ["other"]),
        (None, ["other"]),
    ],
)
def test_the_processor(tmp_path, monkeypatch, content, expected):
    monkeypatch.setattr(platform, "processor", lambda: "other")
    if content is not None:
        (tmp_path / "cpuinfo").write_text(content)
    assert environment._processor(tmp_path / "cpuinfo") == expected


@pytest.mark.parametrize("processor", ["", platform.machine()])
def test_a_processor_that_nobody_names(tmp_path, monkeypatch, processor):
    monkeypatch.setattr(platform, "processor", lambda: processor)
    assert environment._processor(tmp_path / "none") == []


def test_a_module_that_another_package_brings(monkeypatch):
    def version(package):
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert versions()["opencv-python-headless"] == "not installed as such"


def test_what_is_not_installed_is_left_out():
    code = (
        "import sys\n"
        "for name in ('torch', 'torchvision', 'timm', 'openvino'): sys.modules[name] = None\n"
        "from didvit.environment import versions\n"
        "print(*versions())\n"
        "print(versions()['machine'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names, machine = done.stdout.splitlines()
    names = names.split()
    assert {"python", "machine", "didvit", "numpy", "pillow"} <= set(names)
    assert not {"torch", "torchvision", "timm", "openvino"} & set(names)
    assert "threads" not in machine
