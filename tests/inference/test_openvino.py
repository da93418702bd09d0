"""What OpenVINO does to the process that it computes in."""

import subprocess
import sys

import pytest

pytest.importorskip("openvino")

PROGRAM = """
import faulthandler, gc, signal, sys
from didvit.inference.predictor import load

faulthandler.enable()  # signals are then handled on a stack of their own
for _ in range(2):
    predictor = load("default", engine="openvino", threads=1)
    predictor.predict(sys.argv[1])
    del predictor
    gc.collect()
heard = []
signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
signal.raise_signal(signal.SIGTERM)
print(heard == [signal.SIGTERM])
"""


def test_signals_are_heard_when_the_models_are_gone(photographs):
    image = min(photographs.iterdir())
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, image], capture_output=True, text=True, timeout=100
    )
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
