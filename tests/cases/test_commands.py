"""Cases of commands: killed workers, outputs that are no files, and damaged models."""

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# A job in the background, as these tests may be, has its children ignore SIGINT.
HEAR = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
COMMAND = (sys.executable, "-c", f"{HEAR}; from didvit.cli.main import main; main()")

posix = pytest.mark.skipif(os.name != "posix", reason="the system has no such processes and files")


def children(process: int) -> list[int]:
    """The processes that a process has started."""
    try:
        return [
            int(i) for i in Path(f"/proc/{process}/task/{process}/children").read_text().split()
        ]
    except FileNotFoundError:
        return []


@pytest.fixture
def slow_table(tmp_path):
    """A data set that takes long to read: many names of one large image."""
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (1500, 1500, 3), dtype=np.uint8)).save(tmp_path / "0.png")
    rows = ["image,labels"]
    for i in range(400):
        if i:
            os.link(tmp_path / "0.png", tmp_path / f"{i}.png")
        rows.append(f"{i}.png,{'cat' if i % 2 else 'dog'}")
    (tmp_path / "table.csv").write_text("\n".join(rows))
    return tmp_path / "table.csv"


def bytes_read(process: int) -> int:
    """Number of bytes that a process has read from files so far."""
    try:
        return int(Path(f"/proc/{process}/io").read_text().split()[1])
    except (FileNotFoundError, PermissionError):
        return 0


def start(*words) -> subprocess.Popen:
    return subprocess.Popen(
        [*COMMAND, *map(str, words)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's list of processes")
def test_a_killed_worker_ends_training(slow_table, tiny_training):
    """01: one line, at once; nobody waits for the other worker."""
    val = slow_table.with_name("val.csv")
    val.write_text("image,labels\nval.png,cat\n")
    Image.new("RGB", (48, 32)).save(val.with_name("val.png"))
    process = start(
        *("train", "--data.train", slow_table, "--data.val", val),
        *("--output", val.with_name("run"), *tiny_training[:-2]),
        *("--steps", "1000", "--save-every", "1", "--data.workers", "2"),
    )
    try:
        deadline = time.monotonic() + 120
        while len(children(process.pid)) < 2 and time.monotonic() < deadline:
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.02)
        time.sleep(0.5)
        os.kill(children(process.pid)[-1], signal.SIGKILL)
        *_, line = process.communicate(timeout=30)[1].splitlines()
    finally:
        process.kill()
    assert process.returncode == 1
    assert line.startswith("didvit: error: a process that reads images died (SIGKILL); memory")
    assert "--data.workers 0" in line
    saved = any(val.with_name("run").glob("checkpoints/*.pt"))
    assert line.endswith("; --resume continues after the last saved step") == saved


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="needs Linux's counts of bytes")
def test_an_interrupted_check_ends(slow_table):
    """One line, whatever the threads that read are at."""
    process = start("data", "check", slow_table, "--workers", "2")
    try:
        deadline = time.monotonic() + 120
        while bytes_read(process.pid) < 2e8 and time.monotonic() < deadline:  # of 2.7e9
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        *_, line = process.communicate(timeout=30)[1].splitlines()
    finally:
        process.kill()
    assert (process.returncode, line) == (130, "didvit: error: interrupted")


@posix
def test_lines_go_into_what_is_no_file(case, didvit):
    """02: a pipe stays a pipe, and a link stays a link."""
    case("02")
    os.mkfifo("pipe")
    received = []
    reader = threading.Thread(target=lambda: received.append(Path("pipe").read_text()), daemon=True)
    reader.start()
    assert didvit("predict 0.jpg --json pipe").code == 0
    reader.join(timeout=20)
    assert json.loads(received[0])["image"] == "0.jpg"
    assert stat.S_ISFIFO(os.stat("pipe").st_mode)

    Path("target.jsonl").write_text("old\n")
    os.symlink("target.jsonl", "link.jsonl")
    didvit("predict 0.jpg --json link.jsonl").assert_refused("link.jsonl exists", "--overwrite")
    assert didvit("predict 0.jpg --json link.jsonl --overwrite").code == 0
    assert os.path.islink("link.jsonl")
    assert json.loads(Path("target.jsonl").read_text())["image"] == "0.jpg"

    assert didvit("predict 0.jpg --json /dev/null").code == 0
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@posix
def test_a_device_is_written_to_and_not_replaced(case, didvit):
    case("02")
    try:
        os.mknod("null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        Path("null").write_bytes(b"")
    except OSError:
        pytest.skip("this user may not make devices")
    assert didvit("predict 0.jpg --json null").code == 0
    assert stat.S_ISCHR(os.stat("null").st_mode)


def test_a_deep_configuration_is_refused(case, didvit):
    """17: one line that names the file."""
    case("17")
    didvit("predict 0.jpg --model deep").assert_refused(f"{Path('deep/config.json')} cannot be")


@pytest.mark.parametrize(
    "changes",
    [
        {"image_size": [32000000, 48000000]},
        {"backbone": "vit_gigantic_patch14_224"},
        {"tiles": 10**9},
        {"view_scale": 1e12},
    ],
)
def test_a_huge_configuration_is_refused(case, didvit, save_tiny_model, changes):
    case("17")
    config = save_tiny_model(Path("huge")) / "config.json"
    content = json.loads(config.read_text())
    for name, value in changes.items():
        group = content["model"] if name in content["model"] else content["model"]["method"]
        assert name in group
        group[name] = value
    config.write_text(json.dumps(content))
    didvit("predict 0.jpg --model huge").assert_refused(str(config))
