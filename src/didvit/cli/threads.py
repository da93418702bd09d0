"""Number of threads that a command computes with."""

import math
import os
from pathlib import Path


def wait_without_spinning() -> None:
    """Have threads sleep while they wait for one another; before PyTorch is imported.

    Threads that spin take the processor from those that they wait for where other programs run,
    and a run takes many times as long.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def default_threads() -> int:
    """``OMP_NUM_THREADS`` where it is set, else the physical cores that this process may use.

    The number does not depend on what else runs, so that scores are the same to the last bit. On a
    busy machine, threads that sleep while they wait matter more than their number.
    """
    setting = os.environ.get("OMP_NUM_THREADS", "")
    return int(setting) if setting.isdigit() and int(setting) else available_cores()


def available_cores(root: Path = Path("/")) -> int:
    """Physical cores that this process may use, by its affinity and the limit of its container."""
    processors = _processors()
    siblings = {
        _text(root / f"sys/devices/system/cpu/cpu{i}/topology/thread_siblings_list") or str(i)
        for i in processors
    }
    quota, _, period = _text(root / "sys/fs/cgroup/cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit():
        return max(min(len(siblings), math.ceil(int(quota) / int(period))), 1)
    return max(len(siblings), 1)


def _processors() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
