#!/usr/bin/env python3
"""Make the Python environment of Vouch, once, however many jobs ask for it at the same time.

    utils/environment.py .venv       make or complete it
    utils/environment.py --check     exit with 0 if this Python has all packages

Needs nothing but Python's standard library.
"""

import fcntl
import hashlib
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements.txt"
# Packages whose module has another name.
MODULES = {"pyyaml": "yaml"}


def required_modules() -> list[str]:
    """Names of the modules that requirements.txt promises."""
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    names = [line.split("==")[0].strip().lower() for line in lines if line.strip() and not line.startswith("#")]
    return [MODULES.get(name, name) for name in names]


def make(folder: Path) -> None:
    """Make the environment unless it is complete; a half-made one is made again."""
    complete, python = folder / "complete", folder / "bin/python3"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    with open(folder.with_name(folder.name + ".lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if python.exists() and complete.exists() and complete.read_text(encoding="utf-8") == wanted:
            return
        print(f"making the Python environment in {folder} (once; a few minutes)", file=sys.stderr)
        # A link to a Python that is gone, as after an upgrade of the system, counts as missing.
        if not complete.exists() or not python.exists():
            shutil.rmtree(folder, ignore_errors=True)
            run([sys.executable, "-m", "venv", str(folder)], "on Debian and Ubuntu: apt install python3-venv")
        complete.unlink(missing_ok=True)
        run(
            [str(python), "-m", "pip", "install", "--quiet", "-r", str(REQUIREMENTS)], "is the package index reachable?"
        )
        complete.write_text(wanted, encoding="utf-8")


def run(command: list[str], hint: str) -> None:
    """Run a command, silent unless it fails; then its last error is part of the message."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
        errors = [line for line in lines if "error" in line.lower()] or lines or ["no message"]
        sys.exit(f"environment.py: error: '{' '.join(command)}' failed ({errors[-1]}); {hint}")


def main() -> None:
    if sys.argv[1:] == ["--check"]:
        sys.exit(not all(importlib.util.find_spec(name) for name in required_modules()))
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    try:
        make(Path(sys.argv[1]).absolute())
    except OSError as error:
        sys.exit(f"environment.py: error: {error.filename or sys.argv[1]}: {error.strerror}")
    except KeyboardInterrupt:
        sys.exit("environment.py: interrupted; the same command starts again")


if __name__ == "__main__":
    main()
