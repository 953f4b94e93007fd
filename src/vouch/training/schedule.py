"""Learning rate and margin as functions of the share of the training done, independent of batches and devices."""

from __future__ import annotations

import math

# Learning rate at the end of the cosine and of the steps, relative to the peak.
FINAL_SHARE = 0.01
STEPS = 10


def cosine(progress: float) -> float:
    """Half a cosine from 1 to `FINAL_SHARE` (Loshchilov and Hutter, SGDR, equation 5, one period)."""
    return FINAL_SHARE + (1 - FINAL_SHARE) * 0.5 * (1 + math.cos(math.pi * progress))


def step(progress: float) -> float:
    """Ten steps of equal length that fall by equal factors from 1 to `FINAL_SHARE`."""
    return FINAL_SHARE ** (min(int(progress * STEPS), STEPS - 1) / (STEPS - 1))


def constant(progress: float) -> float:
    """Return 1."""
    return 1.0


SCHEDULES = {"cosine": cosine, "step": step, "constant": constant}
# Shape of a margin's ramp, from 0 to 1; the exponential one reaches 0.999 and then jumps to 1, as in WeSpeaker.
MARGIN_RAMPS = {
    "linear": lambda done: done,
    "exponential": lambda done: 1 - 10 ** (-3 * done),
}


def learning_rate_factor(schedule: str, warmup: float, progress: float) -> float:
    """Return the factor on the peak learning rate.

    Parameters
    ----------
    schedule : str
        Name in `SCHEDULES`; it begins after the warm-up.
    warmup : float
        Share of the training during which the factor rises linearly from 0 to 1.
    progress : float
        Share of the training done so far, 0 to 1.
    """
    if progress < warmup:
        return progress / warmup
    return SCHEDULES[schedule]((progress - warmup) / (1 - warmup))


def margin_share(schedule: str, begin: float, end: float, progress: float) -> float:
    """Return the share of the margin to apply: 0 before the ramp, 1 after it.

    Parameters
    ----------
    schedule : str
        "constant", which is always 1, or a name in `MARGIN_RAMPS`.
    begin, end : float
        Begin and end of the ramp, as shares of the training.
    progress : float
        Share of the training done so far, 0 to 1.
    """
    if schedule == "constant" or progress >= end:
        return 1.0
    if progress < begin:
        return 0.0
    return MARGIN_RAMPS[schedule]((progress - begin) / (end - begin))
