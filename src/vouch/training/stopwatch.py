"""Measures the speed of an epoch, and the time since the last checkpoint and the last reading of the loss."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from vouch.training.data import Batch


class Stopwatch:
    """Speed of an epoch, and the times since the last checkpoint and since the loss was last read."""

    def __init__(self) -> None:
        self._waited = self._worked = 0.0
        self._utterances = 0
        self._checkpoint = self._reading = time.monotonic()

    def timed(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches, and measure the time spent waiting for and working on them."""
        asked = time.monotonic()
        for batch in batches:
            got = time.monotonic()
            yield batch
            self._waited += got - asked
            asked = time.monotonic()
            self._worked += asked - got
            self._utterances += len(batch.labels)

    def utterances_per_second(self) -> float:
        return self._utterances / max(self._waited + self._worked, 1e-9)

    def waiting_share(self) -> float:
        return self._waited / max(self._waited + self._worked, 1e-9)

    def minutes_since_checkpoint(self) -> float:
        return (time.monotonic() - self._checkpoint) / 60

    def checkpoint_written(self) -> None:
        self._checkpoint = time.monotonic()

    def seconds_since_reading(self) -> float:
        return time.monotonic() - self._reading

    def loss_read(self) -> None:
        self._reading = time.monotonic()
