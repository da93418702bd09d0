"""The transcript of likely mistakes is what the command says."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_transcript_is_current():
    path = ROOT / "scripts" / "mistakes.py"
    spec = importlib.util.spec_from_file_location("mistakes", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    written = script.TRANSCRIPT.read_text(encoding="utf-8")
    assert script.transcript() == written, "run: python scripts/mistakes.py"
    assert written.count("(exit code 2)") == len(script.MISTAKES) == 10
