"""Curves of a training for TensorBoard."""

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
    """Scalars by epoch in an event file, which TensorBoard shows as curves.

    TensorBoard's own writer hands them to a thread, in which a full disk is a traceback that names no file; here they
    are written when they are given.

    Parameters
    ----------
    folder : Path
        For the event file; each start of a training has one of its own.
    first_epoch : int
        Epochs from this one on that files of earlier starts hold are not shown.

    Raises
    ------
    VouchError
        Naming the file, here and when scalars are added: it cannot be written.
    """

    def __init__(self, folder: Path, first_epoch: int) -> None:
        started = time.time()
        self._path = folder / f"events.out.tfevents.{int(started):010d}.{socket.gethostname()}.{os.getpid()}"
        with about_file(self._path):
            folder.mkdir(parents=True, exist_ok=True)
            # What is added is flushed at once; a buffer could not be closed on a full disk.
            self._file = open(self._path, "ab", buffering=0)  # noqa: SIM115 - closed by `close`
            self._records = RecordWriter(self._file)
            self._write(Event(wall_time=started, file_version="brain.Event:2"))
            self._write(Event(wall_time=started, step=first_epoch, session_log=SessionLog(status=SessionLog.START)))

    def add(self, scalars: Mapping[str, float], epoch: int) -> None:
        """Add a point to each of some curves, given by name."""
        with about_file(self._path):
            for name, value in scalars.items():
                self._write(Event(wall_time=time.time(), step=epoch, summary=scalar(name, value)))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, event: Event) -> None:
        self._records.write(event.SerializeToString())
