"""What processes are refused; and the command in processes of its own, which are killed, stopped
and started again."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from didvit.config import ConfigError, TrainConfig
from didvit.config.serialization import to_json
from didvit.training import distributed as processes
from didvit.training.distributed import check_processes
from didvit.training.trainer import train
from runs import (
    RESULTS,
    assert_near,
    changed,
    read_csv,
    results_of,
    tiny_config,
    weights_of,
    write_table,
)

# What cannot be had is refused


@pytest.fixture
def a_machine(monkeypatch):
    """A function that sets up what a machine has and what a launcher says."""

    def set_up(gpus: int, world_size: str | None) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        found = {"auto": "cuda" if gpus else "cpu"}
        monkeypatch.setattr(
            processes, "choose_device", lambda name: torch.device(found.get(name, name))
        )
        monkeypatch.delenv("WORLD_SIZE", raising=False)
        if world_size is not None:
            monkeypatch.setenv("WORLD_SIZE", world_size)

    return set_up


@pytest.mark.parametrize(
    ("gpus", "world_size", "settings"),
    [
        (0, None, {}),
        (0, "1", {}),
        (0, None, {"devices": 3}),
        (0, None, {"precision": "bf16-mixed"}),
        (0, "6", {"devices": 3, "num_nodes": 2}),
        (0, None, {"device": "cpu:0", "devices": 2}),
        (2, None, {"device": "auto", "devices": 2, "precision": "fp16-mixed"}),
        (2, None, {"device": "cuda:1"}),
        (2, "6", {"device": "cuda", "devices": 2, "num_nodes": 3}),
        (1, None, {"device": "cpu", "devices": 3}),
    ],
)
def test_processes_that_can_be_had(make_config, a_machine, gpus, world_size, settings):
    a_machine(gpus, world_size)
    check_processes(make_config(**settings))


@pytest.mark.parametrize(
    ("gpus", "world_size", "settings", "words"),
    [
        (0, "2", {}, "devices is 1 and num_nodes 1, but 2 processes were started (WORLD_SIZE)"),
        (0, "3", {"devices": 3, "num_nodes": 2}, "devices is 3 and num_nodes 2, but 3 processes"),
        (0, "", {}, "but  processes were started (WORLD_SIZE); expected devices x num_nodes to be"),
        (4, None, {"device": "cuda:1", "devices": 2}, "cuda:1 is one device, and devices is 2"),
        (1, None, {"device": "cuda", "devices": 2}, "devices is 2, and there are 1 GPUs"),
        (1, None, {"device": "auto", "devices": 3}, "devices is 3, and there are 1 GPUs"),
        (0, None, {"precision": "fp16-mixed"}, "precision fp16-mixed needs a GPU; expected fp32"),
        (0, None, {"device": "auto", "precision": "fp16-mixed"}, "fp16-mixed needs a GPU"),
        (2, None, {"device": "cpu", "precision": "fp16-mixed"}, "fp16-mixed needs a GPU"),
    ],
)
def test_processes_that_are_refused(make_config, a_machine, gpus, world_size, settings, words):
    a_machine(gpus, world_size)
    with pytest.raises(ConfigError, match=re.escape(words)):
        check_processes(make_config(**settings))


# Killed, stopped and started again

SETTINGS = {
    "steps": 30,
    "evaluate_every": 15,
    "save_every": 4,
    "ema": 0.9,
    "clip_norm": 5.0,
    "freeze_backbone": False,
}
SGD = {"optimizer": "sgd", "learning_rate": 0.02, "weight_decay": 1e-3}


@pytest.fixture(scope="module")
def tables(squares, tmp_path_factory):
    """The squares, with unknown labels in the training's table."""
    folder = tmp_path_factory.mktemp("unknown")
    rows = squares[0].read_text().splitlines()[1:]
    for i in range(0, len(rows), 3):
        labels = rows[i].partition(",")[2].split("|")
        rows[i] += f",{'red' if 'red' not in labels else ''}"
    rows = [f"{squares[0].parent}/{row}" + "," * (row.count(",") == 1) for row in rows]
    return write_table(folder / "train.csv", *rows, header="image,labels,unknown"), squares[1]


WITHOUT_PREFIX = ("schedule", "optimizer", "runtime", "method")


def options(settings: dict, prefix: str = "--", group: str = "") -> list[str]:
    """The command line of settings."""
    words = []
    for name, value in settings.items():
        option = prefix + name.replace("_", "-")
        if (group, name) == ("optimizer", "name"):
            option = "--optimizer"
        if isinstance(value, dict):
            inner = prefix if name in WITHOUT_PREFIX else f"{option}."
            words += options(value, inner, name)
        elif isinstance(value, bool):
            words.append(option if value else option.replace("--", "--no-"))
        elif value is not None:
            words += [option, *map(str, value if isinstance(value, list) else [value])]
    return words


def start(config: TrainConfig, *more: str) -> subprocess.Popen:
    """``didvit train``, as the leader of a group of processes."""
    script = Path(sys.executable).with_name("didvit")
    return subprocess.Popen(
        [script, "train", *options(to_json(config)), *more],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(config: TrainConfig, *more: str) -> Path:
    process = start(config, *more)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    return config.output


def wait_for_a_state(process: subprocess.Popen, config: TrainConfig) -> None:
    """Until a training state is there."""
    while not list((config.output / "checkpoints").glob("[0-9]*.pt")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.005)


def kill_somewhere(config: TrainConfig) -> None:
    """Kill a run, with all its processes, once it can be gone on with."""
    process = start(config)
    wait_for_a_state(process, config)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (config.output / "README.md").exists()  # which comes last


def resumed(config: TrainConfig, **settings) -> Path:
    return train(changed(config, resume=True, **settings)).folder


@pytest.fixture(scope="module")
def whole(tables, tmp_path_factory) -> Path:
    """A run that nothing interrupted."""
    return train(tiny_config(tmp_path_factory.mktemp("whole") / "run", *tables, **SETTINGS)).folder


def test_a_killed_run_resumes_to_the_same_bytes(whole, tables, tmp_path):
    config = tiny_config(tmp_path / "killed", *tables, workers=2, **SETTINGS)
    kill_somewhere(config)
    assert results_of(resumed(config)) == results_of(whole)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_has_the_state_saved_and_it_says_where(whole, tables, tmp_path, number, code):
    """The whole group of processes gets it, as by Ctrl-C in a terminal."""
    config = tiny_config(tmp_path / "stopped", *tables, workers=1, **SETTINGS)
    process = start(config)
    wait_for_a_state(process, config)
    os.killpg(process.pid, number)
    _, errors = process.communicate()
    assert process.returncode == code
    newest = max((config.output / "checkpoints").glob("[0-9]*.pt"))
    assert f"stopped after step {int(newest.stem)} of 30, and its state is saved" in errors
    assert "--resume continues from there" in errors
    assert "Traceback" not in errors
    assert results_of(resumed(config)) == results_of(whole)


@pytest.fixture(scope="module")
def by_two(tables, tmp_path_factory) -> Path:
    """A run of two processes, on unknown labels too, that nothing interrupted."""
    folder = tmp_path_factory.mktemp("by_two") / "run"
    return finish(tiny_config(folder, *tables, devices=2, **SETTINGS, **SGD))


def test_a_killed_run_of_two_processes_resumes_to_the_same_bytes(by_two, tables, tmp_path):
    config = tiny_config(tmp_path / "killed", *tables, devices=2, **SETTINGS, **SGD)
    kill_somewhere(config)
    assert results_of(finish(config, "--resume")) == results_of(by_two)


def test_what_another_process_could_not_read_is_told_in_the_end(tables, tmp_path):
    """The batch is a whole epoch, so that each process reads some of the broken images."""
    rows = tables[0].read_text().splitlines()
    broken = [tmp_path / f"broken{i}.png" for i in range(3)]
    for i, path in enumerate(broken):
        path.write_bytes(b"")
        rows[1 + 5 * i] = f"{path},red,"
    table = write_table(tmp_path / "train.csv", *rows[1:], header=rows[0])
    config = tiny_config(
        *(tmp_path / "run", table, tables[1]), devices=2, steps=1, batch_size=24, top_n=0
    )
    process = start(config)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert "3 training images could not be read" in errors


def test_two_processes_learn_as_one_does(by_two, tables, tmp_path):
    alone = train(tiny_config(tmp_path / "alone", *tables, **SETTINGS, **SGD)).folder
    for folder in ("", "last"):
        assert_near(weights_of(by_two / folder), weights_of(alone / folder), atol=1e-5)
    for name in ("steps.csv", "history.csv"):
        rows, expected = read_csv(by_two / name), read_csv(alone / name)
        assert len(rows) == len(expected) > 0
        for row, other in zip(rows, expected, strict=True):
            for key in row:
                assert float(row[key]) == pytest.approx(float(other[key]), rel=1e-5), (name, key)


def test_options_cover_every_result(by_two):
    """What is compared above is there, and holds something."""
    assert all((by_two / name).stat().st_size > 100 for name in RESULTS)


def test_threads_of_a_run_are_left_as_they_were(tables, tmp_path):
    threads = torch.get_num_threads()
    train(tiny_config(tmp_path / "run", *tables, steps=1))
    assert torch.get_num_threads() == threads
