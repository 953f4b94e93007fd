"""Parses the choice of channel for recordings that have several."""

from __future__ import annotations

from vouch.base.errors import VouchError, shorten

# `channel` is this word or a channel number.
MEAN = "mean"
# Most digits of a channel number: libsndfile allows 1024 channels.
_CHANNEL_DIGITS = 4


def parse_channel(value: object) -> int | str:
    """Return "mean" or the number of a channel, from 0; `VouchError` for anything else."""
    text = str(value)
    if text == MEAN:
        return MEAN
    if isinstance(value, bool) or not (text.isascii() and text.isdigit() and len(text) <= _CHANNEL_DIGITS):
        raise VouchError(f"channel '{shorten(text)}': is {MEAN}, or the number of one channel, counted from 0")
    return int(text)
