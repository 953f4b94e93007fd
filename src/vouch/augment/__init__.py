"""Augmentation of training speech, so that a network learns to ignore noise, rooms and channels.

Adding an effect is a file here and a line in `EFFECTS`; those in `FROM_BANK` are built with a bank of recordings.
"""

from vouch.augment.additive import AddNoise
from vouch.augment.band import Band
from vouch.augment.base import BankEffect, Effect
from vouch.augment.codec import Codec
from vouch.augment.foreground import AddForeground
from vouch.augment.g711 import G711
from vouch.augment.level import Clip, Gain, NormalizePeak
from vouch.augment.room import Reverberate
from vouch.augment.unit_noise import AddUnitNoise

FROM_BANK: dict[str, type[BankEffect]] = {
    "add_foreground": AddForeground,
    "add_noise": AddNoise,
    "add_unit_noise": AddUnitNoise,
    "reverberate": Reverberate,
}
EFFECTS: dict[str, type[Effect]] = {
    **FROM_BANK,
    "band": Band,
    "clip": Clip,
    "codec": Codec,
    "g711": G711,
    "gain": Gain,
    "normalize_peak": NormalizePeak,
}
