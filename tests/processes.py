"""Runs scripts as processes of their own, without the seconds that importing torch takes each time.

A server imports the heavy packages once, those too that a script would import late, and forks for each run: what is
forked has the script's name, arguments, folder, environment, signals and exit status, as if it had been typed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 120.0  # seconds after which a run is killed

# How a server begins: with what scripts import, and with how one is run whose words are in sys.argv.
BEGINNING = """
import runpy, sys, traceback
import kaldiio, matplotlib.backends.backend_agg, matplotlib.font_manager, numpy, scipy.signal, soundfile
import torch, torch.utils.tensorboard, tqdm, yaml
import torch._dynamo  # as every optimizer does

def run_script():
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
        return 0
    except SystemExit as exit:
        if not isinstance(exit.code, str):
            return exit.code or 0
        print(exit.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    return 1
"""
SERVER = (
    BEGINNING
    + r"""
import gc, json, os, resource

def become(request):
    os.setsid()
    os.chdir(request["cwd"])
    for number, name in enumerate((os.devnull, request["stdout"], request["stderr"])):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644), number)
    os.environ.update(request["environment"])
    if request["largest_file"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["largest_file"],) * 2)
    sys.argv = request["words"]
    sys.path[0] = os.path.dirname(sys.argv[0])
    return run_script()

gc.freeze()  # what is shared stays shared: without copies of it a run starts sooner
while line := sys.stdin.readline():
    request = json.loads(line)
    if "wait" in request:
        print(os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1]), flush=True)
        continue
    if "look" in request:
        print(int(os.waitid(os.P_PID, request["look"], os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None), flush=True)
        continue
    child = os.fork()
    if not child:
        status = become(request)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # taking the interpreter down would take longer than the run
    print(child, flush=True)
"""
)


class Done(NamedTuple):
    """How a script ended; `returncode` is negative after a signal."""

    returncode: int
    stdout: str
    stderr: str


class Running:
    """A script that has been started."""

    def __init__(self, server: ScriptServer, pid: int, stdout: Path, stderr: Path) -> None:
        self._server, self.pid, self._stdout, self._stderr = server, pid, stdout, stderr

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def is_running(self) -> bool:
        """Whether it has not ended yet; what has ended can still be sent a signal, until somebody waits for it."""
        return self._server.ask({"look": self.pid}) == 0

    def wait(self) -> Done:
        def kill() -> None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

        timer = threading.Timer(LIMIT, kill)
        timer.start()
        status = self._server.ask({"wait": self.pid})
        timer.cancel()
        return Done(status, self._stdout.read_text(), self._stderr.read_text())


class ScriptServer:
    """Starts scripts of this repository.

    Parameters
    ----------
    folder : for what the scripts print
    variables : of the environment that the scripts' interpreter starts in, such as LD_PRELOAD
    """

    def __init__(self, folder: Path, **variables: str) -> None:
        self._folder, self._count = folder, 0
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", **variables}
        # A script must find the library by itself.
        environment.pop("PYTHONPATH", None)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._server = subprocess.Popen([sys.executable, "-c", SERVER], env=environment, text=True, **pipes)

    def ask(self, request: dict[str, object]) -> int:
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())

    def start(self, script: str, *arguments: object, cwd: Path, largest_file: int = 0, **environment: str) -> Running:
        """Start `script`, named from the repository's root; no file it writes may exceed `largest_file` bytes."""
        self._count += 1
        stdout, stderr = (self._folder / f"{self._count}.{name}" for name in ("stdout", "stderr"))
        request = {
            "words": [str(ROOT / script), *map(str, arguments)],
            "cwd": str(cwd),
            "stdout": str(stdout),
            "stderr": str(stderr),
            "environment": environment,
            "largest_file": largest_file,
        }
        return Running(self, self.ask(request), stdout, stderr)

    def run(self, script: str, *arguments: object, cwd: Path, **options: object) -> Done:
        """Start a script and wait for it."""
        return self.start(script, *arguments, cwd=cwd, **options).wait()

    def stop(self) -> None:
        self._server.stdin.close()
        self._server.stdout.close()
        self._server.wait()


def succeeds(done: Done) -> Done:
    assert done.returncode == 0, done.stderr
    return done


def fails(done: Done, message: str, status: int = 1) -> None:
    """Check that a script ended with one line that says why."""
    assert done.returncode == status, done
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert ".py: error: " in done.stderr
    assert message in done.stderr, done.stderr


def wait_for(condition, process: Running) -> None:
    """Wait until `condition()` holds, which it must while the process still runs."""
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.02)
    process.send(signal.SIGKILL)
    raise AssertionError(f"waited in vain: {process.wait()}")
