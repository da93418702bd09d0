"""Output for people: bars and log lines on stderr, tables on stdout."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from didvit.config import TrainConfig
from didvit.data.wording import one_line
from didvit.evaluation.decided import DecidedReport, Estimate
from didvit.evaluation.metrics import PrecisionRecall
from didvit.evaluation.report import Report
from didvit.training.observer import TrainingObserver

RECENT_STEPS = 20
"""Number of steps that the loss and speed on display are means of."""
LOG_SECONDS = 30
"""Seconds between log lines of a training run without a terminal."""


def stderr_console() -> Console:
    """Messages wrap at the terminal's width, and nowhere else."""
    return Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


@contextmanager
def bar(
    description: str, total: int, console: Console, shown: bool = True
) -> Iterator[Callable[[int], None]]:
    """A progress bar with the time left; gives the function that advances it.

    Without a terminal, or not ``shown``, nothing is drawn.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    # The time left alone: beside the time that has passed, either is taken for the other.
    times = (TextColumn("time left"), TimeRemainingColumn())
    # Standard output is for results: rich must not send it elsewhere.
    with Progress(
        *columns,
        *times,
        console=console,
        disable=not (console.is_terminal and shown),
        redirect_stdout=False,
    ) as progress:
        task = progress.add_task(description, total=total)
        yield lambda amount: progress.advance(task, amount)


class TrainingConsole(TrainingObserver):
    """A bar with loss, images per second and time left; plain lines where there is no terminal.

    Loss and speed are those of the last `RECENT_STEPS`.
    """

    def __init__(self, config: TrainConfig, console: Console):
        self.config = config
        self.console = console
        self.first_step = 0
        self.recent: deque[tuple[float, float, int]] = deque(maxlen=RECENT_STEPS)
        self.last_step = self.last_line = time.monotonic()
        self.progress = Progress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.fields[state]}  time left"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            disable=not console.is_terminal,
            speed_estimate_period=300,
        )
        total = config.schedule.steps
        self.task = self.progress.add_task("training", total=total, state="")

    def __enter__(self) -> "TrainingConsole":
        self.progress.start()
        return self

    def __exit__(self, *exception) -> None:
        self.progress.stop()

    def start(self, num_images: int, num_labels: int, num_validation: int, step: int) -> None:
        """Say how much data there is, and where a resumed run continues."""
        self.console.print(
            f"{num_images} images with {num_labels} labels; {num_validation} validation images"
        )
        if step:
            self.console.print(f"continuing after step {step}")
        self.first_step = step
        self.progress.update(self.task, completed=step)
        self.last_step = self.last_line = time.monotonic()

    def step(self, step: int, loss: float, learning_rate: float, images: int) -> None:
        """Advance the bar, or print a line now and then."""
        now, steps = time.monotonic(), self.config.schedule.steps
        self.recent.append((now - self.last_step, loss, images))
        self.last_step = now
        seconds, losses, num_images = map(sum, zip(*self.recent, strict=True))
        loss, speed = losses / len(self.recent), num_images / max(seconds, 1e-9)
        state = f"loss {loss:.4f}  {speed:.1f} images/s"
        self.progress.update(self.task, completed=step, state=state)
        if not self.console.is_terminal and now - self.last_line >= LOG_SECONDS:
            rate = f"learning rate {learning_rate:.2g}"
            self.console.print(f"step {step}/{steps}  {rate}  {state}")
            self.last_line = now

    def evaluation(self, step: int, result: Report, best: bool) -> None:
        """One line with the mAP of every fusion, or of whole images where only they were scored."""
        names = result.fusions if self.config.scores_views(step) else ("global",)
        scores = "  ".join(f"{name} {result.fusions[name].mAP:.2f}" for name in names)
        self.console.print(f"step {step}  validation mAP: {scores}{'  (best)' if best else ''}")
        self.last_step = time.monotonic()

    def note(self, message: str) -> None:
        """Print a line of its own."""
        self.console.print(escape(one_line(message)))

    def warn(self, message: str) -> None:
        """A line of its own."""
        self.console.print(f"[yellow]warning[/yellow] {escape(one_line(message))}")


def report_tables(result: Report, fusion: str) -> list[Table]:
    """The metrics of every fusion, and AP by label of the model's own."""
    metrics = Table(title=f"{result.num_images} images, in percent")
    metrics.add_column("")
    for name in result.fusions:
        metrics.add_column(f"{name} *" if name == fusion else name, justify="right")
    intervals = [row.mAP_interval for row in result.fusions.values()]
    own = [(row.mAP, row.mAP_11_point, *row.all, *row.top3) for row in result.fusions.values()]
    fields = result.fusions[fusion].all._fields
    names = ("mAP", "mAP 11-point", *(f"{c} {k}" for k in ("all", "top3") for c in fields))
    for name, values in zip(names, zip(*own, strict=True), strict=True):
        metrics.add_row(name, *(f"{value:.1f}" for value in values))
        if name == "mAP" and all(intervals):
            ranges = (f"{low:.1f}-{high:.1f}" for low, high in filter(None, intervals))
            metrics.add_row("95 %", *ranges)
    metrics.caption = "* the model's own fusion"
    by_label = Table(title=f"AP by label, fusion {fusion}")
    by_label.add_column("label")
    by_label.add_column("AP", justify="right")
    for label, ap in result.fusions[fusion].AP.items():
        by_label.add_row(escape(label), result.left_out[label] if ap is None else f"{ap:.1f}")
    return [metrics, by_label]


def decided_table(decided: DecidedReport, at_even_odds: PrecisionRecall) -> Table:
    """Precision, recall and F1 at 0.5 and at the model's thresholds, and calibration."""
    table = Table(title="decisions, in percent")
    for name in ("", "sigmoid, 0.5", f"tuned, {decided.aim}"):
        table.add_column(name, justify="right" if name else "left")
    for name, before, after in zip(at_even_odds._fields, at_even_odds, decided.all, strict=True):
        table.add_row(name, f"{before:.1f}", f"{after:.1f}")
    for name, before, after in (
        ("calibration error", decided.calibration_error_before, decided.calibration_error),
        ("Brier score", decided.brier_before, decided.brier),
    ):
        table.add_row(name, _percent(before), _percent(after))
    return table


def _percent(estimate: Estimate) -> str:
    if estimate.interval is None:
        return f"{100 * estimate.value:.2f}"
    low, high = estimate.interval
    return f"{100 * estimate.value:.2f} ({100 * low:.2f}-{100 * high:.2f})"
