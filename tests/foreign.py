"""Checkpoints as other toolkits write them: their keys, with tensors made by rule or at random."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from fill import fill
from voxceleb_trainer import mel_weights

from vouch.encoder import Encoder
from vouch.features.compute import compute
from vouch.interop import import_checkpoint


def sinc_edges(bands: int) -> np.ndarray:
    """Edges that sinc filters start with: `bands + 1` frequencies from 30 to 7900 Hz, equally spaced in mel."""
    mel = np.linspace(*(2595 * np.log10(1 + np.array([30, 7900]) / 700)), bands + 1)
    return 700 * (10 ** (mel / 2595) - 1)


def constant(key: str, shape: Sequence[int], window: str = "hamming") -> torch.Tensor | None:
    """Return what no training changes or what the rule leaves alone: front ends, sinc filters' edges, counters."""
    if key.endswith("num_batches_tracked"):
        return torch.tensor(7)
    values = None
    if key.endswith("spectrogram.window"):
        cosine = np.cos(2 * np.pi * np.arange(shape[0]) / shape[0])
        values = 0.54 - 0.46 * cosine if window == "hamming" else 0.5 - 0.5 * cosine
    elif key.endswith("mel_scale.fb"):
        values = mel_weights(shape[1])
    elif key.endswith("flipped_filter"):
        values = np.array([-0.97, 1.0])
    elif key.endswith("filterbank.window_"):
        values = np.hamming(2 * shape[0] + 1)[: shape[0]]
    elif key.endswith("filterbank.n_"):
        values = 2 * np.pi * np.arange(-shape[1], 0) / 16000
    elif key.endswith("low_hz_"):
        values = sinc_edges(shape[0])[:-1]
    elif key.endswith("band_hz_"):
        values = np.diff(sinc_edges(shape[0]))
    return None if values is None else torch.from_numpy(values.reshape(shape).astype(np.float32))


def filled(salt: str, shapes: Mapping[str, Sequence[int]], window: str = "hamming") -> dict[str, torch.Tensor]:
    """Make a state dict with the original's keys by the rule that reference vectors were made with."""
    constants = {key: constant(key, shape, window) for key, shape in shapes.items()}
    return {
        key: fill(salt, key, tuple(shape)) if constants[key] is None else constants[key]
        for key, shape in shapes.items()
    }


def renamed_state(model: torch.nn.Module, original_key: Callable[[str], str]) -> dict[str, torch.Tensor]:
    """The state dict of a network of ours, its batch statistics random, under another toolkit's keys."""
    state = {}
    for key, value in model.state_dict().items():
        if key.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif key.endswith("running_mean"):
            value.normal_(0, 0.1)
        state[original_key(key)] = value
    return state


def imported(folder: Path, content: object, family: str, name: str = "foreign.pt", **options: object) -> Encoder:
    """Write `content` as a checkpoint and import it."""
    torch.save(content, folder / name)
    return import_checkpoint(folder / name, family, options).encoder


def embed(encoder: Encoder, waves: np.ndarray) -> np.ndarray:
    """Embed waveforms `(batch, samples)` through the encoder's own front end: `(batch, embedding_dim)`."""
    features = torch.stack([torch.from_numpy(compute(encoder.feature, wave)) for wave in waves])
    with torch.inference_mode():
        return encoder(features).numpy()
