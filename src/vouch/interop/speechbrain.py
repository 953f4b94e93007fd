"""The ECAPA-TDNN of SpeechBrain (`embedding_model.ckpt`).

Source: Desplanques et al., "ECAPA-TDNN" (Interspeech 2020), and SpeechBrain's recipe for VoxCeleb. The network and the
front end follow their description; no embeddings of SpeechBrain were at hand to compare them with.
"""

from __future__ import annotations

from pathlib import Path

import torch

from vouch.base.errors import VouchError
from vouch.encoder import Encoder
from vouch.interop.keys import Weights, build_encoder
from vouch.models.ecapa_tdnn import from_speechbrain

FEATURE = {
    "type": "logmel",
    "n_fft": 400,
    "window_type": "hamming",
    "padding": "zeros",
    "mel_falling": "mirror",
    "log": "decibel",
    "log_offset": 0.0,
    "log_floor": 1e-10,
    "dynamic_range": 80.0,
}
ADVICE = "published scores are cosines of embeddings of whole utterances, normalised with a cohort"


def read(weights: Weights, path: Path) -> tuple[Encoder, list[str]]:
    """Make an encoder of an ECAPA-TDNN of SpeechBrain.

    Parameters
    ----------
    weights : keys `blocks.*`, `mfa.*`, `asp.*`, `asp_bn.*` and `fc.*`
    path : of the file

    Returns
    -------
    the encoder, and notes for the user

    Raises
    ------
    VouchError : keys or shapes that do not fit
    """
    if "mfa.conv.conv.weight" not in weights:
        raise VouchError("an ECAPA-TDNN of SpeechBrain has a key 'mfa.conv.conv.weight'")
    channels, num_bins, _ = weights.shape("blocks.0.conv.conv.weight", 3)
    model = {
        "name": "ecapa_tdnn",
        "embedding_dim": weights.shape("fc.conv.weight", 3)[0],
        "channels": channels,
        "variant": "speechbrain",
        "aggregation_channels": weights.shape("mfa.conv.conv.weight", 3)[0],
    }
    feature = {**FEATURE, "num_mel_bins": num_bins}
    return build_encoder(weights, _translate, model, num_bins, "mean", feature), [ADVICE]


def _translate(key: str, tensor: torch.Tensor) -> tuple[str, torch.Tensor]:
    return next(iter(from_speechbrain({key: tensor}).items()))
