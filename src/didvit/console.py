"""What a person at a terminal sees: bars, log lines and tables. All of it goes to stderr."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from didvit.config import TrainConfig
from didvit.evaluation import Report
from didvit.training import TrainingObserver

LOG_SECONDS = 30
"""Between the log lines of a training run that has no terminal."""


def stderr_console() -> Console:
    """Messages wrap at the terminal's width, and nowhere else."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


@contextmanager
def bar(
    description: str, total: int, console: Console, shown: bool = True
) -> Iterator[Callable[[int], None]]:
    """A progress bar with the time left; gives the function that advances it.

    Without a terminal, or not ``shown``, nothing is drawn.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
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

    Images per second count the time of training steps, without evaluations.
    """

    def __init__(self, config: TrainConfig, console: Console):
        self.config = config
        self.console = console
        self.seconds, self.images = 0.0, 0
        self.last_step = self.last_line = time.monotonic()
        self.progress = Progress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.fields[state]}"),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self.task = self.progress.add_task("training", total=config.steps, state="")

    def __enter__(self) -> "TrainingConsole":
        self.progress.start()
        return self

    def __exit__(self, *exception) -> None:
        self.progress.stop()

    def start(self, num_images: int, num_labels: int, num_validation: int) -> None:
        """The data are read; the first batch is next."""
        self.console.print(
            f"{num_images} images with {num_labels} labels; {num_validation} to validate on"
        )
        self.last_step = self.last_line = time.monotonic()

    def step(self, step: int, loss: float, learning_rate: float, images: int) -> None:
        """Advance the bar, or print a line now and then."""
        now = time.monotonic()
        self.seconds, self.images = self.seconds + now - self.last_step, self.images + images
        self.last_step = now
        speed = self.images / self.seconds if self.seconds else 0.0
        state = f"loss {loss:.4f}  {speed:.1f} images/s"
        self.progress.update(self.task, completed=step, state=state)
        if not self.console.is_terminal and now - self.last_line >= LOG_SECONDS:
            left = self.seconds / step * (self.config.steps - step)
            self.console.print(
                f"step {step}/{self.config.steps}  {state}  learning rate {learning_rate:.2g}  "
                f"left {left / 60:.0f} min"
            )
            self.last_line = now

    def evaluation(self, step: int, result: Report, best: bool) -> None:
        """One line with the mAP of every fusion."""
        scores = "  ".join(f"{name} {fusion.mAP:.2f}" for name, fusion in result.fusions.items())
        self.console.print(f"step {step}  validation mAP: {scores}{'  (best)' if best else ''}")
        self.last_step = time.monotonic()

    def warn(self, message: str) -> None:
        """A line of its own."""
        self.console.print(f"[yellow]warning[/yellow] {message}")


def report_tables(result: Report, fusion: str) -> list[Table]:
    """The metrics of every fusion, and AP by label of the model's own."""
    metrics = Table(title=f"{result.num_images} images, in percent")
    metrics.add_column("fusion")
    columns = (
        "mAP",
        *(f"{c} {k}" for k in ("all", "top3") for c in result.fusions[fusion].all._fields),
    )
    for column in columns:
        metrics.add_column(column.replace(" ", "\n"), justify="right")
    for name, row in result.fusions.items():
        values = (row.mAP, *row.all, *row.top3)
        metrics.add_row(
            f"{name} *" if name == fusion else name, *(f"{value:.1f}" for value in values)
        )
    metrics.caption = "* the model's own fusion"
    by_label = Table(title=f"AP by label, fusion {fusion}")
    by_label.add_column("label")
    by_label.add_column("AP", justify="right")
    for label, ap in result.fusions[fusion].AP.items():
        by_label.add_row(label, "none in the data" if ap is None else f"{ap:.1f}")
    return [metrics, by_label]
