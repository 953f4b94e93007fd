"""Seeds for the random draws of a training, which depend on purpose and position, not on earlier draws.

A checkpoint therefore needs no generator state, and a continued run draws the same numbers as an uninterrupted one.

============================  ==========================================
initial weights               (seed)
order of the utterances       (seed, epoch), as their sum
where the crops begin         (seed, epoch, batch)
augmentation                  (seed, epoch, batch, `AUGMENTATION`)
what happens within a step    (seed, epoch, batch, `STEP`)
============================  ==========================================
"""

from __future__ import annotations

import numpy as np

# Purpose: dropout, and losses with random draws, such as triplets by rank.
STEP = 1
# Purpose: noises, rooms, speeds and masks.
AUGMENTATION = 2


def order_seed(seed: int, epoch: int) -> int:
    """Return the seed for the order of an epoch, which counts from 0."""
    return seed + epoch


def crop_seed(seed: int, epoch: int) -> tuple[int, int]:
    """Return the seed for the crops of an epoch; `vouch.training.data.prefetch` appends the number of the batch."""
    return seed, epoch


def step_seed(seed: int, epoch: int, batch: int) -> int:
    """Return the seed for the draws of a training step, from 0 to 2^64 - 1."""
    return int(np.random.SeedSequence((seed, epoch, batch, STEP)).generate_state(1, np.uint64)[0])
