#!/usr/bin/env python3
"""Create the Python environment of Vouch; several jobs may call this at the same time.

    utils/environment.py .venv       create or complete it
    utils/environment.py --check     exit with 0 if this Python has all packages, else say what is wrong
    utils/environment.py --check-python     check only whether this Python is supported

A package may be newer than in requirements.txt, up to the next major version, but not older. Uses only Python's
standard library, with syntax that Pythons too old for the rest can read.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "src"))

from vouch.cli.environment import make, wrong_package, wrong_python


def main() -> None:
    if sys.argv[1:] == ["--check"]:
        sys.exit(wrong_python() or wrong_package())
    if sys.argv[1:] == ["--check-python"]:
        sys.exit(wrong_python())
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    wrong = wrong_python()
    if wrong:
        sys.exit(f"environment.py: error: {wrong}")
    try:
        make(Path(sys.argv[1]).absolute())
    except OSError as error:
        sys.exit(f"environment.py: error: {error.filename or sys.argv[1]}: {error.strerror}")
    except KeyboardInterrupt:
        sys.exit("environment.py: interrupted; the same command starts again")


if __name__ == "__main__":
    main()
