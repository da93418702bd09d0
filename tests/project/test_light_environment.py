"""The README's first command, in an environment of its own: it has no PyTorch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST_MEGABYTES = 450


def run(*words, **settings):
    # No settings of this process: it may count threads, or hide packages.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PYTEST"))}
    return subprocess.run(
        list(map(str, words)), capture_output=True, text=True, env=environment, **settings
    )


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The folder of a new virtual environment with the package as users install it."""
    folder = tmp_path_factory.mktemp("light") / "venv"
    run(sys.executable, "-m", "venv", folder, check=True)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    done = run(python, "-m", "pip", "install", "--disable-pip-version-check", ROOT)
    if "NewConnectionError" in done.stdout + done.stderr:
        pytest.skip("the package index cannot be reached")
    assert done.returncode == 0, done.stderr
    return python


@pytest.mark.timeout(170)
def test_photographs_are_tagged_where_there_is_no_pytorch(environment, tmp_path):
    for module in ("torch", "timm", "scipy", "matplotlib"):
        assert run(environment, "-c", f"import {module}").returncode == 1
    command = environment.with_name("didvit")
    done = run(command, "predict", "examples", "--json", tmp_path / "tags.jsonl", cwd=ROOT)
    assert done.returncode == 0, done.stderr
    found = map(json.loads, (tmp_path / "tags.jsonl").read_text().splitlines())
    tags = {Path(line["image"]).stem: line["labels"][0]["label"] for line in found}
    assert tags == {"astronaut": "person", "cat": "cat", "coffee": "cup"}
    done = run(command, "export", "default", "--images", ROOT / "examples", "--output", "out")
    assert "pip install 'didvit[export]'" in done.stderr
    size = sum(path.lstat().st_size for path in environment.parents[1].rglob("*")) / 1e6
    assert size < MOST_MEGABYTES
