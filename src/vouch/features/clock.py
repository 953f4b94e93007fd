"""Defines the time unit of a network's input: frames of a front end, or samples of a waveform."""

from __future__ import annotations

import math
from typing import NamedTuple

from vouch.base.errors import VouchError
from vouch.features.config import FrontEndConfig

# Milliseconds from one frame to the next, for front ends without an option for it.
USUAL_FRAME_SHIFT = 10.0


class Clock(NamedTuple):
    """Converts seconds into steps of a network's input: rows of a feature matrix, or samples of a waveform.

    Attributes
    ----------
    unit : "frames" or "samples"
        Kind of step.
    per_second : float
        Number of steps per second of audio.
    """

    unit: str
    per_second: float

    def count(self, seconds: float) -> int:
        """Return the number of steps nearest to a duration."""
        return round(seconds * self.per_second)

    def seconds_needed(self, steps: int) -> float:
        """Return the fewest tenths of a millisecond, in seconds, that are so many steps or more: for messages."""
        return math.ceil(steps * 10_000 / self.per_second) / 10_000

    def seconds(self, steps: int) -> float:
        """Return the duration of a number of steps in seconds."""
        return steps / self.per_second


def clock_of(front_end: FrontEndConfig | None) -> Clock:
    """Return the clock of a front end's output; None stands for features of an unknown front end.

    Raises
    ------
    VouchError
        Frames that are not apart.
    """
    if front_end is not None and front_end.gives_waveforms:
        return Clock("samples", float(front_end.sample_rate))
    shift = USUAL_FRAME_SHIFT if front_end is None else front_end.options.get("frame_shift", USUAL_FRAME_SHIFT)
    if not shift > 0:
        raise VouchError(f"frame_shift must be positive, not {shift} ms")
    return Clock("frames", 1000 / shift)
