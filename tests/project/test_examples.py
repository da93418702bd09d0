"""Examples in docstrings and in the README run, and print what they say."""

import doctest
import importlib
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from didvit.cli import main as cli

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def modules_with_examples() -> list[str]:
    paths = sorted((ROOT / "src" / "didvit").rglob("*.py"))
    with_examples = [path for path in paths if ">>> " in path.read_text(encoding="utf-8")]
    parts = [path.relative_to(ROOT / "src").with_suffix("").parts for path in with_examples]
    return [".".join(names).removesuffix(".__init__") for names in parts]


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_in_docstrings(name):
    results = doctest.testmod(importlib.import_module(name), verbose=False)
    assert results.failed == 0


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_python_blocks_of_the_readme(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    assert len(blocks("python")) >= 2
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), {})


TINY = "--steps 2 --batch-size 4 --model.backbone test_vit --model.weights random"
TINY += " --model.image-size 32 48 --data.workers 0 --device cpu"


def test_training_block_of_the_readme(tmp_path, monkeypatch, squares):
    """Check, train, report, predict and export, as they stand there, with a tiny model."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(squares[0].parent, "photos")
    for name, table in zip(("train", "val", "test"), (*squares, squares[1]), strict=True):
        rows = table.read_text().replace("\n", f"\n{table.parent}/").rsplit("\n", 1)[0]
        Path(f"{name}.csv").write_text(rows + "\n")
    (block,) = (block for block in blocks("bash") if "didvit train --data.train" in block)
    for line in block.replace("\\\n", " ").splitlines():
        command = shlex.split(line, comments=True)
        if command[1] == "train":
            command += TINY.split()
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as end:
            cli.main()
        # The same images are in two of the data sets, which the check is there to tell.
        assert end.value.code == (3 if command[1] == "data" else 0), line
    assert Path("report.html").exists()
    assert Path("shipped/global.onnx").exists()
