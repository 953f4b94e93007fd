"""Prints warnings and log messages of the library, and asks questions at the terminal."""

from __future__ import annotations

import getpass
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def warn(text: str) -> None:
    """Print a warning with the script's name on stderr."""
    print(f"{os.path.basename(sys.argv[0])}: warning: {text}", file=sys.stderr)


@contextmanager
def reports_shown() -> Iterator[None]:
    """Print log messages of the library: warnings on stderr, others on stdout."""
    log, printer = logging.getLogger("vouch"), _Printer()
    level, propagate = log.level, log.propagate
    log.addHandler(printer)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(printer)
        log.setLevel(level)
        log.propagate = propagate


class _Printer(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            warn(record.getMessage())
        else:
            print(record.getMessage())


def ask(prompt: str, secret: bool) -> str:
    """Ask for a line at the terminal; "" if there is no terminal.

    Parameters
    ----------
    prompt : str
        What to ask for.
    secret : bool
        Whether to hide what is typed.
    """
    if not sys.stdin.isatty():
        return ""
    if secret:
        return getpass.getpass(f"{prompt} (not shown): ")
    print(f"{prompt}: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline()
