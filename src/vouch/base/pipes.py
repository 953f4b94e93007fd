"""Shell commands in the place of files, run as Kaldi runs those of its extended file names: by `sh -c`."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from vouch.base.errors import QUOTED, VouchError

# Bytes that are taken of what a command writes: 18 hours of one 16-bit channel at 16 kHz.
MAX_BYTES, MAX_SHOWN = 2 << 30, "2 GiB"
_BLOCK = 1 << 20
# Of what a command says on stderr, so much from the beginning and from the end is looked at.
_WORDS_KEPT = 1 << 16
# Lines in which programs say what went wrong; a usage message may follow them.
_COMPLAINT = re.compile(
    rb"\b(?:fail|error|fatal|cannot|can't|could not|not found|no such|unable|denied)", re.IGNORECASE
)


def read_pipe(command: str) -> bytes:
    """Return all that a command writes to its standard output, at most 2 GiB.

    Raises
    ------
    VouchError
        The command ends with another status than 0; the line on stderr that says why is quoted, or else its last. Or
        it writes more than 2 GiB, and is stopped.
    """
    words: list[bytes] = []
    with subprocess.Popen(
        command, shell=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        # Read at the same time, or a command that says much would wait for ever.
        listening = threading.Thread(target=_listen, args=(process.stderr, words), daemon=True)
        listening.start()
        blocks: list[bytes] = []
        size = 0
        try:
            while block := process.stdout.read(_BLOCK):
                blocks.append(block)
                size += len(block)
                if size > MAX_BYTES:
                    raise VouchError(
                        f"'{command.strip()} |' writes more than {MAX_SHOWN}, which no recording or matrix"
                        " has; it was stopped"
                    )
            listening.join()
        except BaseException:
            # What the shell started cannot write any more, and ends of that.
            process.stdout.close()
            process.kill()
            listening.join(1)
            raise
    if process.returncode:
        raise VouchError(f"'{command.strip()} |' failed with status {process.returncode}: {_telling_line(words)}")
    return b"".join(blocks)


def _listen(stream: BinaryIO, words: list[bytes]) -> None:
    words.append(stream.read(_WORDS_KEPT))
    end = b""
    while block := stream.read(_WORDS_KEPT):
        end = (end + block)[-_WORDS_KEPT:]
    words.append(end)


def _telling_line(words: Sequence[bytes]) -> str:
    lines = [line.strip() for line in b"".join(words).splitlines() if line.strip()]
    line = next(filter(_COMPLAINT.search, lines), lines[-1] if lines else b"no message")
    text = line.decode(errors="replace")
    # Programs name the file first and the reason last: of a long path the middle can be spared.
    return text if len(text) <= QUOTED else f"{text[: QUOTED // 2]}...{text[-QUOTED // 2 :]}"


@contextlib.contextmanager
def open_read_pipe(command: str) -> Iterator[BinaryIO]:
    """Give the standard output of a command, which may be longer than the memory.

    The command's standard input is this program's. Its status counts when its output has been read to the end; a
    command of which the rest is not wanted is stopped.

    Raises
    ------
    VouchError
        The command ends with another status than 0.
    """
    # A group of its own, or what the shell has started would go on without it.
    with subprocess.Popen(command, shell=True, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert isinstance(process.stdout, io.BufferedReader)
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
        assert isinstance(process.stdin, io.BufferedWriter)
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
