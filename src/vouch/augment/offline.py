"""Chooses the copies of utterances that stage 2 writes."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vouch.augment.config import OFFLINE, AugmentConfig
from vouch.augment.speed import speed_name
from vouch.augment.tree import NONE, WEIGHT
from vouch.base.errors import VouchError

# In a data directory of copies: the augmentation that they were made by.
COPIED_BY = "augment.yaml"


class Copy(NamedTuple):
    """A copy of an utterance.

    Attributes
    ----------
    utterance : str
        Its original.
    name : str
        Name of the change.
    speed : Fraction
        How fast it is played; nothing else changes where that is not 1.
    is_speaker : bool
        Whether its speaker is a new one, "NAME-SPEAKER", since the speed is not that of the original.
    """

    utterance: str
    name: str
    speed: Fraction = Fraction(1)
    is_speaker: bool = False

    @property
    def id(self) -> str:
        """Id of the copy: the name of the change stands before it where it stands before the speaker's."""
        return f"{self.name}-{self.utterance}" if self.is_speaker else f"{self.utterance}-{self.name}"

    def speaker(self, original: str) -> str:
        """Return the speaker of the copy; `original` is that of the utterance."""
        return f"{self.name}-{original}" if self.is_speaker else original


def draw_copies(
    utterances: Iterable[str], config: AugmentConfig, copies: int, seed: int, subset: int | None = None
) -> dict[str, Copy]:
    """Draw the changes of the copies of each utterance, without repetition and in proportion to their weights.

    Each utterance also gets a copy at each other speed of the augmentation, in which nothing else changes. What is
    drawn for an utterance depends on the seed and its id, not on other utterances or their order.

    Parameters
    ----------
    utterances : iterable of str
    config : AugmentConfig
    copies : int
        Of each utterance, not counting those at other speeds.
    seed : int
    subset : int, optional
        Number of those copies to keep. First each utterance gets one, then each a second, and so on; the last round
        reaches utterances at random.

    Returns
    -------
    dict of str to Copy
        By id, sorted.

    Raises
    ------
    VouchError
        The augmentation writes no copies, or not so many.
    """
    if config.when != OFFLINE:
        raise VouchError(
            f"this augmentation is drawn anew in stage 3 (when: {config.when}); only {OFFLINE} ones are copied"
        )
    utterances = list(utterances)
    played = {copy.id: copy for copy in _at_other_speeds(utterances, config)}
    if config.waveform == NONE:
        if not played:
            raise VouchError("this augmentation changes nothing in stage 2; give it a 'waveform' or a 'speed'")
        return dict(sorted(played.items()))
    weights = _weights(config)
    if not 1 <= copies <= len(weights):
        raise VouchError(
            f"{copies} copies of each utterance need as many names, there are {len(weights)}: {', '.join(weights)}"
        )
    for name in weights:
        if any(copy.name == name and not copy.is_speaker for copy in played.values()):
            raise VouchError(f"the name '{name}' is that of a speed; give the node another one")
    names, share = list(weights), np.array(list(weights.values())) / sum(weights.values())
    rounds: dict[str, int] = {}
    found: dict[str, Copy] = {}
    for utterance in utterances:
        rng = np.random.default_rng((seed, zlib.crc32(utterance.encode())))
        for number, chosen in enumerate(rng.choice(len(names), copies, replace=False, p=share)):
            copy = Copy(utterance, names[chosen])
            found[copy.id], rounds[copy.id] = copy, number
    kept = sorted(found)
    if subset is not None:
        if not 1 <= subset <= len(found):
            raise VouchError(f"a subset of {subset} copies cannot be taken of {len(found)}")
        kept = sorted(sorted(found, key=lambda each: (rounds[each], _shuffled(seed, each)))[:subset])
    return dict(sorted({**played, **{each: found[each] for each in kept}}.items()))


def check_copies(data: Path, config: AugmentConfig) -> None:
    """Raise `VouchError` unless a data directory has copies of this augmentation, if it is one for copies."""
    if config.when != OFFLINE or (config.waveform == NONE and config.speed is None):
        return
    path = data / COPIED_BY
    if not path.exists():
        raise VouchError(f"{data}: holds no copies of an augmentation (when: {OFFLINE}); make them by stage 2")
    made = AugmentConfig.read(path)
    if (made.waveform, made.speed) != (config.waveform, config.speed):
        raise VouchError(f"{path}: the copies are of another augmentation; run stage 2 with this one")


def _at_other_speeds(utterances: Iterable[str], config: AugmentConfig) -> Iterator[Copy]:
    speed = config.build_speed()
    factors = [] if speed is None else [factor for factor in speed.factors if factor != 1]
    for utterance in utterances:
        for factor in factors:
            yield Copy(utterance, speed_name(factor), factor, speed is not None and speed.as_speakers)


def _weights(config: AugmentConfig) -> Mapping[str, float]:
    """Return the names of the changes that are ever drawn, and their weights."""
    weights = {name: float(node.get(WEIGHT, 1)) for name, node in config.branches.items()}
    return {name: weight for name, weight in weights.items() if weight}


def _shuffled(seed: int, text: str) -> str:
    """Return a key that sorts texts at random."""
    return hashlib.sha256(f"{seed} {text}".encode()).hexdigest()
