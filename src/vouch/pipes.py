"""Shell commands in the place of files, run as Kaldi runs those of its extended file names: by `sh -c`."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from typing import BinaryIO

from vouch.errors import VouchError


def read_pipe(command: str) -> bytes:
    """Return all that a command writes to its standard output.

    Raises
    ------
    VouchError : the command ends with another status than 0; its last line on stderr is quoted
    """
    done = subprocess.run(command, shell=True, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        raise VouchError(f"'{command.strip()} |' failed with status {done.returncode}: {last[0]}")
    return done.stdout


@contextlib.contextmanager
def open_read_pipe(command: str) -> Iterator[BinaryIO]:
    """Give the standard output of a command, which may be longer than the memory.

    The command's standard input is this program's. Its status counts when its output has been read to the end; a
    command of which the rest is not wanted is stopped.

    Raises
    ------
    VouchError : the command ends with another status than 0
    """
    # A group of its own, or what the shell has started would go on without it.
    with subprocess.Popen(command, shell=True, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        was_read = False
        try:
            yield process.stdout
            was_read = not process.stdout.read(1)
        finally:
            if not was_read:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
        if was_read and process.wait():
            raise VouchError(f"'{command.strip()} |' failed with status {process.returncode}")


@contextlib.contextmanager
def open_write_pipe(command: str) -> Iterator[BinaryIO]:
    """Give the standard input of a command; `VouchError` when it ends with another status than 0."""
    with subprocess.Popen(command, shell=True, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        try:
            yield process.stdin
            process.stdin.close()
        except BrokenPipeError:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            process.wait()
            raise VouchError(
                f"'| {command.strip()}' ended with status {process.returncode} before all was written"
            ) from None
        except BaseException:
            process.terminate()
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            raise
        if process.wait():
            raise VouchError(f"'| {command.strip()}' failed with status {process.returncode}")
