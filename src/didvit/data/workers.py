"""Processes that read items of a data set for this one, and what happens when one of them dies."""

import atexit
import signal
import threading
from collections.abc import Iterator, Sequence
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

MENDS = {
    "SIGKILL": "memory has probably run out: use fewer workers, or ",
    "SIGBUS": "shared memory has run out: enlarge /dev/shm (docker run --shm-size), or ",
}
"""What to do, by the signal that ended a worker."""


class WorkerError(ChildProcessError):
    """A process that reads images died; the message says how to go on."""


def read_lists(
    dataset: Dataset, batch_size: int, workers: int, indices: Sequence[int] | None = None
) -> Iterator[list[Any]]:
    """Items of a data set in lists, read by other processes if there are ``workers``.

    A signal to end that the whole group of processes gets is left to the one that trains: workers
    ignore it, and are killed when the iterator ends, fails or is closed.

    Raises:
        WorkerError: One of the workers died.
    """
    loader = DataLoader(
        dataset,
        batch_size,
        sampler=indices,
        num_workers=workers,
        collate_fn=list,
        worker_init_fn=_ignore_signals_to_end,
        generator=torch.Generator(),  # else it draws from the one that layers draw from
    )
    if workers == 0:
        yield from loader
        return
    iterator, processes = _start(loader)

    def kill() -> None:
        for process in processes:
            process.kill()

    # A worker may hold a lock for ever, and Python waits at its end for workers.
    atexit.register(kill)
    try:
        yield from iterator
    except Exception as error:
        # What a dying worker leaves is an error of nearly any kind; that it is dead tells.
        died = next((process for process in processes if _has_died(process)), None)
        if died is None:
            raise
        kill()
        iterator._shutdown = True  # PyTorch would wait for locks that the dead one holds
        raise WorkerError(_how(died)) from error
    finally:
        del iterator  # has the workers end by themselves, but for those that cannot
        kill()
        atexit.unregister(kill)


def _start(loader: DataLoader) -> tuple[Any, list[BaseProcess]]:
    """The iterator of a loader, and its processes.

    PyTorch's handler of SIGCHLD raises an error wherever the program happens to be when a worker
    dies. It is taken off again: whoever asks for the next item gets the error.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGCHLD"):
        iterator = iter(loader)
    else:
        before = signal.getsignal(signal.SIGCHLD)
        try:
            iterator = iter(loader)
        finally:
            signal.signal(signal.SIGCHLD, before or signal.SIG_DFL)
    return iterator, list(getattr(iterator, "_workers", ()))


def _has_died(process: BaseProcess) -> bool:
    process.join(timeout=1)  # it may be dying
    return process.exitcode not in (None, 0)


def _how(process: BaseProcess) -> str:
    code = process.exitcode or 0
    name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    mend = MENDS.get(name, "")
    return (
        f"a process that reads images died ({name}); {mend}read in the main process with "
        "--data.workers 0"
    )


def _ignore_signals_to_end(worker: int) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
