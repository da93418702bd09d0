"""Small inputs after reports of the field, and the command, run in this process."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from didvit.cli.main import main

CASES = Path(os.environ.get("DIDVIT_CASES", Path(__file__).parents[3] / "shared" / "cases"))

TINY = (
    *("--model.backbone", "test_vit", "--model.weights", "random", "--model.image-size", "32"),
    *("48", "--model.top-n", "0", "--steps", "2", "--batch-size", "4", "--device", "cpu"),
    *("--data.workers", "0"),
)
"""Options of the least training."""


class Result(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict]:
        """The JSON lines on the standard output, which holds nothing else."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def notes(self) -> str:
        """Problems and warnings of ``data check``, a line each, and its last line."""
        lines = self.out.splitlines()
        starts = [lines.index(title) for title in ("Problems:", "Warnings:") if title in lines]
        return "\n".join(lines[min(starts) :] if starts else lines[-1:])

    def assert_refused(self, *parts: str) -> None:
        """Wrong usage or data, told in one line that has every part."""
        assert (self.code, self.out) == (2, "")
        (line,) = self.err.splitlines()
        assert line.startswith("didvit: error: ")
        for part in parts:
            assert part in line


@pytest.fixture
def didvit(monkeypatch, capfd, model_folder):
    """A function that runs the command in this process; ``predict`` has a tiny model."""

    def run(*arguments) -> Result:
        words = [word for argument in arguments for word in str(argument).split()]
        if words[0] == "predict" and "--model" not in words:
            words += ["--model", str(model_folder), "--device", "cpu", "--threads", "1"]
        if words[:2] == ["data", "check"]:
            words += ["--workers", "0"]
        monkeypatch.setattr(sys, "argv", ["didvit", *words])
        with pytest.raises(SystemExit) as end:
            main()
        return Result(end.value.code or 0, *capfd.readouterr())

    return run


@pytest.fixture
def case(tmp_path, monkeypatch):
    """A function that copies the inputs of a case, by its number, and makes them the folder."""

    def copy(number: str) -> Path:
        found = next(CASES.glob(f"{number}-*"), None)
        if found is None:
            pytest.skip(f"there is no case {number} in {CASES}; set DIDVIT_CASES to their folder")
        folder = tmp_path / found.name
        shutil.copytree(found, folder, copy_function=shutil.copyfile)
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        (folder / "README.md").unlink()
        monkeypatch.chdir(folder)
        return folder

    return copy


@pytest.fixture
def tiny_training():
    return TINY
