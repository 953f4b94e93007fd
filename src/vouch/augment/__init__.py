"""Augmentation of training speech, so that a network learns to ignore noise, rooms and channels.

Adding an effect is a file here and a line in `EFFECTS`; those in `FROM_BANK` are built with a bank of recordings.
"""

from vouch.augment.additive import AddNoise
from vouch.augment.band import Band
from vouch.augment.base import Effect
from vouch.augment.g711 import G711
from vouch.augment.level import Clip, Gain
from vouch.augment.room import Reverberate

FROM_BANK: dict[str, type[Effect]] = {"add_noise": AddNoise, "reverberate": Reverberate}
EFFECTS: dict[str, type[Effect]] = {**FROM_BANK, "band": Band, "clip": Clip, "g711": G711, "gain": Gain}
