import subprocess
import sys

import pytest

from didvit.cli import main as cli
from didvit.cli.help import USUAL, first_sentence
from didvit.cli.parsing import Option, options_of
from didvit.config.recipes import RECIPES

ONE_SCREEN, WIDTH = 45, 100
COMMANDS = [*cli._commands(), *(f"train {name}" for name in RECIPES)]


@pytest.fixture
def shown(monkeypatch, capfd):
    """A function that gives the help of a command at a width."""

    def show(*arguments: str, width: int = WIDTH) -> str:
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setattr(sys, "argv", ["didvit", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert not end.value.code
        out, err = capfd.readouterr()
        assert err == ""
        return out

    return show


@pytest.mark.parametrize("command", ["", "data", *COMMANDS])
def test_help_fits_one_screen(shown, command):
    lines = shown(*command.split(), "--help").splitlines()
    assert lines[0].startswith(f"usage: didvit {command}".rstrip())
    assert len(lines) <= ONE_SCREEN
    assert max(map(len, lines)) <= WIDTH
    assert not [line for line in lines if line != line.rstrip()]
    assert not [line for line in lines if "None" in line or "{" in line or "INT" in line]


def options(command: str) -> list[Option]:
    return options_of(cli._commands()["train" if command.startswith("train") else command], "")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_every_option(shown, command):
    words = {word.rstrip(",") for word in shown(*command.split(), "--help").split()}
    for option in options(command):
        assert words.intersection(option.flags or [option.metavar]), option
    assert ("advanced" in words) == ("--help-advanced'" in " ".join(words)) == (
        command.split()[0] in USUAL
    )  # fmt: skip


@pytest.mark.parametrize("command", cli._commands())
def test_the_advanced_help_explains_every_option(shown, command):
    text = " ".join(shown(*command.split(), "--help-advanced", width=10_000).split())
    for option in options(command):
        assert option.help
        assert {*option.help.split()} <= {*text.split()}, option


@pytest.mark.parametrize("width", [60, 80, 160])
def test_help_wraps_at_the_width_of_the_terminal(shown, width):
    lines = shown("train", "--help-advanced", width=width).splitlines()
    # Nothing is wrapped twice: a line is short because the next word would not fit.
    assert max(map(len, lines)) in range(min(width, 120) - 12, min(width, 120) + 1)


def test_help_of_training_lists_recipes_in_a_line_each(shown):
    lines = shown("train", "--help").splitlines()
    for name in RECIPES:
        (line,) = [line for line in lines if line.split()[:1] == [name]]
        assert len(line.split()) > 3


def test_help_of_a_recipe_has_its_settings(shown):
    text = " ".join(shown("train", "voc2007", "--help").split())
    recipe = RECIPES["voc2007"]
    for words in (recipe.summary, recipe.hardware, recipe.expected, "(default: 2000)"):
        assert words in text


def test_a_first_sentence_ends_where_the_next_begins():
    assert first_sentence("Rows, i.e. lines. 0 is none.") == "Rows, i.e. lines."
    assert first_sentence("No end") == "No end"


@pytest.mark.parametrize("command", ["", "data", "predict", "train voc2007 --help-advanced"])
def test_help_does_not_wait_for_torch(command):
    code = (
        "import sys\nfrom didvit.cli.main import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "print(sorted({'torch', 'timm', 'cv2', 'torchvision'} & sys.modules.keys()))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *command.split(), "--help"], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "[]"
