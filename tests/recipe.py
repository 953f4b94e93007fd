"""The project as a fresh clone has it, and run.sh in it as its users run it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("conf", "egs", "local", "src", "steps", "utils", "path.sh", "run.sh", "requirements.txt")


def copy_project(target: Path) -> Path:
    """Copy the project without anything generated."""
    ignore = shutil.ignore_patterns("__pycache__", "data", "exp")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, target / part, ignore=ignore)
        else:
            shutil.copy2(ROOT / part, target / part)
    return target


def run(clone: Path, *options: str, cwd: Path | None = None, status: int = 0) -> subprocess.CompletedProcess:
    """Run its run.sh, there or from another folder, and check the exit status."""
    # The environment that runs the tests has the packages: the clone must use it and not make one of its own.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PATH": path}
    done = subprocess.run(
        [str(clone / "run.sh") if cwd else "./run.sh", *options],
        cwd=cwd or clone,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done
