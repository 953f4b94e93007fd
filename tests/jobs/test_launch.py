import json
import os
import shlex
import signal
import sys
import time
from pathlib import Path

import pytest

from vouch.base.errors import VouchError
from vouch.jobs import launch as jobs
from vouch.jobs.launch import launch, quote_for_launcher

RUN = shlex.join([sys.executable, str(Path(__file__).resolve().parents[2] / "utils" / "run.py")])

NASTY = [
    "",
    " ",
    "two  words",
    "it's",
    'say "x"',
    "both ' and \"",
    "$HOME $(id) `id` ${x} $((6*7))",
    "back\\slash \\n \\x41",
    "new\nline\r\ttab",
    "naïve 話者 🎙",
    "a|b;c&d>e<f(g)[h]*?~#!{i,j}",
    "JOB",
    "the JOBX of JOBXX",
    "--option=value",
    "%1 ^ ` \x7f \x01",
    "cat x.wav |",
]
# Writes down exactly what it was given.
RECORD = "import json, sys; json.dump(sys.argv[2:], open(sys.argv[1] + sys.argv[-1].split('/')[0], 'w'))"


def test_every_word_arrives_as_it_was(tmp_path):
    log_dir = tmp_path / "an it's $odd 話 JOB folder"
    launch(RUN, 3, log_dir, "stem", [sys.executable, "-c", RECORD, f"{tmp_path}/given.", *NASTY])
    for job in (1, 2, 3):
        assert json.loads((tmp_path / f"given.{job}").read_text()) == [*NASTY, "--job", f"{job}/3"]
    assert sorted(os.listdir(log_dir)) == ["stem.1.log", "stem.2.log", "stem.3.log"]


@pytest.mark.parametrize("word", NASTY)
def test_quoted_words_hold_no_blank_and_only_plain_characters(word):
    """So no launcher adds quotes of its own, and no shell finds anything to expand."""
    quoted = quote_for_launcher(word)
    assert quoted.isascii()
    assert quoted.isprintable()
    assert not set(quoted) & set(' "$`|;&<>()*?~#') - set("$")
    assert quoted.count("$") == quoted.startswith("$'")


def test_a_failed_job_is_reported_with_its_error_and_its_log(tmp_path):
    code = "import sys; sys.exit('work.py: error: no microphone') if sys.argv[-1] == '2/3' else 0"
    with pytest.raises(VouchError) as caught:
        launch(RUN, 3, tmp_path / "log", "work", [sys.executable, "-c", code])
    message = str(caught.value)
    assert "no microphone" in message
    assert f"{tmp_path}/log/work.JOB.log" in message
    assert "\n" not in message


def test_whoever_waits_looks_at_the_logs(tmp_path, monkeypatch):
    """Of this run: those of another one are gone."""
    monkeypatch.setattr(jobs, "SECONDS_BETWEEN_LOOKS", 0.05)
    logs = [tmp_path / "log/work.1.log", tmp_path / "log/work.2.log"]
    logs[0].parent.mkdir()
    logs[0].write_text("x: error: of another run")
    seen = []

    def look(given):
        seen.append(given)
        (tmp_path / "go").touch()

    launch(RUN, 2, tmp_path / "log", "work", ["bash", "-c", f"until [ -e '{tmp_path}/go' ]; do sleep 0.05; done"], look)
    assert seen and all(given == logs for given in seen)
    logs[0].write_text("x: error: of another run")
    with pytest.raises(VouchError, match="'false' failed with status 1: no message"):
        launch("false", 2, tmp_path / "log", "work", ["true"])


def test_a_failure_without_message_still_says_where_the_logs_are(tmp_path):
    with pytest.raises(VouchError, match=r"status 1: no message; logs: .*/work\.JOB\.log"):
        launch(RUN, 1, tmp_path, "work", ["false"])


@pytest.mark.parametrize("cmd", ["", "no_such_launcher_here", "unbalanced 'quote"])
def test_a_launcher_that_cannot_be_started_is_named(cmd, tmp_path):
    with pytest.raises(VouchError, match=f"the launcher '{cmd}' cannot be started"):
        launch(cmd, 1, tmp_path, "work", ["true"])


CALLER = f"""
import pathlib, signal, sys
from vouch.jobs.launch import launch
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
launch({RUN!r}, 2, pathlib.Path(sys.argv[1]), "work", ["bash", "-c", "echo $$; sleep 600; :"])
"""


def test_stopping_the_caller_stops_the_jobs(tmp_path, start_python):
    process = start_python(CALLER, tmp_path)
    logs = [tmp_path / f"work.{job}.log" for job in (1, 2)]
    pids = [_wait_for_pid(log) for log in logs]
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert all("# Ended (code 0; signal 15)" in log.read_text() for log in logs)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's parent-death signal")
def test_killing_the_caller_stops_the_jobs(tmp_path, start_python):
    """As the kernel does when memory is short: the launcher is told all the same, and ends the jobs as usual."""
    process = start_python(CALLER, tmp_path)
    logs = [tmp_path / f"work.{job}.log" for job in (1, 2)]
    pids = [_wait_for_pid(log) for log in logs]
    process.kill()
    process.wait()
    for _ in range(600):
        if all("# Ended" in log.read_text() for log in logs):
            break
        time.sleep(0.05)
    assert all("# Ended (code 0; signal 15)" in log.read_text() for log in logs)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def _wait_for_pid(log):
    for _ in range(300):
        lines = log.read_text().splitlines() if log.exists() else []
        if lines and lines[-1].isdigit():
            return int(lines[-1])
        time.sleep(0.05)
    raise AssertionError(f"nothing started: {log}")
