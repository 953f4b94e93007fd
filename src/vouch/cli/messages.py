"""What scripts say beside their errors: warnings, what the library reports, and questions at the keyboard."""

from __future__ import annotations

import getpass
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def warn(text: str) -> None:
    """Print a warning on stderr in the name of the script."""
    print(f"{os.path.basename(sys.argv[0])}: warning: {text}", file=sys.stderr)


@contextmanager
def reports_shown() -> Iterator[None]:
    """Print what modules of the library log: warnings on stderr, what they report of their work on stdout."""
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
    """Ask for a line at the keyboard; "" where nobody sits at one.

    Parameters
    ----------
    prompt : str
        What is asked for.
    secret : bool
        Whether what is typed must not be seen.
    """
    if not sys.stdin.isatty():
        return ""
    if secret:
        return getpass.getpass(f"{prompt} (not shown): ")
    print(f"{prompt}: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline()
