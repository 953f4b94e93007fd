"""What tests of several rooms share."""

import os
import signal
import subprocess
import sys
from pathlib import Path

# Scripts obey what they were not told to ignore; under nohup or in the background of a script, tests would be told so.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

# The tensors of tests are tiny: threads that share them only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import pytest
from processes import ScriptServer

# How long an example takes depends on what else runs; the same examples at every run make failures findable.
hypothesis.settings.register_profile("vouch", deadline=None, derandomize=True)
hypothesis.settings.load_profile("vouch")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def start_python():
    """Start `python -c code words...` with the library on its path; whatever still runs after the test is killed."""
    started = []

    def start(code, *words, **options):
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
        process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, words)],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            **options,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="session")
def scripts(tmp_path_factory):
    """A `processes.ScriptServer`."""
    server = ScriptServer(tmp_path_factory.mktemp("printed"))
    yield server
    server.stop()
