"""Wrong usage is told in a line, before anything heavy is imported."""

import subprocess
import sys

import pytest

from didvit.cli import main as cli
from didvit.cli.advice import ADVICE
from didvit.cli.parsing import options_of


@pytest.fixture
def error(monkeypatch, capfd, tmp_path):
    """A function that gives the one line of an error."""
    monkeypatch.chdir(tmp_path)

    def run(command: str) -> str:
        monkeypatch.setattr(sys, "argv", ["didvit", *command.split()])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capfd.readouterr()
        assert (end.value.code, out) == (2, "")
        (line,) = err.splitlines()
        assert not list(tmp_path.iterdir())
        return line.removeprefix("didvit: error: ")

    return run


TRAIN = "train --data.train a.csv --data.val b.csv --output c "


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("", "'didvit' needs a command; expected one of predict, evaluate"),
        ("predct a.jpg", "there is no command 'predct' in 'didvit'; did you mean 'predict'?"),
        ("nonsense", "expected one of predict, evaluate, report"),
        ("data", "'didvit data' needs a command; expected one of check, check-submission"),
        ("data check-submit", "did you mean 'check-submission'?"),
        ("predict a --treshold 1", "there is no --treshold in 'didvit predict'; did you mean "),
        ("predict a --treshold=1", "there is no --treshold in 'didvit predict'; did you mean "),
        ("predict a --nonsense", "there is no --nonsense in 'didvit predict'; 'didvit predict --h"),
        ("predict a -z", "there is no -z in 'didvit predict'"),
        (TRAIN + "--workers 3", "did you mean --data.workers?"),
        ("predict a.jpg --threshold much", "--threshold is 'much'; expected X or LABEL=X"),
        ("predict a.jpg --threshold cat=x", "--threshold is 'cat=x'; expected X or LABEL=X"),
        ("predict a.jpg --threshold 0.3 dog=0.2", "--threshold has 0.3 for all labels, and others"),
        ("predict a --top-n 1.5", "--top-n is '1.5'; expected a whole number"),
        ("predict a --top_n=1.5", "--top-n is '1.5'; expected a whole number"),
        ("predict a --top-n", "--top-n: expected 1 argument"),
        ("evaluate", "--data is missing; 'didvit evaluate --help' explains the options"),
        ("evaluate a.csv", "'a.csv' is not expected there; did you mean --data a.csv?"),
        ("evaluate --data a --difficult no", "expected ignore, positive or negative"),
        (TRAIN + "extra", "'extra' is not expected there; 'didvit train' takes options alone"),
        (TRAIN + "--freeze-backbone False", "'False' is not expected there"),
        (TRAIN + "--model.image-size 3", "--model.image-size: expected 2 arguments"),
        (TRAIN + "--model.image-size 3 b", "--model.image-size is 'b'; expected a whole number"),
        (TRAIN + "--lr fast", "--learning-rate is 'fast'; expected a number"),
        (TRAIN + "--loss.name none", "--loss.name is 'none'; expected soft_margin, focal or asym"),
        ("train", "--output, --data.train and --data.val are missing"),
        ("pack", "MODEL and --output are missing"),
        ("experiment table9 --root .", "NAME is 'table9'; expected table1, table2"),
    ],
)
def test_wrong_usage(error, command, words):
    assert words in error(command)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (TRAIN + "--epochs 3", "use --steps (steps = epochs x images / batch size"),
        (TRAIN + "--csv x", "use --data.train (PATH or PATH:SPLIT"),
        (TRAIN + "--imgsz 640", "use --model.image-size (height and width in pixels"),
        (TRAIN + "--batch 8", "use --batch-size"),
        (TRAIN + "--lr0 0.1", "use --learning-rate"),
        (TRAIN + "--weights x", "use --model.weights (the backbone's first weights; --start-from"),
        (TRAIN + "--model resnet50", "use --model.backbone"),
        ("train voc2007 --num-workers 3", "use --data.workers"),
        ("predict a --conf 0.3", "use --threshold"),
        ("predict a --imgsz 640", "the input's size is the model's own"),
        ("predict --source a", "use PATH..."),
        ("predict a --weights x", "use --model"),
        ("evaluate --csv a", "use --data (PATH or PATH:SPLIT"),
        ("data check --csv a", "use PATH... (PATH or PATH:SPLIT"),
    ],
)
def test_options_of_other_projects(error, command, words):
    name = next(word for word in reversed(command.split()) if word.startswith("--"))
    line = error(command)
    assert line.startswith(f"there is no {name} in 'didvit")
    assert words in line


def test_options_of_other_projects_lead_to_ours():
    known = {
        name
        for command in cli._commands().values()
        for option in options_of(command, "didvit")
        for name in (option.flags or (option.metavar,))
    }
    for advice in ADVICE:
        assert {*advice.ours} <= known, advice


def test_lr_is_the_learning_rate(monkeypatch):
    given = []
    monkeypatch.setattr(cli, "train", lambda config: given.append(config) or 0)
    for option in ("--lr", "--learning-rate", "--learning_rate"):
        monkeypatch.setattr(sys, "argv", ["didvit", *TRAIN.split(), option, "0.125"])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert end.value.code == 0
    assert [config.optimizer.learning_rate for config in given] == [0.125] * 3


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("predict phtos", "there is no such file or folder: phtos"),
        ("predict a.jpg --threshold 80", "--threshold is 80; expected a probability in [0, 1]; 80"),
        ("predict a.jpg --batch-size 0", "--batch-size is 0; expected 1 or more"),
        (
            "predict a.jpg --device gpu",
            "--device is 'gpu'; expected auto, cpu, cuda, ",
        ),
        ("predict a.jpg --model nowhere", "there is no model 'nowhere'; expected a folder that"),
        ("evaluate --data nowhere", "--data: there is no such file or folder: nowhere"),
        ("evaluate --data nowhere:val", "--data: there is no such file or folder: nowhere"),
        ("evaluate --data . --batch-size 0", "--batch-size is 0"),
        ("evaluate --data . --model nowhere", "there is no model 'nowhere'"),
        ("train voc2007 --data.root nowhere", "no such file or folder: nowhere/VOC2007"),
        (TRAIN + "--device gpu", "--device is 'gpu'"),
        (TRAIN, "--data.train: there is no such file or folder: a.csv"),
        (
            "train --data.train . --data.val . --output out --loss.teacher nowhere",
            "--loss.teacher: there is no model 'nowhere'",
        ),
        ("data check nowhere", "data set: there is no such file or folder: nowhere"),
        ("data check-submission files --data nowhere", "--data: there is no such file or folder"),
        ("pack nowhere --output out", "there is no model 'nowhere'"),
    ],
)
def test_what_can_be_seen_at_once(error, monkeypatch, command, words):
    monkeypatch.setitem(sys.modules, "didvit.cli.console", None)  # what all of them import first
    assert words in error(command)


def test_a_file_is_no_output_folder(monkeypatch, capfd, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setitem(sys.modules, "didvit.cli.console", None)
    for command in (f"predict a.jpg --output {tmp_path}/file", f"{TRAIN} --output {tmp_path}/file"):
        monkeypatch.setattr(sys, "argv", ["didvit", *command.split()])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert end.value.code == 2
        assert "file is a file; expected a folder" in capfd.readouterr().err


def test_refusals_do_not_import_torch():
    code = (
        "import sys\nfrom didvit.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 2\n"
        "print('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, "predict", "a.jpg", "--threshold", "80"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.stdout == "False\n", result.stderr
