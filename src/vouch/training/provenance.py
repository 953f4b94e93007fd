"""Describes how a model was made: date, command, configuration, software, data. Stored in final.pt and as JSON."""

from __future__ import annotations

import json
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[3]


def describe_run(
    command: Sequence[str], configuration: Mapping[str, object], data: Mapping[str, Mapping[str, object]]
) -> dict[str, object]:
    """Describe a training at its start, as plain values.

    Parameters
    ----------
    command : sequence of str
        Words of the command line.
    configuration : mapping of str to object
        Resolved configuration, including the section "feature".
    data : mapping of str to mapping of str to object
        Description of each set, by its part ("train", "valid").

    Returns
    -------
    dict of str to object
        "date" (local time with its offset from UTC), "command", "configuration", "versions" by name, "git" (commit, and
        whether files differ from it; "none" if Vouch is not in a git repository), "data".
    """
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "command": list(command),
        "configuration": json.loads(json.dumps(configuration)),  # tuples become lists, as when it is read from a file
        "versions": {"python": platform.python_version(), "torch": str(torch.__version__), "numpy": np.__version__},
        "git": git_state(ROOT),
        "data": {part: dict(told) for part, told in data.items()},
    }


def git_state(folder: str | Path) -> str:
    """Return the commit of a folder, with ", changed" if tracked files differ; "none" outside of a repository."""

    def ask(*words: str) -> str:
        # Without locks, since other processes may be using the repository.
        command = ["git", "--no-optional-locks", "-C", str(folder), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()

    try:
        changed = ask("status", "--porcelain", "--untracked-files=no")
        return ask("rev-parse", "HEAD") + (", changed" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return "none"
