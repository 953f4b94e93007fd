"""Checkpoints of Resemblyzer and of Real-Time-Voice-Cloning's speaker encoder.

Source: Wan et al., "Generalized end-to-end loss for speaker verification" (ICASSP 2018), with a ReLU before the
embedding is scaled to unit length, and mel power without logarithm.
"""

from __future__ import annotations

from pathlib import Path

from vouch.encoder import Encoder, EncoderConfig
from vouch.features.config import FrontEndConfig
from vouch.interop.ge2e import padding_note, read_lstm
from vouch.interop.keys import Weights, build_encoder, renamed

LOGMEL = {
    "n_fft": 400,
    "window_type": "hann",
    "mel_scale": "slaney",
    "mel_norm": "area",
    "log": "none",
}
ADVICE = (
    "published embeddings are means of those of windows of 160 frames, 77 or 80 apart, of speech raised to -30 dB full"
    " scale with silences removed; the level matters to this network"
)

# What the modules of the network are called, and what ours are.
MODULES = {"lstm": "LSTM_stack", "linear": "projection"}


def read(weights: Weights, path: Path, padding: str = "zeros") -> tuple[Encoder, list[str]]:
    """Make an encoder of a checkpoint of Resemblyzer or Real-Time-Voice-Cloning.

    Parameters
    ----------
    weights : Weights
        Keys `lstm.*`, `linear.*`, and in the latter the loss's, which are left out.
    path : Path
        Path of the checkpoint.
    padding : str
        "zeros" as librosa from 0.9 on, which is every librosa that Resemblyzer runs with; "reflect" as librosa until
        0.8, with which Real-Time-Voice-Cloning once ran.

    Returns
    -------
    tuple of Encoder and list of str
        The encoder, and notes for the user.

    Raises
    ------
    VouchError
        Keys or shapes that do not fit.
    """
    network, num_bins = read_lstm(weights, "lstm", "linear", relu=True)
    weights.drop("weights of the loss", r"similarity_(weight|bias)$")
    front_end = FrontEndConfig("logmel", {**LOGMEL, "num_mel_bins": num_bins, "padding": padding})
    encoder = build_encoder(weights, renamed(vouch_key), EncoderConfig(network, num_bins, "none", front_end))
    return encoder, [padding_note(front_end), ADVICE]


def vouch_key(resemblyzer_key: str) -> str | None:
    """Translate a key into ours, None where there is no counterpart.

    Real-Time-Voice-Cloning keeps the scale and offset of its loss beside the network.

    Examples
    --------
    >>> vouch_key("lstm.bias_hh_l0"), vouch_key("linear.weight"), vouch_key("similarity_bias")
    ('LSTM_stack.bias_hh_l0', 'projection.weight', None)
    """
    module, _, parameter = resemblyzer_key.partition(".")
    return f"{MODULES[module]}.{parameter}" if module in MODULES else None
