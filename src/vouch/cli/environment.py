"""Checks whether the Python environment of requirements.txt exists, and creates it.

Uses only Python's standard library, with syntax that Pythons too old for the rest can read.
"""

from __future__ import annotations

import fcntl
import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parents[3] / "requirements.txt"
# Modules of packages whose module has another name.
MODULES = {"pyyaml": "yaml"}
# Pythons for which all pinned packages have wheels: from the first to below the second.
PYTHONS = ((3, 10), (3, 14))


def requirements() -> dict[str, str]:
    """Return the packages in requirements.txt, in lower case, with their versions."""
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    pins = [line.partition("==") for line in lines if line.strip() and not line.startswith("#")]
    return {name.strip().lower(): version.strip() for name, _, version in pins}


def required_modules() -> list[str]:
    """Return the modules that requirements.txt requires; without a checkout, those that pip installed."""
    if REQUIREMENTS.exists():
        names = list(requirements())
    else:
        from importlib import metadata  # not in Pythons that `wrong_python` refuses

        names = [re.split(r"[^A-Za-z0-9_-]", line)[0].lower() for line in metadata.requires("vouch") or ()]
    return [MODULES.get(name, name) for name in names]


def wrong_python(version: tuple[int, ...] = sys.version_info[:2]) -> str | None:
    """Return why a version of Python is not supported, or None if it is."""
    first, end = PYTHONS
    if first <= version < end:
        return None
    span = f"{first[0]}.{first[1]} to {end[0]}.{end[1] - 1}"
    return f"Python {version[0]}.{version[1]} ({sys.executable}) is not supported: Vouch needs {span}"


def wrong_package() -> str | None:
    """Return which package is missing or too old here, or None if all fit."""
    from importlib import metadata  # not in Pythons that `wrong_python` refuses

    for name, wanted in requirements().items():
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            return f"{sys.executable} has no package {name}"
        if not release(wanted) <= release(found) < (release(wanted)[0] + 1,):
            return f"{sys.executable} has {name} {found}; requirements.txt asks for {wanted} or later"
    return None


def release(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: (2, 11, 0) for "2.11.0+cpu"."""
    return tuple(int(number) for number in re.findall(r"\d+", re.split(r"[^0-9.]", version)[0]))


def make(folder: Path) -> None:
    """Create the environment unless it is complete; an incomplete one is created again."""
    complete, python = folder / "complete", folder / "bin/python3"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    with open(folder.with_name(folder.name + ".lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if python.exists() and complete.exists() and complete.read_text(encoding="utf-8") == wanted:
            return
        print(f"making the Python environment in {folder} (once; a few minutes)", file=sys.stderr)
        # A link to a Python that no longer exists, as after a system upgrade, counts as missing.
        if not complete.exists() or not python.exists():
            shutil.rmtree(folder, ignore_errors=True)
            run([sys.executable, "-m", "venv", str(folder)], "on Debian and Ubuntu: apt install python3-venv")
        complete.unlink(missing_ok=True)
        run(
            [str(python), "-m", "pip", "install", "--quiet", "-r", str(REQUIREMENTS)], "is the package index reachable?"
        )
        complete.write_text(wanted, encoding="utf-8")


def run(command: list[str], hint: str) -> None:
    """Run a command without showing its output; if it fails, exit with its last line of errors."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
        errors = [line for line in lines if "error" in line.lower()] or lines or ["no message"]
        sys.exit(f"environment.py: error: '{' '.join(command)}' failed ({errors[-1]}); {hint}")
