"""Front ends: waveforms to features. Adding one is a file here and a line in `FEATURES`.

A front end is a module from `(batch, samples) float in [-1, 1]` to `(batch, frames, dim)` with `dim`, `sample_rate`
(Hz) and `num_frames(samples)`. Its options have defaults; those that make it small for tests its class declares in
`tiny`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vouch.base.channels import MEAN, parse_channel
from vouch.base.errors import VouchError, pick
from vouch.base.options import read_yaml, resolve_options
from vouch.features.base import FrontEnd
from vouch.features.fbank import Fbank
from vouch.features.logmel import LogMel
from vouch.features.mfcc import Mfcc
from vouch.features.waveform import Waveform

FEATURES: dict[str, type[FrontEnd]] = {"fbank": Fbank, "logmel": LogMel, "mfcc": Mfcc, "waveform": Waveform}


def resolve_feature(config: Mapping[str, object]) -> dict[str, Any]:
    """Return a feature configuration with all defaults filled in; `VouchError` on an unknown type or option.

    All types have the option `channel` beside their own: which channel of a recording they are given, "mean" (of all,
    the default) or a number from 0.
    """
    if "type" not in config:
        raise VouchError(f"a feature configuration needs 'type', one of: {', '.join(FEATURES)}")
    kind = str(config["type"])
    options = {name: value for name, value in config.items() if name not in ("type", "channel")}
    resolved = resolve_options(pick(FEATURES, kind, "feature type"), options, f"feature '{kind}'")
    return {"type": kind, **resolved, "channel": parse_channel(config.get("channel", MEAN))}


def build_feature(config: Mapping[str, object]) -> FrontEnd:
    """Build the front end that a configuration such as `{"type": "fbank", "num_mel_bins": 40}` describes.

    Returns
    -------
    FrontEnd
        A module; it has no weights.
    """
    resolved = resolve_feature(config)
    kind = str(resolved.pop("type"))
    # The front end's input has one channel; whoever reads the recording chooses it.
    resolved.pop("channel")
    return FEATURES[kind](**resolved)


def read_feature(data: str | Path) -> dict[str, Any] | None:
    """Return the configuration that the features of a data directory were made with; None where it is not known."""
    path = Path(data) / "feature.yaml"
    return resolve_feature(read_yaml(path)) if path.exists() else None


def check_same_feature(wanted: Mapping[str, object] | None, found: Mapping[str, object] | None, where: str) -> None:
    """Raise `VouchError` naming the first option in which features differ from those that a model was trained with.

    Parameters
    ----------
    wanted : mapping of str to object or None
        The model's resolved configuration; None: not known.
    found : mapping of str to object or None
        The features' resolved configuration; None: not known.
    where : str
        File that says how the features were made, for the message.
    """
    if wanted is None or found is None:
        return
    for name, value in wanted.items():
        if found.get(name) != value:
            raise VouchError(f"{where}: {name} is {found.get(name)}, the model was trained with {value}; rerun stage 1")
