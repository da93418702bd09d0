"""What imports what, and what is not imported until it is needed."""

import configparser
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import didvit
from didvit.cli.evaluate import evaluate as evaluate_command
from didvit.evaluation.evaluate import evaluate

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "timm", "cv2", "torchvision", "scipy", "matplotlib")


def test_every_module_is_in_a_layer():
    """`test_checks_pass` holds the contract; this one holds that it leaves nothing out."""
    contract = configparser.ConfigParser()
    contract.read(ROOT / ".importlinter")
    rooms = contract["importlinter:contract:rooms"]
    assert rooms.getboolean("exhaustive")
    layers = rooms["layers"].replace("|", " ").split()
    package = ROOT / "src" / "didvit"
    folders = {path.parent.name for path in package.glob("*/__init__.py")}
    files = {path.stem for path in package.glob("*.py")} - {"__init__"}
    assert sorted(layers) == sorted(folders | files)
    assert not [
        path for path in package.rglob("*.py") if not (path.parent / "__init__.py").exists()
    ]


def test_public_names_exist():
    assert {*didvit.__all__} == {*didvit._HOMES}
    for name in didvit.__all__:
        assert getattr(didvit, name).__doc__
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = didvit.no_such_name


@pytest.mark.parametrize(
    "statement",
    ["import didvit", "import didvit.config.recipes", "import didvit.cli.main"],
)
def test_imports_do_not_wait_for_torch(statement):
    code = f"{statement}; import sys; print(sorted({set(HEAVY)} & sys.modules.keys()))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("[]\n", "")


def test_function_and_command_have_the_same_defaults():
    command = inspect.signature(evaluate_command).parameters
    function = inspect.signature(evaluate).parameters
    shared = command.keys() & function.keys() - {"data", "model", "device", "workers"}
    assert shared >= {"preset", "difficult", "without_labels", "resamples", "batch_size"}
    for name in shared:
        assert command[name].default == function[name].default, name
