import dataclasses
import io
from itertools import count

import numpy as np
import pytest
from rich.console import Console

from didvit import console as console_module
from didvit.console import TrainingConsole, bar, report_tables, step_costs
from didvit.evaluation import Scores, report
from runs import MODEL

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


# What steps cost


def test_costs_of_each_step(make_config):
    config = make_config(
        model=dataclasses.replace(MODEL, top_n=3),
        steps=6,
        global_steps=4,
        small_steps=2,
        small_size=(16, 16),
        evaluate_every=4,
        freeze_backbone=False,
    )
    small = 3 * 6 * 1 / 6  # of a sixth of the area
    assert step_costs(config, 3, 10) == [
        *((pytest.approx(small), 0) for _ in range(2)),
        (18, 0), (18, 10), (72, 0), (72, 40),
    ]  # fmt: skip


def test_costs_of_the_baseline(make_config):
    config = make_config(model=dataclasses.replace(MODEL, top_n=0), freeze_backbone=False)
    assert step_costs(config, 3, 5) == [(18, 0), (18, 5), (18, 0), (18, 5)]


def test_costs_of_smaller_views(make_config):
    """Views of a quarter of the area: 1 + 2 / 4 looks."""
    model = dataclasses.replace(MODEL, top_n=2, view_scale=0.5)
    config = make_config(model=model, freeze_backbone=False)
    assert step_costs(config, 3, 4) == [(27, 0), (27, 6), (27, 0), (27, 6)]
    assert step_costs(config, 1, 4) == [(22.5, 0), (22.5, 5), (22.5, 0), (22.5, 5)]


# A run


def test_time_left_counts_the_costs_to_come(make_config, clock):
    clock(40)
    config = make_config(steps=4, evaluate_every=4, batch_size=6)
    console = text_console()
    observer = TrainingConsole(config, console)
    observer.start(24, 3, 16, 0)
    observer.step(1, 0.5, 0.01, 6)
    (learning, _), *_ = step_costs(config, 3, 16)
    left = 40 / learning * sum(map(sum, step_costs(config, 3, 16)[1:]))
    minutes, seconds = divmod(round(left), 60)
    assert f"left 0:{minutes:02d}:{seconds:02d}" in text_of(console)


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


def test_a_resumed_run_says_where_it_goes_on(make_config):
    console = text_console()
    observer = TrainingConsole(make_config(), console)
    observer.start(24, 3, 16, 2)
    observer.step(3, 1.0, 0.01, 6)  # the first of them
    assert "24 images with 3 labels; 16 to validate on\ngoing on after step 2" in text_of(console)
    console = text_console()
    TrainingConsole(make_config(), console).start(24, 3, 16, 0)
    assert "going on" not in text_of(console)


def test_an_evaluation_of_whole_images_has_their_score_alone(make_config, result):
    console = text_console()
    observer = TrainingConsole(make_config(steps=8, global_steps=4), console)
    observer.evaluation(4, result, best=False)
    (line,) = text_of(console).splitlines()
    assert line == f"step 4  validation mAP: global {result.fusions['global'].mAP:.2f}"


def test_an_evaluation_is_a_line(make_config, result):
    console = text_console()
    observer = TrainingConsole(make_config(steps=8, global_steps=0), console)
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
    assert rows["b[/x]"] == ["none in the data"]
    assert "max *" in text


def cells_of(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("│")[1:-1]]
