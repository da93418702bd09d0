"""Nobody is told what is predicted."""

import os
import subprocess
import sys

PROGRAM = """
import sys
from didvit.inference.predictor import load
load("default", threads=1).predict(sys.argv[1])
"""


def test_onnx_runtime_keeps_nothing_to_send(photographs, tmp_path):
    """Where it reports, it keeps an identifier of the machine, and a queue, below the home."""
    hidden = ("CI", "GITHUB_ACTIONS", "ORT_RUNNING_UNIT_TESTS", "ORT_DISABLE_TELEMETRY")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    image = min(photographs.iterdir())
    subprocess.run([sys.executable, "-c", PROGRAM, image], env=environment, check=True, timeout=100)
    assert not [path for path in tmp_path.rglob("*") if "onnxruntime" in path.name]
