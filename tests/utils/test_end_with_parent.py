"""The program that ties a stage to run.sh."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "utils/end_with_parent.py"
# A parent that is killed as soon as its child says that it runs, or before it even started.
PARENT = """
import os, signal, subprocess, sys
command = [sys.executable, sys.argv[1], str(os.getpid()), sys.executable, "-c", sys.argv[2]]
child = subprocess.Popen(command, stdout=subprocess.PIPE)
assert child.stdout.readline() == b"runs\\n"
os.kill(os.getpid(), signal.SIGKILL)
"""
CHILD = """
import signal, sys, time
def stop(*_):
    print("told", file=sys.stderr)
    sys.exit(1)
signal.signal(signal.SIGTERM, stop)
print("runs", flush=True)
time.sleep(60)
"""


def run(*words):
    return subprocess.run([sys.executable, str(PROGRAM), *map(str, words)], capture_output=True, text=True, check=False)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's parent-death signal")
def test_the_program_is_told_when_its_parent_is_killed():
    command = [sys.executable, "-c", PARENT, str(PROGRAM), CHILD]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
    # The child holds the pipe of stderr: it has ended when this is at its end.
    assert done.stderr == "told\n"


def test_nothing_is_started_for_a_parent_that_is_gone(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    done = run(gone.pid, "touch", tmp_path / "made")
    assert done.returncode == 1 and "not started" in done.stderr
    assert not list(tmp_path.iterdir())


def test_words_and_status_pass():
    done = run(os.getpid(), "bash", "-c", 'printf "[%s]" "$@"; exit 7', "x", "a b", "$c", "")
    assert (done.returncode, done.stdout) == (7, "[a b][$c][]")


def test_a_program_that_is_not_there():
    done = run(os.getpid(), "/no/such")
    assert (done.returncode, done.stderr) == (1, "/no/such: No such file or directory\n")
    assert run("x").returncode == 1
