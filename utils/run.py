#!/usr/bin/env python3
"""Run a command on this machine, once or as an array of numbered jobs, each with its own log.

  utils/run.py [options] [NAME=first:last] log-file command ...
  utils/run.py --max-jobs-run 2 JOB=1:8 exp/log/work.JOB.log my_program --part JOB

Every occurrence of NAME in the log name and in the command is replaced by the job's number. Bash runs the command, so
quoted words such as '|', '>' and ';' keep their meaning, and words with blanks stay whole. The exit status is 0 if all
jobs succeed, 1 if one fails, and 255 if the arguments are invalid.

  --max-jobs-run N   number of jobs at a time (default: as many as the processors, or with --gpu the GPUs, allow)
  --num-threads N    processors that each job uses (default: 1)
  --gpu N            GPUs that each job uses (default: 0)
  --mem, --time      accepted and ignored, since they concern clusters
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from vouch.cli.startup import guard_imports

guard_imports(__name__)

from vouch.base.errors import VouchError
from vouch.base.lifetime import end_with_this
from vouch.cli.parser import run_main
from vouch.jobs.line import JobArray, parse_launch
from vouch.jobs.processors import count_gpus, count_processors

GRACE = 5.0  # seconds between asking a job to stop and killing it


class Job(NamedTuple):
    """A running job; its process leads a process group, so that all its children can be stopped with it."""

    process: subprocess.Popen
    log: IO[bytes]
    started: float


def main() -> None:
    words = sys.argv[1:]
    if words and words[0] in ("-h", "--help"):
        print(__doc__)
        return
    try:
        array = parse_launch(words)
        at_once = count_at_once(array)
    except VouchError as error:
        print(f"run.py: error: {error}", file=sys.stderr)
        sys.exit(255)
    array.check_logs()
    failed = run_all(array, at_once)
    if failed:
        print(f"run.py: {array.failure(failed)}", file=sys.stderr)
        sys.exit(1)


def count_at_once(array: JobArray) -> int:
    """Return the number of jobs of `array` to run at the same time."""
    threads, gpus = array.number("--num-threads", 1), array.number("--gpu", 0, least=0)
    fitting = count_gpus() // gpus if gpus else count_processors() // threads
    return array.number("--max-jobs-run", max(1, fitting))


def run_all(array: JobArray, at_once: int) -> int:
    """Run all tasks, at most `at_once` at a time, and return how many failed; an interruption stops them."""
    waiting = list(reversed(array.tasks))
    running: dict[int, Job] = {}
    failed = 0
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                job = start(array, waiting.pop())
                running[job.process.pid] = job
            pid, status = os.wait()
            job = running.pop(pid)
            job.process.returncode = os.waitstatus_to_exitcode(status)
            close_log(array, job)
            failed += job.process.returncode != 0
    except BaseException:
        stop(array, running)
        raise
    return failed


def start(array: JobArray, task: int) -> Job:
    """Start one task with a log that begins with the command and the time."""
    path, line = Path(array.log_of(task)), array.line_of(task)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # In append mode, because the job's processes and this one, which writes the last lines, share the file.
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        log = open(os.open(path, flags, 0o666), "ab", buffering=0)  # noqa: SIM115 - closed by close_log
        log.write(os.fsencode(f"# {line}\n# Started at {time.ctime()}\n#\n"))
        process = subprocess.Popen(
            ["bash", "-c", line],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=end_with_this(signal.SIGKILL),
        )
    except OSError as error:
        raise VouchError(f"{path}: the job cannot be started ({error.strerror})") from None
    return Job(process, log, time.time())


def stop(array: JobArray, running: dict[int, Job]) -> None:
    """Ask the running jobs to stop, kill those left after a while, and finish their logs."""
    for pid in running:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE
    for pid, job in running.items():
        with contextlib.suppress(subprocess.TimeoutExpired):
            job.process.wait(max(0.0, deadline - time.monotonic()))
        # Even if the group's leader has ended in time, other members may still run.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        job.process.wait()
        close_log(array, job)


def close_log(array: JobArray, job: Job) -> None:
    """Write to the log how the job ended."""
    seconds, code = round(time.time() - job.started), job.process.returncode
    status = f"code {code}" if code >= 0 else f"code 0; signal {-code}"
    threads = array.number("--num-threads", 1)
    with job.log as log:
        log.write(
            f"# Accounting: time={seconds} threads={threads}\n"
            f"# Ended ({status}) at {time.ctime()}, elapsed time {seconds} seconds\n".encode()
        )


if __name__ == "__main__":
    run_main(main)
