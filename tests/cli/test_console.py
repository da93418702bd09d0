import io
from itertools import count

import numpy as np
import pytest
from rich.console import Console

from didvit.cli import console as console_module
from didvit.cli.console import TrainingConsole, bar, report_tables
from didvit.evaluation.report import report
from didvit.evaluation.scores import Scores

LABELS = ("a", "b[/x]")


@pytest.fixture
def result():
    targets = np.array([[1, 0], [0, 0], [1, 0]])
    logits = np.array([[3.0, 1.0], [2.0, -1.0], [-1.0, -2.0]])
    return report(Scores(np.arange(3), logits, -logits, targets, ()), LABELS)


def text_console(terminal=False) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, soft_wrap=True, emoji=False)


def text_of(console) -> str:
    return console.file.getvalue()


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on by so many seconds at every look."""

    def tick(seconds):
        times = count(0, seconds)
        monkeypatch.setattr(console_module.time, "monotonic", lambda: next(times))

    return tick


# A run


def test_loss_and_speed_are_those_of_recent_steps(make_config, clock):
    clock(10)
    console = text_console()
    config = make_config(steps=40, evaluate_every=40)
    observer = TrainingConsole(config, console)
    observer.start(24, 3, 16, 0)
    for step in range(1, 31):
        observer.step(step, float(step), 0.01, 6)
    assert "step 30/40" in text_of(console)
    last = text_of(console).splitlines()[-1]
    assert f"loss {sum(range(11, 31)) / 20:.4f}" in last
    assert "0.6 images/s" in last


def test_lines_come_now_and_then_without_a_terminal(make_config, clock):
    clock(10)
    console = text_console()
    observer = TrainingConsole(make_config(steps=30, evaluate_every=30), console)
    observer.start(24, 3, 16, 0)
    for step in range(1, 13):
        observer.step(step, 1.0, 0.01, 6)
    assert [line.split()[1] for line in text_of(console).splitlines()[1:]] == [
        "3/30", "6/30", "9/30", "12/30",
    ]  # fmt: skip


def test_a_resumed_run_says_where_it_continues(make_config):
    console = text_console()
    observer = TrainingConsole(make_config(), console)
    observer.start(24, 3, 16, 2)
    observer.step(3, 1.0, 0.01, 6)  # the first of them
    text = "24 images with 3 labels; 16 validation images\ncontinuing after step 2"
    assert text in text_of(console)
    console = text_console()
    TrainingConsole(make_config(), console).start(24, 3, 16, 0)
    assert "continuing" not in text_of(console)


def test_an_evaluation_of_whole_images_has_their_score_alone(make_config, result):
    console = text_console()
    observer = TrainingConsole(make_config(steps=8, single_view_fraction=0.5), console)
    observer.evaluation(4, result, best=False)
    (line,) = text_of(console).splitlines()
    assert line == f"step 4  validation mAP: global {result.fusions['global'].mAP:.2f}"


def test_an_evaluation_is_a_line(make_config, result):
    console = text_console()
    observer = TrainingConsole(make_config(steps=8, single_view_fraction=0.0), console)
    observer.evaluation(2, result, best=True)
    observer.evaluation(4, result, best=False)
    first, second = text_of(console).splitlines()
    scores = "  ".join(f"{name} {fusion.mAP:.2f}" for name, fusion in result.fusions.items())
    assert first == f"step 2  validation mAP: {scores}  (best)"
    assert second == f"step 4  validation mAP: {scores}"


def test_warnings_are_shown_as_they_are(make_config):
    console = text_console()
    TrainingConsole(make_config(), console).warn("a[/b].jpg: the file is empty")
    assert "a[/b].jpg: the file is empty" in text_of(console)


def test_a_bar_on_a_terminal(make_config):
    console = text_console(terminal=True)
    with TrainingConsole(make_config(), console) as observer:
        observer.start(24, 3, 16, 0)
        for step in range(1, 5):
            observer.step(step, 0.25, 0.01, 6)
    assert "4/4" in text_of(console)
    assert "loss 0.2500" in text_of(console)
    assert "learning rate" not in text_of(console)


# Bars and tables


@pytest.mark.parametrize(
    ("terminal", "shown", "expected"),
    [(True, True, True), (True, False, False), (False, True, False)],
)
def test_bars_are_drawn_on_terminals_alone(terminal, shown, expected):
    console = text_console(terminal)
    with bar("reading", 3, console, shown) as advance:
        advance(1)
        advance(2)
    assert ("3/3" in text_of(console)) == expected


def test_tables_hold_every_metric(result):
    console = text_console()
    console.width = 200
    for table in report_tables(result, "max"):
        console.print(table)
    text = text_of(console)
    assert "3 images, in percent" in text
    rows = {cells[0]: cells[1:] for cells in map(cells_of, text.splitlines()) if cells}
    for k, name in enumerate(("global", "local", "max", "mean")):
        fusion = result.fusions[name]
        values = {"mAP": fusion.mAP}
        for kind, metrics in (("all", fusion.all), ("top3", fusion.top3)):
            values |= {f"{key} {kind}": value for key, value in metrics._asdict().items()}
        for key, value in values.items():
            assert rows[key][k] == f"{value:.1f}"
    assert rows["a"] == [f"{result.fusions['max'].AP['a']:.1f}"]
    assert rows["b[/x]"] == ["no image is known to have it"]
    assert "max *" in text


def cells_of(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("│")[1:-1]]
