"""Checkpoints of PyTorch_Speaker_Verification (GE2E) and its descendants, such as ss-speaker-rec.

Source: Wan et al., "Generalized end-to-end loss for speaker verification" (ICASSP 2018). Such a file is a bare state
dict; the scale and offset of the loss are not in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vouch.base.errors import VouchError
from vouch.base.options import read_yaml
from vouch.encoder import Encoder
from vouch.features import resolve_feature
from vouch.interop.keys import Weights, build_encoder, unchanged

FEATURE = {
    "type": "logmel",
    "num_mel_bins": 40,
    "window_type": "hann",
    "mel_scale": "slaney",
    "mel_norm": "area",
    "log": "log10",
}
ADVICE = (
    "published embeddings are means of unit embeddings of windows of 160 frames, 80 apart, and scores their cosines"
)
# Gates of an LSTM.
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
        Path of a front end's configuration. By default 40 dimensions are the log-mel spectra of these programs, and
        others, such as 256 of PASE, are features of an unknown front end.
    padding : str, optional
        Of the default front end: "reflect" (the default) as librosa until 0.8, which these programs were published
        with, or "zeros" as librosa from 0.9 on.

    Returns
    -------
    tuple of Encoder and list of str
        The encoder, and notes for the user.

    Raises
    ------
    VouchError
        Keys or shapes that do not fit, or a front end of other dimensions.
    """
    model, num_bins = lstm_options(weights, "LSTM_stack", "projection")
    notes = [ADVICE]
    front_end: Mapping[str, object] | None = None
    if feature is None and num_bins == FEATURE["num_mel_bins"]:
        front_end = {**FEATURE, "padding": padding or "reflect"}
        notes.insert(0, padding_note(front_end))
    elif padding is not None:
        raise VouchError("padding is an option of the front end of these programs, which has 40 dimensions")
    elif feature is not None:
        front_end = resolve_feature(read_yaml(feature))
    else:
        notes.insert(0, f"takes features of {num_bins} dimensions, not audio, since their front end is not known")
    return build_encoder(weights, unchanged, model, num_bins, "none", front_end), notes


def padding_note(feature: Mapping[str, object]) -> str:
    """Say which version of librosa a front end follows."""
    return f"padding '{feature['padding']}'; librosa's was 'reflect' until 0.8, and is 'zeros' from 0.9 on"


def lstm_options(weights: Weights, lstm: str, linear: str) -> tuple[dict[str, object], int]:
    """Return options of our LSTM network, and the dimensions of its features, from shapes.

    Parameters
    ----------
    weights : Weights
        Weights of the network.
    lstm, linear : str
        What the network calls its two modules.

    Raises
    ------
    VouchError
        There are no such modules.
    """
    rows, num_bins = weights.shape(f"{lstm}.weight_ih_l0", 2)
    layers = 1
    while f"{lstm}.weight_ih_l{layers}" in weights:
        layers += 1
    model = {
        "name": "lstm",
        "embedding_dim": weights.shape(f"{linear}.weight", 2)[0],
        "hidden_size": rows // GATES,
        "num_layers": layers,
    }
    return model, num_bins
