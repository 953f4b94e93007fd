"""Ends child processes together with their parent, even when the parent is killed without a chance to react (Linux)."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with(parent: int, number: int) -> Callable[[], bool]:
    """Return a function that a new process calls so that the kernel signals it when its parent ends.

    The request survives `exec`, so it holds for the program that the new process becomes; children of that program do
    not inherit it. The C library is looked up here, since few calls are safe between `fork` and `exec`.

    Parameters
    ----------
    parent : int
        Process id.
    number : int
        The signal.

    Returns
    -------
    callable
        A function that returns whether the parent is still alive: it may have ended before the request, of which the
        kernel tells nothing. On other systems than Linux the function makes no request and only returns that.
    """
    prctl = ctypes.CDLL(None).prctl if sys.platform.startswith("linux") else None

    def ask() -> bool:
        if prctl is not None:
            prctl(PR_SET_PDEATHSIG, int(number))
        return os.getppid() == parent

    return ask


def end_with_this(number: signal.Signals) -> Callable[[], None]:
    """Return a `preexec_fn` for `subprocess.Popen` that has the new process signalled when this one ends."""
    ask = end_with(os.getpid(), number)

    def prepare() -> None:
        if not ask():
            os._exit(1)

    return prepare
