"""Imports checkpoints of Resemblyzer and of Real-Time-Voice-Cloning's speaker encoder.

Source: Wan et al., "Generalized end-to-end loss for speaker verification" (ICASSP 2018), with a ReLU before the
embedding is scaled to unit length, and mel power spectra without logarithm.
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

# Names of the network's modules in the checkpoints, and our names.
MODULES = {"lstm": "LSTM_stack", "linear": "projection"}


def read(weights: Weights, path: Path, padding: str = "zeros") -> tuple[Encoder, list[str]]:
    """Make an encoder of a checkpoint of Resemblyzer or Real-Time-Voice-Cloning.

    Parameters
    ----------
    weights : Weights
        Keys `lstm.*` and `linear.*`; those of the loss in Real-Time-Voice-Cloning's files are left out.
    path : Path
        Path of the checkpoint.
    padding : str
        "zeros" as in librosa from 0.9 on, which Resemblyzer requires, or "reflect" as in librosa until 0.8, with which
        Real-Time-Voice-Cloning used to run.

    Returns
    -------
    tuple of Encoder and list of str
        The encoder, and notes for the user.

    Raises
    ------
    VouchError
        Keys or shapes do not fit.
    """
    network, num_bins = read_lstm(weights, "lstm", "linear", relu=True)
    weights.drop("weights of the loss", r"similarity_(weight|bias)$")
    front_end = FrontEndConfig("logmel", {**LOGMEL, "num_mel_bins": num_bins, "padding": padding})
    encoder = build_encoder(weights, renamed(vouch_key), EncoderConfig(network, num_bins, "none", front_end))
    return encoder, [padding_note(front_end), ADVICE]


def vouch_key(resemblyzer_key: str) -> str | None:
    """Translate a key into ours; None if there is no counterpart.

    The scale and offset of the loss, which Real-Time-Voice-Cloning stores with the network, have none.

    Examples
    --------
    >>> vouch_key("lstm.bias_hh_l0"), vouch_key("linear.weight"), vouch_key("similarity_bias")
    ('LSTM_stack.bias_hh_l0', 'projection.weight', None)
    """
    module, _, parameter = resemblyzer_key.partition(".")
    return f"{MODULES[module]}.{parameter}" if module in MODULES else None
