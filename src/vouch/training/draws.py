"""The random draws of a training: each follows from its purpose and its place, never from how many came before.

So a checkpoint holds no state of a generator, and a run that goes on draws what it would have drawn.

============================  ==========================================
initial weights               (seed)
order of the utterances       (seed, epoch), as their sum
where the crops begin         (seed, epoch, batch)
what happens within a step    (seed, epoch, batch, `STEP`)
============================  ==========================================
"""

from __future__ import annotations

import numpy as np

# Dropout, and losses that draw, such as triplets by rank.
STEP = 1


def order_seed(seed: int, epoch: int) -> int:
    """Seed of the order of an epoch, which counts from 0."""
    return seed + epoch


def crop_seed(seed: int, epoch: int) -> tuple[int, int]:
    """Seed of the crops of an epoch, to which `vouch.training.data.prefetch` adds the number of the batch."""
    return seed, epoch


def step_seed(seed: int, epoch: int, batch: int) -> int:
    """Seed of what a step on one batch draws, from 0 to 2^64 - 1."""
    return int(np.random.SeedSequence((seed, epoch, batch, STEP)).generate_state(1, np.uint64)[0])
