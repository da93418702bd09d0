"""Stopping a run on request: a signal is heard, the state is saved, then the run ends."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """A run was asked to stop, and its state is saved.

    Attributes:
        exit_code: The conventional exit code for the signal: 128 plus its number.
    """

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code


class StopRequest:
    """Remembers whether a signal asked the run to stop."""

    def __init__(self):
        self.signal: int | None = None

    def is_set(self) -> bool:
        """Whether the run is to stop."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """128 plus the signal's number; where another process heard the signal, SIGTERM's."""
        return 128 + (self.signal or signal.SIGTERM)


@contextmanager
def stopping_on_signals() -> Iterator[StopRequest]:
    """A request that SIGTERM or Ctrl-C (SIGINT) sets.

    A second Ctrl-C interrupts at once. Signals reach the main thread alone; in another thread the
    request is never set.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def hear(number: int, frame: object) -> None:
        if request.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        request.signal = number

    for number in SIGNALS:
        signal.signal(number, hear)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
