"""Counts the processors and GPUs of this machine that jobs may use."""

from __future__ import annotations

import contextlib
import os
import subprocess


def count_processors() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def count_gpus() -> int:
    """Return the number of GPUs that the driver lists; 0 without a driver."""
    with contextlib.suppress(OSError):
        listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False)
        return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
    return 0
