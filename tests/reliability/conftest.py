"""The stages, ready to be disturbed."""

import shutil
import subprocess
from pathlib import Path

import pytest
from pipeline import Pipeline
from processes import ScriptServer


@pytest.fixture(scope="session")
def fault_library(tmp_path_factory):
    """The compiled `faults.c`; None where there is no C compiler or no Linux."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or not Path("/proc/self/fd").exists():
        return None
    library = tmp_path_factory.mktemp("faults") / "faults.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", library, Path(__file__).parent / "faults.c", "-ldl"]
    return library if subprocess.run(command, check=False).returncode == 0 else None


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory, fault_library):
    """A `pipeline.Pipeline`; faults can be injected into its scripts where there is a library for that."""
    preload = {"LD_PRELOAD": str(fault_library)} if fault_library else {}
    server = ScriptServer(tmp_path_factory.mktemp("printed"), **preload)
    yield Pipeline(tmp_path_factory.mktemp("stages"), server)
    server.stop()
