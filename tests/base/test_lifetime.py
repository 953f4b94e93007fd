"""However run.sh ends, nothing that it started goes on, and the same command continues."""

import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from corpus import TINY, write_all_trials, write_features
from recipe import copy_project, environment, replace_training

SIGNALS = [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL]
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc and Linux's parent-death signal")
# Stage 0 of a corpus: works for a long time, and when it is asked to stop tidies up for a moment.
WORK = """#!/usr/bin/env bash
trap 'sleep 0.3; echo tidied > "$1/tidied"; exit 143' TERM
echo $$ > "$1/starting" && mv "$1/starting" "$1/process"
while true; do sleep 0.05; done
"""


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """The project with a corpus whose stage 0 takes long."""
    clone = replace_training(copy_project(tmp_path_factory.mktemp("slow") / "vouch"))
    (clone / "local/prepare_slow.sh").write_text(WORK)
    (clone / "local/prepare_slow.sh").chmod(0o755)
    (clone / "egs/slow/data").mkdir(parents=True)
    (clone / "egs/slow/corpus.sh").write_text("prepare=local/prepare_slow.sh\n")
    return clone


@pytest.fixture
def ready(tmp_path):
    """The project with a corpus whose features are there."""
    clone = copy_project(tmp_path / "vouch")
    data = clone / "egs/ready/data"
    write_features(data / "train")
    write_features(data / "valid", speakers=range(4, 8), utterances=range(3))
    write_all_trials(data / "valid")
    recipe = {"model": TINY["lstm"], "loss": "softmax", "train": {"batch_size": 8, "crop_seconds": 0.2}}
    (clone / "conf/recipes/tiny.yaml").write_text(yaml.safe_dump(recipe))
    return clone


def start(project, *options, **how):
    return subprocess.Popen(
        ["./run.sh", *options], cwd=project, env=environment(), stderr=subprocess.PIPE, text=True, **how
    )


def until(condition, process=None):
    for _ in range(2400):
        if condition():
            return
        assert process is None or process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def work(slow):
    """Start run.sh; return it when it is in stage 0, the process that it waits for, and the file that this leaves."""
    folder, started = slow / "egs/slow/data", []
    for path in folder.iterdir():
        path.unlink()

    def begin(**how):
        process = start(slow, "--corpus", "slow", start_new_session=True, **how)
        started.append(process.pid)
        until((folder / "process").exists, process)
        started.append(int((folder / "process").read_text()))
        return process, started[-1], folder / "tidied"

    yield begin
    for pid in started:
        if lives(pid):
            os.kill(pid, signal.SIGKILL)


@linux
@pytest.mark.parametrize("number", SIGNALS)
def test_a_stage_ends_with_run_sh(work, number):
    """Only run.sh is told, as by `kill`, `timeout --foreground` and supervisors."""
    process, pid, tidied = work()
    process.send_signal(number)
    error = process.communicate(timeout=60)[1]
    assert process.returncode == -number
    if number == signal.SIGKILL:
        until(lambda: not lives(pid))
    else:
        assert error == f"run.sh: stopped by {number.name}; the same command goes on from here\n"
    # Where run.sh can, it waits for the stage.
    assert not lives(pid)
    assert tidied.exists()


@linux
@pytest.mark.parametrize("number", SIGNALS[:3])
def test_a_signal_to_all_processes_of_a_terminal(work, number):
    """Ctrl-C, a terminal that is closed, `timeout`: the stage, too, gets the signal, and tidies up once."""
    process, pid, tidied = work()
    os.killpg(process.pid, number)
    process.communicate(timeout=60)
    assert process.returncode == -number
    assert not lives(pid)
    # What is no script of Vouch may end at once by SIGHUP.
    assert tidied.exists() or number == signal.SIGHUP


@linux
def test_what_nohup_protects_goes_on(work):
    process, pid, _ = work(preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    os.killpg(process.pid, signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None and lives(pid)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM


@linux
def test_a_training_ends_with_run_sh_and_the_same_command_goes_on(ready):
    words = ("--corpus", "ready", "--stage", "3", "--stop-stage", "3", "--recipe", "tiny", "--name", "long")
    words += ("--train.epochs", "100000", "--device", "cpu")
    log = ready / "egs/ready/exp/long/train.log"
    epochs = [0]
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP):
        process = start(ready, *words, stdout=subprocess.DEVNULL)
        until(lambda: max(epochs_of(log), default=0) > epochs[-1], process)
        process.send_signal(number)
        process.communicate(timeout=60)
        assert process.returncode == -number
        if number == signal.SIGKILL:
            until(lambda: is_free(log))
        assert is_free(log)
        assert log.read_text().splitlines()[-1].endswith("interrupted; the same command goes on from here")
        epochs.append(max(epochs_of(log), default=0))
    shown = epochs_of(log)
    assert shown == sorted(set(shown)), "an epoch was trained twice"


def epochs_of(log):
    """The epochs whose figures a log has."""
    return [int(number) for number in re.findall(r" epoch (\d+)/", log.read_text())] if log.exists() else []


def is_free(log):
    """Whether no training holds the lock of the log."""
    with open(log, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
