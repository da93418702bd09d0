"""What a person at a terminal sees: bars and log lines, on stderr, and tables, on stdout."""

import datetime
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import accumulate

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

    Loss and speed are those of the last `RECENT_STEPS`. Time left is by the cost of the steps and
    evaluations to come, in forward passes at full size.
    """

    def __init__(self, config: TrainConfig, console: Console):
        self.config = config
        self.console = console
        self.recent: deque[tuple[float, float, int, float]] = deque(maxlen=RECENT_STEPS)
        self.costs: list[tuple[float, float]] = []
        self.left: list[float] = []  # after each step, the cost of those to come
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

    def start(self, num_images: int, num_labels: int, num_validation: int, step: int) -> None:
        """The data are read; the batch after ``step`` is next."""
        self.console.print(
            f"{num_images} images with {num_labels} labels; {num_validation} to validate on"
        )
        if step:
            self.console.print(f"going on after step {step}")
        self.costs = step_costs(self.config, num_labels, num_validation)
        self.left = [*accumulate(map(sum, reversed(self.costs)), initial=0.0)][::-1]
        self.progress.update(self.task, completed=step)
        self.last_step = self.last_line = time.monotonic()

    def step(self, step: int, loss: float, learning_rate: float, images: int) -> None:
        """Advance the bar, or print a line now and then."""
        now = time.monotonic()
        learning, _ = self.costs[step - 1]
        self.recent.append((now - self.last_step, loss, images, learning))
        self.last_step = now
        seconds, losses, num_images, cost = map(sum, zip(*self.recent, strict=True))
        left = seconds / cost * (self.left[step] + self.costs[step - 1][1])
        loss, speed = losses / len(self.recent), num_images / max(seconds, 1e-9)
        time_left = datetime.timedelta(seconds=round(left))
        state = f"loss {loss:.4f}  {speed:.1f} images/s  left {time_left}"
        self.progress.update(self.task, completed=step, state=state)
        if not self.console.is_terminal and now - self.last_line >= LOG_SECONDS:
            rate = f"learning rate {learning_rate:.2g}"
            self.console.print(f"step {step}/{self.config.steps}  {rate}  {state}")
            self.last_line = now

    def evaluation(self, step: int, result: Report, best: bool) -> None:
        """One line with the mAP of every fusion; of whole images where they alone were scored."""
        names = result.fusions if self.config.looks_again(step) else ("global",)
        scores = "  ".join(f"{name} {result.fusions[name].mAP:.2f}" for name in names)
        self.console.print(f"step {step}  validation mAP: {scores}{'  (best)' if best else ''}")
        self.last_step = time.monotonic()

    def warn(self, message: str) -> None:
        """A line of its own."""
        self.console.print(f"[yellow]warning[/yellow] {escape(message)}")


def step_costs(
    config: TrainConfig, num_labels: int, num_validation: int
) -> list[tuple[float, float]]:
    """What each step costs, and the evaluation after it, in forward passes at full size.

    A backward pass counts as two forward passes; a frozen backbone has none.
    """
    height, width = config.model.image_size
    small_area = config.small_size[0] * config.small_size[1] / (height * width)
    looks = config.model.looks(num_labels)
    costs = []
    for step in range(config.steps):
        learned = 1 if step < config.num_global_steps else looks
        area = small_area if step < config.small_steps else 1.0
        due = (step + 1) % config.evaluate_every == 0 or step + 1 == config.steps
        passes = 1 if config.freeze_backbone else 3
        learning = passes * config.batch_size * learned * area
        scored = looks if config.looks_again(step + 1) else 1
        costs.append((learning, float(num_validation * scored) if due else 0.0))
    return costs


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
        by_label.add_row(escape(label), "none in the data" if ap is None else f"{ap:.1f}")
    return [metrics, by_label]
