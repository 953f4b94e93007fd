"""Chooses the copies of utterances that stage 2 writes."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from vouch.augment.config import OFFLINE, AugmentConfig
from vouch.augment.tree import WEIGHT
from vouch.base.errors import VouchError


class Copy(NamedTuple):
    """A copy of an utterance: its original, and the name of the change, which ends its id."""

    utterance: str
    name: str


def draw_copies(
    utterances: Iterable[str], config: AugmentConfig, copies: int, seed: int, subset: int | None = None
) -> dict[str, Copy]:
    """Draw the changes of the copies of each utterance, without repetition and in proportion to their weights.

    What is drawn for an utterance depends on the seed and its id, not on other utterances or their order.

    Parameters
    ----------
    utterances : iterable of str
    config : AugmentConfig
    copies : int
        Of each utterance.
    seed : int
    subset : int, optional
        Number of all copies to keep. First each utterance gets one, then each a second, and so on; the last round
        reaches utterances at random.

    Returns
    -------
    dict of str to Copy
        By id, "UTTERANCE-NAME", sorted.

    Raises
    ------
    VouchError
        The augmentation writes no copies, or not so many.
    """
    if config.when != OFFLINE:
        raise VouchError(
            f"this augmentation is drawn anew in stage 3 (when: {config.when}); only {OFFLINE} ones are copied"
        )
    if config.speed is not None:
        raise VouchError("copies at other speeds are not made; leave 'speed' out, or draw it in stage 3 (when: online)")
    weights = _weights(config)
    if not 1 <= copies <= len(weights):
        raise VouchError(
            f"{copies} copies of each utterance need as many names, there are {len(weights)}: {', '.join(weights)}"
        )
    names, share = list(weights), np.array(list(weights.values())) / sum(weights.values())
    rounds: dict[str, int] = {}
    found: dict[str, Copy] = {}
    for utterance in utterances:
        rng = np.random.default_rng((seed, zlib.crc32(utterance.encode())))
        for number, chosen in enumerate(rng.choice(len(names), copies, replace=False, p=share)):
            copy = Copy(utterance, names[chosen])
            found[f"{copy.utterance}-{copy.name}"] = copy
            rounds[f"{copy.utterance}-{copy.name}"] = number
    kept = sorted(found)
    if subset is not None:
        if not 1 <= subset <= len(found):
            raise VouchError(f"a subset of {subset} copies cannot be taken of {len(found)}")
        kept = sorted(sorted(found, key=lambda each: (rounds[each], _shuffled(seed, each)))[:subset])
    return {each: found[each] for each in kept}


def _weights(config: AugmentConfig) -> Mapping[str, float]:
    """Return the names of the changes that are ever drawn, and their weights."""
    weights = {name: float(node.get(WEIGHT, 1)) for name, node in config.branches.items()}
    return {name: weight for name, weight in weights.items() if weight}


def _shuffled(seed: int, text: str) -> str:
    """Return a key that sorts texts at random."""
    return hashlib.sha256(f"{seed} {text}".encode()).hexdigest()
