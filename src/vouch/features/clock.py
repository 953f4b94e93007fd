"""What the input of a network counts time in: frames of a front end, or samples of a waveform."""

from __future__ import annotations

from typing import NamedTuple

from vouch.features.config import FrontEndConfig

# Milliseconds from one frame to the next, unless a front end has an option that says otherwise.
USUAL_FRAME_SHIFT = 10.0


class Clock(NamedTuple):
    """Converts seconds into steps of a network's input: rows of a feature matrix, or samples of a waveform.

    Attributes
    ----------
    unit : "frames" or "samples"
        What a step is.
    per_second : float
        Steps in a second of audio.
    """

    unit: str
    per_second: float

    def count(self, seconds: float) -> int:
        """Return how many steps so many seconds are, to the nearest."""
        return round(seconds * self.per_second)

    def seconds(self, steps: int) -> float:
        """Return how many seconds so many steps are."""
        return steps / self.per_second


def clock_of(front_end: FrontEndConfig | None) -> Clock:
    """Return the clock of what a front end gives; None stands for features of an unknown front end."""
    if front_end is not None and front_end.gives_waveforms:
        return Clock("samples", float(front_end.sample_rate))
    options = {} if front_end is None else front_end.options
    return Clock("frames", 1000 / options.get("frame_shift", USUAL_FRAME_SHIFT))
