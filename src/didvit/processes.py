"""Processes and devices of a run, and the signal that stops it."""

import ctypes
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from lightning_fabric import Fabric

from didvit.config import TrainConfig
from didvit.inference import choose_device

FABRIC_PRECISIONS = {"fp32": "32-true", "bf16-mixed": "bf16-mixed", "fp16-mixed": "16-mixed"}
"""Fabric's names of the settings."""


def launch(config: TrainConfig) -> Fabric:
    """Fabric on the configured device, with its processes started."""
    device = choose_device(config.device)
    processes = config.devices * config.num_nodes
    fabric = Fabric(
        accelerator=device.type,
        devices=config.devices if device.index is None else [device.index],
        num_nodes=config.num_nodes,
        strategy="ddp" if processes > 1 else "auto",
        precision=cast(Any, FABRIC_PRECISIONS[config.precision]),
    )
    torch.use_deterministic_algorithms(config.deterministic)
    if device.type == "cpu":
        keep_freed_memory()
        if config.devices > 1:
            torch.set_num_threads(max(torch.get_num_threads() // config.devices, 1))
    fabric.launch()
    return fabric


def keep_freed_memory() -> None:
    """Let glibc keep large freed blocks, which it would else map afresh at every step."""
    trim_threshold, mmap_threshold = -1, -3  # as in glibc's malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return  # another C library
    mallopt(mmap_threshold, 2**30)
    mallopt(trim_threshold, 2**31 - 1)


@contextmanager
def stopping_at_sigterm() -> Iterator[threading.Event]:
    """An event that is set when SIGTERM comes; signals can be heard in the main thread alone."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)
