"""Stages that are killed at any moment: what they leave is whole or not there, and the same command finishes them."""

import os
import signal
import time

import numpy as np
import pytest
from counts import count, seed
from pipeline import STAGES, TRIED

KILLS = count(1, 489 // len(TRIED) + 1)


@pytest.mark.parametrize("number", TRIED, ids=[STAGES[number].name for number in TRIED])
def test_a_stage_killed_at_any_moment(pipeline, number):
    """Several kills in a row too: what a killed run left is what the next one finds."""
    rng = np.random.default_rng((seed(), number))
    for kill in range(KILLS):
        if kill % 3 == 0:
            pipeline.restore(number)
        running = pipeline.start(number)
        time.sleep(rng.uniform(0.0, 1.1) * pipeline.seconds[number])
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        pipeline.check_nothing_half_made(number)
        if kill % 3 == 2 or kill == KILLS - 1:
            pipeline.finish(number)
