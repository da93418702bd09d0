"""Processes and devices of a run, and the signal that stops it."""

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from lightning_fabric import Fabric

from didvit.config import ConfigError, TrainConfig
from didvit.inference import choose_device

FABRIC_PRECISIONS = {"fp32": "32-true", "bf16-mixed": "bf16-mixed", "fp16-mixed": "16-mixed"}
"""Fabric's names of the settings."""


def check_processes(config: TrainConfig) -> None:
    """Refuse processes, devices and precisions that cannot be had here.

    Raises:
        ConfigError: Names the setting.
    """
    device = choose_device(config.device)
    processes = config.devices * config.num_nodes
    started = os.environ.get("WORLD_SIZE", str(processes))
    if started != str(processes):
        raise ConfigError(
            f"devices is {config.devices} and num_nodes {config.num_nodes}, but {started} "
            "processes were started (WORLD_SIZE); expected devices x num_nodes to be that"
        )
    if device.type != "cpu" and device.index is not None and config.devices > 1:
        raise ConfigError(f"device {config.device} is one device, and devices is {config.devices}")
    if device.type == "cuda" and config.devices > torch.cuda.device_count():
        raise ConfigError(
            f"devices is {config.devices}, and there are {torch.cuda.device_count()} GPUs"
        )
    if device.type == "cpu" and config.precision == "fp16-mixed":
        raise ConfigError("precision fp16-mixed needs a GPU; expected fp32 or bf16-mixed on a CPU")


def launch(config: TrainConfig) -> Fabric:
    """Fabric on the configured device, with its processes started."""
    device = choose_device(config.device)
    one_gpu = device.index is not None and device.type != "cpu"
    fabric = Fabric(
        accelerator=device.type,
        devices=[device.index] if one_gpu else config.devices,
        num_nodes=config.num_nodes,
        strategy="ddp" if config.devices * config.num_nodes > 1 else "auto",
        precision=cast(Any, FABRIC_PRECISIONS[config.precision]),
    )
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as cuBLAS asks for
    torch.use_deterministic_algorithms(config.deterministic)
    if device.type == "cpu":
        keep_freed_memory()
    fabric.launch()
    return fabric


def is_main_process() -> bool:
    """Whether this is the first of the processes of a run, or the only one."""
    ranks = (os.environ.get(name, "0") for name in ("RANK", "LOCAL_RANK", "NODE_RANK"))
    return set(ranks) == {"0"} and os.environ.get("SLURM_PROCID", "0") == "0"


def keep_freed_memory() -> None:
    """Let glibc keep large freed blocks, which it would else map afresh at every step."""
    if sys.platform != "linux":
        return
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
