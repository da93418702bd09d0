"""What a person at a terminal sees: bars, log lines and tables. All of it goes to stderr."""

import datetime
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
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from didvit.config import TrainConfig
from didvit.evaluation import Report
from didvit.training import TrainingObserver

RECENT_STEPS = 20
"""That the loss and speed shown are means of."""
LOG_SECONDS = 30
"""Between the log lines of a training run that has no terminal."""


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

    Loss and speed are those of the last `RECENT_STEPS`. Time left counts the looks at images that
    are to come, those of the evaluations included, as if each took the same time.
    """

    def __init__(self, config: TrainConfig, console: Console):
        self.config = config
        self.console = console
        self.recent: deque[tuple[float, float, int, int]] = deque(maxlen=RECENT_STEPS)
        self.num_validation = 0
        self.last_step = self.last_line = time.monotonic()
        self.progress = Progress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.fields[state]}"),
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
        self.num_validation = num_validation
        self.last_step = self.last_line = time.monotonic()

    def step(self, step: int, loss: float, learning_rate: float, images: int) -> None:
        """Advance the bar, or print a line now and then."""
        now = time.monotonic()
        self.recent.append((now - self.last_step, loss, images, self._passes(step - 1, step)))
        self.last_step = now
        seconds, losses, num_images, passes = map(sum, zip(*self.recent, strict=True))
        left = seconds / passes * self._passes(step, self.config.steps, evaluations=True)
        loss, speed = losses / len(self.recent), num_images / max(seconds, 1e-9)
        time_left = datetime.timedelta(seconds=round(left))
        state = f"loss {loss:.4f}  {speed:.1f} images/s  left {time_left}"
        self.progress.update(self.task, completed=step, state=state)
        if not self.console.is_terminal and now - self.last_line >= LOG_SECONDS:
            rate = f"learning rate {learning_rate:.2g}"
            self.console.print(f"step {step}/{self.config.steps}  {rate}  {state}")
            self.last_line = now

    def _passes(self, start: int, stop: int, evaluations: bool = False) -> int:
        """Looks at images in the steps from ``start`` (from 0) to ``stop`` (exclusive)."""
        looks, every = 1 + self.config.model.top_n, self.config.evaluate_every
        alone = max(min(stop, self.config.global_steps) - start, 0)
        passes = (alone + (stop - start - alone) * looks) * self.config.batch_size
        if evaluations:
            times = -(-stop // every) - start // every  # the last step always has one
            passes += times * self.num_validation * looks
        return passes

    def evaluation(self, step: int, result: Report, best: bool) -> None:
        """One line with the mAP of every fusion."""
        scores = "  ".join(f"{name} {fusion.mAP:.2f}" for name, fusion in result.fusions.items())
        self.console.print(f"step {step}  validation mAP: {scores}{'  (best)' if best else ''}")
        self.last_step = time.monotonic()

    def warn(self, message: str) -> None:
        """A line of its own."""
        self.console.print(f"[yellow]warning[/yellow] {escape(message)}")


def report_tables(result: Report, fusion: str) -> list[Table]:
    """The metrics of every fusion, and AP by label of the model's own."""
    metrics = Table(title=f"{result.num_images} images, in percent")
    metrics.add_column("")
    for name in result.fusions:
        metrics.add_column(f"{name} *" if name == fusion else name, justify="right")
    own = [(row.mAP, *row.all, *row.top3) for row in result.fusions.values()]
    fields = result.fusions[fusion].all._fields
    names = ("mAP", *(f"{c} {k}" for k in ("all", "top3") for c in fields))
    for name, values in zip(names, zip(*own, strict=True), strict=True):
        metrics.add_row(name, *(f"{value:.1f}" for value in values))
    metrics.caption = "* the model's own fusion"
    by_label = Table(title=f"AP by label, fusion {fusion}")
    by_label.add_column("label")
    by_label.add_column("AP", justify="right")
    for label, ap in result.fusions[fusion].AP.items():
        by_label.add_row(escape(label), "none in the data" if ap is None else f"{ap:.1f}")
    return [metrics, by_label]
