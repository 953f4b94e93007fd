#!/usr/bin/env python3
"""Run a program that gets SIGTERM when the process that started it ends; run.sh runs its stages with this.

    utils/end_with_parent.py PARENT COMMAND...

PARENT is the process id of the caller. If it has already ended, nothing is started. On other systems than Linux the
command is just run. Uses only Python's standard library.
"""

import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "src"))

from vouch.base.lifetime import end_with


def main() -> None:
    if len(sys.argv) < 3 or not sys.argv[1].isdigit():
        sys.exit(__doc__)
    command = sys.argv[2:]
    if not end_with(int(sys.argv[1]), signal.SIGTERM)():
        sys.exit(f"{os.path.basename(command[0])}: not started: what should have waited for it has ended")
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
