"""Imports checkpoints of PyTorch_Speaker_Verification (GE2E) and its descendants, such as ss-speaker-rec.

Source: Wan et al., "Generalized end-to-end loss for speaker verification" (ICASSP 2018). The file is a bare state dict,
without the scale and offset of the loss.
"""

from __future__ import annotations

from pathlib import Path

from vouch.base.errors import VouchError
from vouch.base.options import read_yaml
from vouch.encoder import Encoder, EncoderConfig
from vouch.features.config import FrontEndConfig
from vouch.interop.keys import Weights, build_encoder, unchanged
from vouch.models.config import NetworkConfig

LOGMEL = {
    "num_mel_bins": 40,
    "window_type": "hann",
    "mel_scale": "slaney",
    "mel_norm": "area",
    "log": "log10",
}
ADVICE = (
    "published embeddings are means of unit embeddings of windows of 160 frames, 80 apart, and scores their cosines"
)
# Number of gates of an LSTM.
GATES = 4


def read(
    weights: Weights, path: Path, feature: str | None = None, padding: str | None = None
) -> tuple[Encoder, list[str]]:
    """Make an encoder of a GE2E checkpoint.

    Parameters
    ----------
    weights : Weights
        Keys `LSTM_stack.*` and `projection.*`.
    path : Path
        Path of the checkpoint.
    feature : str, optional
        Path of the configuration of a front end. By default, 40 dimensions mean the log-mel spectra of these programs;
        with another number, such as the 256 of PASE, the encoder takes features of an unknown front end.
    padding : str, optional
        Padding of the default front end: "reflect" (the default) as in librosa until 0.8, with which these programs
        were published, or "zeros" as in librosa from 0.9 on.

    Returns
    -------
    tuple of Encoder and list of str
        The encoder, and notes for the user.

    Raises
    ------
    VouchError
        Keys or shapes do not fit, or the front end has another number of dimensions.
    """
    network, num_bins = read_lstm(weights, "LSTM_stack", "projection")
    notes = [ADVICE]
    front_end = None
    if feature is None and num_bins == LOGMEL["num_mel_bins"]:
        front_end = FrontEndConfig("logmel", {**LOGMEL, "padding": padding or "reflect"})
        notes.insert(0, padding_note(front_end))
    elif padding is not None:
        raise VouchError("padding is an option of the front end of these programs, which has 40 dimensions")
    elif feature is not None:
        front_end = FrontEndConfig.from_dict(read_yaml(feature))
    else:
        notes.insert(0, f"takes features of {num_bins} dimensions, not audio, since their front end is not known")
    return build_encoder(weights, unchanged, EncoderConfig(network, num_bins, "none", front_end)), notes


def padding_note(front_end: FrontEndConfig) -> str:
    """Return a note on the version of librosa that a front end follows."""
    return f"padding '{front_end.options['padding']}'; librosa's was 'reflect' until 0.8, and is 'zeros' from 0.9 on"


def read_lstm(weights: Weights, lstm: str, linear: str, relu: bool = False) -> tuple[NetworkConfig, int]:
    """Return the configuration of our LSTM network with these shapes, and the number of feature dimensions.

    Parameters
    ----------
    weights : Weights
        Weights of the network.
    lstm, linear : str
        Names of the two modules in the checkpoint.
    relu : bool
        Whether a ReLU follows, which the shapes do not show.

    Raises
    ------
    VouchError
        There are no such modules.
    """
    rows, num_bins = weights.shape(f"{lstm}.weight_ih_l0", 2)
    layers = 1
    while f"{lstm}.weight_ih_l{layers}" in weights:
        layers += 1
    options = {
        "embedding_dim": weights.shape(f"{linear}.weight", 2)[0],
        "hidden_size": rows // GATES,
        "num_layers": layers,
        "relu": relu,
    }
    return NetworkConfig("lstm", options), num_bins
