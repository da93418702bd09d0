"""Processes and devices of a run."""

import ctypes
import os
import sys
from typing import Any, cast

import torch
from lightning_fabric import Fabric

from didvit.config import ConfigError, TrainConfig
from didvit.devices import choose_device

FABRIC_PRECISIONS = {"fp32": "32-true", "bf16-mixed": "bf16-mixed", "fp16-mixed": "16-mixed"}
"""Fabric's names of our precisions."""


def check_processes(config: TrainConfig) -> None:
    """Refuse processes, devices and precisions that this machine does not have.

    Raises:
        ConfigError: Names the setting.
    """
    runtime = config.runtime
    device = choose_device(runtime.device)
    processes = runtime.devices * runtime.num_nodes
    started = os.environ.get("WORLD_SIZE", str(processes))
    if started != str(processes):
        raise ConfigError(
            f"devices is {runtime.devices} and num_nodes {runtime.num_nodes}, but {started} "
            "processes were started (WORLD_SIZE); expected devices x num_nodes to be that"
        )
    if device.type != "cpu" and device.index is not None and runtime.devices > 1:
        raise ConfigError(
            f"device {runtime.device} is one device, and devices is {runtime.devices}"
        )
    if device.type == "cuda" and runtime.devices > torch.cuda.device_count():
        raise ConfigError(
            f"devices is {runtime.devices}, and there are {torch.cuda.device_count()} GPUs"
        )
    if device.type == "cpu" and runtime.precision == "fp16-mixed":
        raise ConfigError("precision fp16-mixed needs a GPU; expected fp32 or bf16-mixed on a CPU")


def launch(config: TrainConfig) -> Fabric:
    """Start Fabric, with its processes, on the configured devices."""
    runtime = config.runtime
    device = choose_device(runtime.device)
    one_gpu = device.index is not None and device.type != "cpu"
    fabric = Fabric(
        accelerator=device.type,
        devices=[device.index] if one_gpu else runtime.devices,
        num_nodes=runtime.num_nodes,
        strategy="ddp" if runtime.devices * runtime.num_nodes > 1 else "auto",
        precision=cast(Any, FABRIC_PRECISIONS[runtime.precision]),
    )
    if runtime.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as cuBLAS asks for
    torch.use_deterministic_algorithms(runtime.deterministic)
    if device.type == "cpu":
        keep_freed_memory()
    fabric.launch()
    return fabric


def is_main_process() -> bool:
    """Whether this is the first of the processes of a run, or the only one."""
    ranks = (os.environ.get(name, "0") for name in ("RANK", "LOCAL_RANK", "NODE_RANK"))
    return set(ranks) == {"0"} and os.environ.get("SLURM_PROCID", "0") == "0"


def gathered(fabric: Fabric, value: Any) -> list[Any]:
    """What every process of the run has for ``value``, in the order of their ranks."""
    if fabric.world_size == 1:
        return [value]
    values: list[Any] = [None] * fabric.world_size
    torch.distributed.all_gather_object(values, value)
    return values


def keep_freed_memory() -> None:
    """Let glibc keep large freed blocks, instead of mapping new ones at every step."""
    if sys.platform != "linux":
        return
    trim_threshold, mmap_threshold = -1, -3  # as in glibc's malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return  # another C library
    mallopt(mmap_threshold, 2**30)
    mallopt(trim_threshold, 2**31 - 1)
