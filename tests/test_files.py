import errno
import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from didvit.files import line_file, partial_path, whole_file, write_json

posix = pytest.mark.skipif(os.name != "posix", reason="devices and pipes of POSIX")


def test_writes_a_new_file_and_its_folders(tmp_path):
    path = tmp_path / "a" / "b" / "new.txt"
    with whole_file(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == path.suffix
        temporary.write_text("text")
        assert not path.exists()
    assert path.read_text() == "text"
    assert list(path.parent.iterdir()) == [path]


def test_replaces_a_file_only_at_the_end(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with whole_file(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error_the_old_file_stays_and_nothing_is_left(tmp_path, error):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail():
        with whole_file(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_after_an_error_there_is_no_new_file(tmp_path):
    with pytest.raises(ValueError, match="reason"), whole_file(tmp_path / "file.txt"):
        raise ValueError("reason")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_replaced_leaves_nothing(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    with pytest.raises(OSError, match="folder"), whole_file(path) as temporary:
        temporary.write_text("text")
    assert list(tmp_path.iterdir()) == [path]
    assert path.is_dir()


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_follow_the_umask(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        with whole_file(tmp_path / "file.txt") as temporary:
            temporary.write_text("text")
        assert os.umask(umask) == umask  # it is left as it was
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file.txt").stat().st_mode) == mode


def test_who_may_read_it_is_for_the_system_to_say_and_not_for_the_writer(tmp_path):
    plain, whole = tmp_path / "plain", tmp_path / "whole"
    plain.touch()
    with whole_file(whole) as temporary:
        temporary.touch(0o600)
    assert stat.S_IMODE(whole.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


# What is no file


@posix
def test_a_link_keeps_leading_to_the_file_that_is_written(tmp_path):
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "target.txt", tmp_path / "link.txt"
    target.write_text("old")
    link.symlink_to(target)
    write_json(link, [1])
    with line_file(link) as lines:
        lines.write("line\n")
    assert link.is_symlink()
    assert target.read_text() == link.read_text() == "line\n"
    assert list((tmp_path / "there").iterdir()) == [target]
    write_json(link, [2])
    assert json.loads(target.read_text()) == [2]
    assert link.is_symlink()


@posix
def test_a_link_to_nothing_gets_a_file_at_its_end(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "new" / "target.txt")
    write_json(tmp_path / "link", "x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "new" / "target.txt").read_text() == '"x"\n'


@posix
@pytest.mark.parametrize("write", ["whole", "lines"])
def test_a_pipe_gets_the_content_and_stays(tmp_path, write):
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()), daemon=True)
    reader.start()
    if write == "whole":
        write_json(pipe, "content")
    else:
        with line_file(pipe) as lines:
            lines.write('"content"\n')
    reader.join(10)
    assert got == [b'"content"\n']
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert list(tmp_path.iterdir()) == [pipe]


@posix
def test_a_pipe_that_nothing_reads_is_refused_and_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr("didvit.files.READER_SECONDS", 0.1)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match=r"nothing reads this pipe.*pipe'"):
        write_json(pipe, 1)
    with pytest.raises(OSError, match=r"nothing reads this pipe.*pipe'"), line_file(pipe):
        pass


@posix
def test_devices_are_written_to(tmp_path):
    before = os.stat("/dev/null").st_rdev
    write_json(Path("/dev/null"), 1)
    (tmp_path / "link").symlink_to("/dev/null")
    write_json(tmp_path / "link", 1)
    with line_file(tmp_path / "link") as lines:
        lines.write("x")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert os.stat("/dev/null").st_rdev == before
    assert not list(Path("/dev").glob("*null.partial"))
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        write_json(Path("/dev/full"), 1)
    with (
        pytest.raises(OSError, match="No space left on device: '/dev/full'"),
        line_file(Path("/dev/full")) as lines,
    ):
        lines.write("x")


@posix
def test_standard_output_by_its_name_keeps_what_came_before(tmp_path):
    code = "import sys; from pathlib import Path; from didvit.files import write_json\n"
    code += "print('before', flush=True); write_json(Path('/dev/stdout'), 1); print('after')"
    with (tmp_path / "out").open("w") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
    assert (tmp_path / "out").read_text() == "before\n1\nafter\n"
    piped = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
    assert piped.stdout == b"before\n1\nafter\n"


# Errors name the file


def test_a_full_disk_is_told_with_the_file(tmp_path):
    for writer in (whole_file, line_file):
        expected = pytest.raises(OSError, match=r"No space left on device: .*wanted\.txt'")
        with expected, writer(tmp_path / "wanted.txt"):
            raise OSError(errno.ENOSPC, "No space left on device")


def test_errors_that_concern_other_files_stay_as_they_are(tmp_path):
    for writer in (whole_file, line_file):
        expected = pytest.raises(FileNotFoundError, match=r"other\.txt")
        with expected, writer(tmp_path / "wanted.txt"):
            (tmp_path / "other.txt").read_text()


def test_a_name_that_cannot_be_made_is_the_one_that_was_asked_for(tmp_path):
    for writer in (whole_file, line_file):
        with pytest.raises(OSError, match=r"n{300}'"), writer(tmp_path / ("n" * 300)):
            pass


# Lines


def test_lines_are_there_while_they_come_and_partial_until_all_are(tmp_path):
    path = tmp_path / "new" / "lines.jsonl"
    with line_file(path) as lines:
        lines.write("ä\n")
        lines.flush()
        assert partial_path(path).read_text(encoding="utf-8") == "ä\n"
        assert not path.exists()
    assert path.read_text(encoding="utf-8") == "ä\n"
    assert list(path.parent.iterdir()) == [path]


def test_lines_of_a_block_that_failed_stay_partial(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_text("old\n")

    def write_half():
        with line_file(path) as lines:
            lines.write("half\n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_text() == "old\n"
    assert partial_path(path).read_text() == "half\n"
