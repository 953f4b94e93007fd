"""Front ends: waveforms to features. Adding one is a file here and a line in `FEATURES`."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from vouch.errors import VouchError, pick
from vouch.features.fbank import Fbank
from vouch.features.logmel import LogMel
from vouch.features.mfcc import Mfcc
from vouch.features.waveform import Waveform
from vouch.options import resolve_options

FEATURES = {"fbank": Fbank, "logmel": LogMel, "mfcc": Mfcc, "waveform": Waveform}


def resolve_feature(config: Mapping[str, object]) -> dict[str, object]:
    """Return a feature configuration with all defaults filled in; `VouchError` on an unknown type or option."""
    if "type" not in config:
        raise VouchError(f"a feature configuration needs 'type', one of: {', '.join(FEATURES)}")
    kind = str(config["type"])
    options = {name: value for name, value in config.items() if name != "type"}
    return {"type": kind, **resolve_options(pick(FEATURES, kind, "feature type"), options, f"feature '{kind}'")}


def build_feature(config: Mapping[str, object]) -> nn.Module:
    """Build the front end that a configuration such as `{"type": "fbank", "num_mel_bins": 40}` describes.

    Returns
    -------
    nn.Module
        `(batch, samples) float in [-1, 1] -> (batch, frames, dim)`, with `dim`, `sample_rate` (Hz) and
        `num_frames(samples)`
    """
    resolved = resolve_feature(config)
    kind = str(resolved.pop("type"))
    return FEATURES[kind](**resolved)
