import errno
import os
import resource
import signal
import stat
import subprocess
import threading
from pathlib import Path

import pytest

from vouch.base import files
from vouch.base.errors import VouchError
from vouch.base.files import atomic_write, lock_file, read_json, read_text, write_text

# Writes more than any buffer holds, says so and waits to be killed.
HALF_WRITTEN = """
import sys, time
from vouch.base.files import atomic_write
with atomic_write(sys.argv[1]) as file:
    file.write("half" * 100000)
    print("written", flush=True)
    time.sleep(60)
"""


def test_text_is_utf8_and_folders_are_made(tmp_path):
    path = tmp_path / "a folder" / "naïve 話者.txt"
    write_text(path, "Ünïcode\n")
    assert path.read_bytes() == "Ünïcode\n".encode()
    assert os.listdir(path.parent) == [path.name]


def test_binary(tmp_path):
    with atomic_write(tmp_path / "x", "wb") as file:
        file.write(b"\r\n\0")
    assert (tmp_path / "x").read_bytes() == b"\r\n\0"


def test_permissions_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        write_text(tmp_path / "x", "x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


def test_the_old_content_stays_until_the_end_and_after_an_error(tmp_path):
    path = tmp_path / "x"
    write_text(path, "old")
    with pytest.raises(RuntimeError, match="boom"), atomic_write(path) as file:
        file.write("new")
        file.flush()
        assert path.read_text() == "old"
        raise RuntimeError("boom")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x"]


def test_kill_leaves_no_file_and_the_next_run_succeeds(tmp_path, start_python):
    path = tmp_path / "x"
    process = start_python(HALF_WRITTEN, path)
    assert process.stdout.readline() == "written\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not path.exists()
    write_text(path, "whole")
    assert path.read_text() == "whole"
    assert os.listdir(tmp_path) == ["x"]


def test_a_second_writer_is_told(tmp_path, start_python):
    path = tmp_path / "x"
    process = start_python(HALF_WRITTEN, path)
    process.stdout.readline()
    with pytest.raises(VouchError, match="x: another process is writing this file"):
        write_text(path, "mine")
    assert process.poll() is None
    assert not path.exists()


def test_a_writer_that_waited_at_the_lock_never_touches_the_finished_file(tmp_path, monkeypatch):
    """The first writer renames its file between the second one's opening and locking of the same file."""
    path = tmp_path / "x"
    first = atomic_write(path)
    first.__enter__().write("first")
    lock = files.fcntl.flock

    def finish_first_then_lock(descriptor, operation):
        monkeypatch.setattr(files.fcntl, "flock", lock)
        first.__exit__(None, None, None)
        lock(descriptor, operation)

    monkeypatch.setattr(files.fcntl, "flock", finish_first_then_lock)
    with atomic_write(path) as file:
        assert path.read_text() == "first"
        file.write("second")
    assert path.read_text() == "second"
    assert os.listdir(tmp_path) == ["x"]


def test_many_writers_at_once_leave_one_whole_file(tmp_path):
    path = tmp_path / "x"
    contents = {str(number) * 200_000 for number in range(8)}
    refused = []

    def write(text):
        try:
            write_text(path, text)
        except VouchError as error:
            refused.append(error)

    threads = [threading.Thread(target=write, args=(text,)) for text in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in contents
    assert len(refused) < len(contents)
    assert os.listdir(tmp_path) == ["x"]


def _limit_file_size():
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))


def test_a_full_disk_leaves_nothing_and_keeps_the_old_file(tmp_path, start_python):
    path = tmp_path / "x"
    write_text(path, "old")
    code = """
import sys
from vouch.base.files import write_text
try:
    write_text(sys.argv[1], "x" * 100_000)
except OSError as error:
    print("full", error.errno)
"""
    process = start_python(code, path, preexec_fn=_limit_file_size)
    assert process.stdout.read() == f"full {errno.EFBIG}\n"
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x"]


def test_an_error_in_the_block_wins_over_one_at_closing(tmp_path, start_python):
    """What is still buffered cannot be written to a full disk either and raises again when the file is closed."""
    code = """
import sys
from vouch.base.files import atomic_write
try:
    with atomic_write(sys.argv[1], "wb") as file:
        file.write(b"x" * 49_999)
        file.write(b"buffered")
        raise RuntimeError("the first error")
except RuntimeError as error:
    print(error)
"""
    process = start_python(code, tmp_path / "x", preexec_fn=_limit_file_size)
    assert process.stdout.read() == "the first error\n"
    assert os.listdir(tmp_path) == []


def test_a_file_system_without_locks_is_written(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(files.fcntl, "flock", no_locks)
    write_text(tmp_path / "x", "x")
    assert (tmp_path / "x").read_text() == "x"


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir])
def test_a_lock_is_held_once_and_ends_with_its_file(tmp_path, make):
    make(tmp_path / "x")
    first, second = (os.open(tmp_path / "x", os.O_RDONLY) for _ in range(2))
    lock_file(first, "taken")
    with pytest.raises(VouchError, match="taken"):
        lock_file(second, "taken")
    os.close(first)
    lock_file(second, "taken")
    os.close(second)


@pytest.mark.parametrize("make", [os.symlink, os.link, lambda victim, name: os.mkfifo(name)])
def test_a_link_at_the_name_of_the_unfinished_file_is_not_followed(tmp_path, make):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    make(victim, tmp_path / ".o.txt.partial")
    write_text(tmp_path / "o.txt", "scores\n")
    assert victim.read_text() == "precious"
    assert (tmp_path / "o.txt").read_text() == "scores\n"
    assert (tmp_path / "o.txt").is_file() and not (tmp_path / "o.txt").is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["o.txt", "victim"]


def test_a_link_to_nowhere_makes_no_file_there(tmp_path):
    os.symlink(tmp_path / "elsewhere", tmp_path / ".o.txt.partial")
    write_text(tmp_path / "o.txt", "scores\n")
    assert os.listdir(tmp_path) == ["o.txt"]


def test_the_lock_is_not_inherited_by_children(tmp_path):
    """A daemon that a stage leaves behind must not block the next run."""
    with atomic_write(tmp_path / "x") as file:
        child = subprocess.Popen(["sleep", "60"])
        file.write("x")
    try:
        write_text(tmp_path / "x", "y")
    finally:
        child.kill()
        child.wait()
    assert (tmp_path / "x").read_text() == "y"


@pytest.mark.parametrize("piece", ["'x' * 1000", "b'x' * 1000"])
def test_a_full_disk_names_the_file_that_was_written_and_not_one_that_was_read(tmp_path, start_python, piece):
    code = f"""
import sys
from vouch.base.files import atomic_write
for number in (0, 5):
    try:
        with atomic_write(sys.argv[1], "wb" if isinstance({piece}, bytes) else "w") as file:
            if number:
                raise OSError(number, "", "another file")
            for _ in range(100):
                file.write({piece})
    except OSError as error:
        print(error.filename)
"""
    process = start_python(code, tmp_path / "x", preexec_fn=_limit_file_size)
    assert process.stdout.read() == f"{tmp_path}/x\nanother file\n"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("step", ["fsync", "replace", "ftruncate", "open"])
def test_each_step_of_writing_names_the_file(tmp_path, monkeypatch, step):
    def broken(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(files.os, step, broken)
    with pytest.raises(OSError) as caught:
        write_text(tmp_path / "x", "x")
    assert caught.value.filename == str(tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_texts_and_json_are_read(tmp_path):
    write_text(tmp_path / "x", '{"a": [1, -2.5e3, "é", null, true]}')
    assert read_text(tmp_path / "x") == '{"a": [1, -2.5e3, "é", null, true]}'
    assert read_json(tmp_path / "x") == {"a": [1, -2500.0, "é", None, True]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not valid JSON (Expecting value: line 1 column 1 (char 0))"),
        (b"[1, NaN]", "not valid JSON (NaN is not a finite number)"),
        (b"[-Infinity]", "not valid JSON (-Infinity is not a finite number)"),
        (b"[1e999]", "not valid JSON (1e999 is not a finite number)"),
        (b"[%s]" % (b"9" * 5000), "not valid JSON (a number is too large)"),
        (b"[9223372036854775808]", "not valid JSON (a number is too large)"),
        (b"[" * 200_000, "not valid JSON (nested too deeply)"),
        (b"\xff", "not UTF-8 text"),
    ],
)
def test_json_that_is_none_is_refused(tmp_path, content, message):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(VouchError) as caught:
        read_json(tmp_path / "x")
    assert str(caught.value) == f"{tmp_path}/x: {message}"


def test_a_file_without_end_is_not_read(tmp_path):
    with pytest.raises(VouchError, match=r"^/dev/zero: has more than 1000 bytes"):
        read_text("/dev/zero", most=1000)
    with pytest.raises(VouchError, match=r"/none: No such file or directory$"):
        read_json(tmp_path / "none")
