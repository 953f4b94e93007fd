"""Reports a wrong Python, a missing package or Ctrl-C during a script's imports in one line.

Uses only Python's standard library, with syntax that Pythons too old for the rest can read.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from types import TracebackType

from vouch.cli.environment import REQUIREMENTS, required_modules, wrong_python

if REQUIREMENTS.exists():
    NEEDED = "requirements.txt names"
    ADVICE = "run '. ./path.sh' in this shell first, which puts a Python that has what Vouch needs on PATH"
else:  # installed by pip
    NEEDED, ADVICE = "Vouch needs", "install Vouch again with pip"


def guard_imports(name: str) -> None:
    """Turn failures of the following imports into one line; after the imports, `vouch.cli.parser.run_main` does that.

    Parameters
    ----------
    name : str
        `__name__` of the script; nothing is done if the script is imported, by a test or another script.
    """
    if name != "__main__":
        return
    wrong = wrong_python()
    if wrong:
        sys.exit(f"{_program()}: error: {wrong}; {ADVICE}")
    if sys.stdout is None:
        # Otherwise the first file that is opened would get its number, and receive what is printed.
        sys.exit(f"{_program()}: error: the standard output is closed")
    sys.excepthook = _explain
    # SIGINT stays ignored if it already is, as for a background job of a shell.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def missing_package(error: BaseException) -> str | None:
    """Return a line about an import that failed because a package of Vouch is missing; None for other errors."""
    if not isinstance(error, ImportError) or (error.name or "").split(".")[0] not in required_modules():
        return None
    return f"{sys.executable} lacks packages or has others than {NEEDED} ({error}); {ADVICE}"


def say_interrupted() -> None:
    """Report on stderr that the script was interrupted."""
    print(f"{_program()}: interrupted; the same command starts again where that is possible", file=sys.stderr)


def _interrupt(number: int, frame: object) -> None:
    # Exit immediately: nothing is open yet, and compiled modules would replace an exception during their import.
    say_interrupted()
    sys.stderr.flush()
    os._exit(130)


def _explain(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    line = missing_package(error)
    if line is None:
        traceback.print_exception(kind, error, trace)
    else:
        print(f"{_program()}: error: {line}", file=sys.stderr)


def _program() -> str:
    return os.path.basename(sys.argv[0])
