"""Imports 3D-Speaker's checkpoints of CAM++.

Source: Chen et al., "3D-Speaker-Toolkit: an open-source toolkit for multimodal speaker verification and diarization"
(ICASSP 2025), and the network's own module. The keys are those of WeSpeaker's CAM++, but features and pooling differ:
samples are in [-1, 1] instead of 16-bit integers, the window is Povey's instead of Hamming's, and nothing is added to
the variance over time.
"""

from __future__ import annotations

from pathlib import Path

from vouch.base.errors import VouchError
from vouch.encoder import Encoder, EncoderConfig
from vouch.features.config import FrontEndConfig
from vouch.interop.keys import Weights, build_encoder, unchanged
from vouch.interop.wespeaker import read_campplus, refuse_others

FBANK = {"window_type": "povey", "snip_edges": True, "input_scale": 1.0}
MARK = "xvector.tdnn.linear.weight"
NOTES = (
    "network campplus",
    "WeSpeaker's CAM++ has the same keys and needs --from wespeaker: who trained the file must be known",
    "published scores are cosines of embeddings of whole utterances",
)


def read(weights: Weights, path: Path, num_bins: int | None = None) -> tuple[Encoder, list[str]]:
    """Make an encoder of a CAM++ of 3D-Speaker.

    Parameters
    ----------
    weights : Weights
        Weights of the network; the keys may have a prefix.
    path : Path
        Path of the checkpoint.
    num_bins : int, optional
        Dimensions of the features, 80 by default.

    Returns
    -------
    tuple of Encoder and list of str
        The encoder, and notes for the user.

    Raises
    ------
    VouchError
        It is another network, or shapes do not fit.
    """
    weights.strip_module([MARK])
    if MARK not in weights:
        refuse_others(weights)
        raise VouchError(f"only its CAM++ is known here, which has a key '{MARK}'")
    bins = num_bins or 80
    front_end = FrontEndConfig("fbank", {**FBANK, "num_mel_bins": bins})
    config = EncoderConfig(read_campplus(weights, bins, "stats"), bins, "mean", front_end)
    return build_encoder(weights, unchanged, config), list(NOTES)
