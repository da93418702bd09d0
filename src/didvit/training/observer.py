"""Observers: told how a training run goes."""

import sys
import time
from typing import TextIO

from didvit.evaluation.report import Report

LINE_SECONDS = 30
"""Seconds between the lines of `PrintObserver`."""


class TrainingObserver:
    """Receives the events of a run. This one ignores them."""

    def start(self, num_images: int, num_labels: int, num_validation: int, step: int) -> None:
        """The data are read; the batch after ``step`` is next. It is 0 in a new run."""

    def step(self, step: int, loss: float, learning_rate: float, images: int) -> None:
        """A step is done: its number from 1, its loss, learning rate and number of images."""

    def evaluation(self, step: int, result: Report, best: bool) -> None:
        """The validation data were scored after a step; ``best`` of all so far.

        A step can come twice: where single-view steps chose the weights, these are scored with
        views in the end.
        """

    def note(self, message: str) -> None:
        """Something was decided or assumed that the user may want to know."""

    def warn(self, message: str) -> None:
        """Something is wrong or was passed over, and the run continues."""


class PrintObserver(TrainingObserver):
    """Prints plain lines: the data, every evaluation, warnings, and now and then a step.

    Args:
        file: Where to print; None is the standard error output.
    """

    def __init__(self, file: TextIO | None = None):
        self.file = file
        self.last_line = time.monotonic()

    def start(self, num_images: int, num_labels: int, num_validation: int, step: int) -> None:
        """Print the amount of data, and where a resumed run continues."""
        continued = f"; continuing after step {step}" if step else ""
        self._print(
            f"{num_images} images with {num_labels} labels; {num_validation} validation images"
            f"{continued}"
        )

    def step(self, step: int, loss: float, learning_rate: float, images: int) -> None:
        """Print a step every `LINE_SECONDS`."""
        if time.monotonic() - self.last_line >= LINE_SECONDS:
            self._print(f"step {step}  loss {loss:.4f}  learning rate {learning_rate:.2g}")

    def evaluation(self, step: int, result: Report, best: bool) -> None:
        """Print the mAP of every fusion."""
        scores = "  ".join(f"{name} {value.mAP:.2f}" for name, value in result.fusions.items())
        self._print(f"step {step}  validation mAP: {scores}{'  (best)' if best else ''}")

    def note(self, message: str) -> None:
        """Print the message."""
        self._print(message)

    def warn(self, message: str) -> None:
        """Print the message as a warning."""
        self._print(f"warning: {message}")

    def _print(self, line: str) -> None:
        print(line, file=self.file or sys.stderr, flush=True)
        self.last_line = time.monotonic()
