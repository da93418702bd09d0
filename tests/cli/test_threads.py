import os
from pathlib import Path

import pytest

from didvit.cli.threads import available_cores, default_threads


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine of eight processors on four cores, of which this process may use six."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 3, 4, 5}, raising=False)
    for i in range(8):
        place = f"sys/devices/system/cpu/cpu{i}/topology/thread_siblings_list"
        write(tmp_path / place, f"{i % 4},{i % 4 + 4}\n")
    return tmp_path


def test_threads_of_one_core_count_once(machine):
    assert available_cores(machine) == 4


@pytest.mark.parametrize(("limit", "cores"), [("max", 4), ("200000", 2), ("50000", 1)])
def test_the_limit_of_a_container_counts(machine, limit, cores):
    write(machine / "sys/fs/cgroup/cpu.max", f"{limit} 100000\n")
    assert available_cores(machine) == cores


def test_where_the_system_does_not_tell_every_processor_is_a_core(tmp_path):
    assert available_cores(tmp_path) == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(("setting", "threads"), [("3", 3), ("", None), ("0", None), ("x", None)])
def test_the_default_is_the_setting_of_openmp_or_the_cores(monkeypatch, setting, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", setting)
    assert default_threads() == (threads or available_cores())
