"""Processes that end with the one that started them, even when that is killed and can tell nobody (Linux only)."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with(parent: int, number: int) -> Callable[[], bool]:
    """Return a function that a new process calls so that the kernel signals it when its parent ends.

    The wish outlives `exec`, so that it holds for the program that a new process becomes; it is not inherited by the
    children of that program. The library is looked up here, since little is safe between `fork` and `exec`.

    Parameters
    ----------
    parent : int
        Process id.
    number : int
        The signal.

    Returns
    -------
    callable
        A function that returns whether the parent still lives. It may have ended before the wish was made, and the
        kernel tells nothing of that. Elsewhere than on Linux nothing is wished, and the answer is the same.
    """
    prctl = ctypes.CDLL(None).prctl if sys.platform.startswith("linux") else None

    def ask() -> bool:
        if prctl is not None:
            prctl(PR_SET_PDEATHSIG, int(number))
        return os.getppid() == parent

    return ask


def end_with_this(number: signal.Signals) -> Callable[[], None]:
    """Return a `preexec_fn` for `subprocess.Popen`: the new process gets a signal when this one ends."""
    ask = end_with(os.getpid(), number)

    def prepare() -> None:
        if not ask():
            os._exit(1)

    return prepare
