"""Runs shell commands in place of files with `sh -c`, as Kaldi runs the commands of its extended file names."""

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

# Most output that is read from a command: 18 hours of one 16-bit channel at 16 kHz.
MAX_BYTES, MAX_SHOWN = 2 << 30, "2 GiB"
_BLOCK = 1 << 20
# Bytes that are kept from the beginning and from the end of a command's stderr.
_WORDS_KEPT = 1 << 16
# Matches lines in which programs say what went wrong; a usage message may follow them.
_COMPLAINT = re.compile(
    rb"\b(?:fail|error|fatal|cannot|can't|could not|not found|no such|unable|denied)", re.IGNORECASE
)


def read_pipe(command: str) -> bytes:
    """Return everything that a command writes to its standard output, at most 2 GiB.

    Raises
    ------
    VouchError
        The command exits with a status other than 0 (the message quotes the line of its stderr that tells the reason,
        or else the last line), or it writes more than 2 GiB and is stopped.
    """
    words: list[bytes] = []
    with subprocess.Popen(
        command, shell=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        # Read stderr at the same time: a command that fills the pipe would otherwise block for ever.
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
            # The programs that the shell started cannot write any more, which ends them.
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
    # Programs name the file first and the reason last, so the middle of a long line is left out.
    return text if len(text) <= QUOTED else f"{text[: QUOTED // 2]}...{text[-QUOTED // 2 :]}"


@contextlib.contextmanager
def open_read_pipe(command: str) -> Iterator[BinaryIO]:
    """Open the standard output of a command, which may be larger than the memory.

    The command shares this program's standard input. Its exit status is checked when its output has been read to the
    end; a command that is not read to the end is stopped.

    Raises
    ------
    VouchError
        The command exits with a status other than 0.
    """
    # In a process group of its own, so that stopping it also stops the programs that the shell has started.
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
    """Open the standard input of a command; `VouchError` when it exits with a status other than 0."""
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
