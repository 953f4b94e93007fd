"""Writes training curves for TensorBoard."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.summary import scalar

from vouch.base.errors import about_file


class Curves:
    """Writes scalars by epoch to an event file of TensorBoard.

    TensorBoard's own writer uses a thread, in which a full disk causes a traceback without a file name; here each point
    is written immediately.

    Parameters
    ----------
    folder : Path
        Folder of the event files; each start of a training writes a new one.
    first_epoch : int
        Points of earlier event files from this epoch on are hidden.

    Raises
    ------
    VouchError
        The file cannot be written, now or when scalars are added.
    """

    def __init__(self, folder: Path, first_epoch: int) -> None:
        started = time.time()
        self._path = folder / f"events.out.tfevents.{int(started):010d}.{socket.gethostname()}.{os.getpid()}"
        with about_file(self._path):
            folder.mkdir(parents=True, exist_ok=True)
            # Unbuffered: closing a buffered file fails on a full disk.
            self._file = open(self._path, "ab", buffering=0)  # noqa: SIM115 - closed by `close`
            self._records = RecordWriter(self._file)
            self._write(Event(wall_time=started, file_version="brain.Event:2"))
            self._write(Event(wall_time=started, step=first_epoch, session_log=SessionLog(status=SessionLog.START)))

    def add(self, scalars: Mapping[str, float], epoch: int) -> None:
        """Add a point to each of several curves, given by name."""
        with about_file(self._path):
            for name, value in scalars.items():
                self._write(Event(wall_time=time.time(), step=epoch, summary=scalar(name, value)))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, event: Event) -> None:
        self._records.write(event.SerializeToString())
