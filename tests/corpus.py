"""Small data sets made on the spot: recordings, features that tell speakers apart, encoders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch

from vouch.base.errors import VouchError
from vouch.encoder import Encoder, EncoderConfig
from vouch.jobs.results import Work
from vouch.kaldi.datadirs.datadir import write_data_dir
from vouch.kaldi.matrices.writing import open_ark
from vouch.kaldi.tables import write_table
from vouch.models import MODELS
from vouch.models.base import SpeakerNetwork
from vouch.stores.features import FeatureStore

RATE = 16000


def tiny_model(name: str) -> dict[str, object]:
    """Return the configuration of a network in the size that its class declares, as YAML would give it."""
    options = {key: list(value) if isinstance(value, tuple) else value for key, value in MODELS[name].tiny.items()}
    options.pop("num_bins", None)
    return {"name": name, **options}


# The smallest network of each kind, and the dimensions of its input: 1 of a waveform.
TINY = {name: tiny_model(name) for name in MODELS}
TINY_BINS = {name: network.tiny.get("num_bins", 1) for name, network in MODELS.items()}


def tiny_network(name: str, num_bins: int | None = None, **options: object) -> SpeakerNetwork:
    """Return a network in the size that its class declares, with other options if wanted.

    With `num_bins` it is for that many, where it takes features and lets one choose.
    """
    arguments = {**MODELS[name].tiny, **options}
    if num_bins is not None and "num_bins" in arguments:
        try:
            return MODELS[name](**{**arguments, "num_bins": num_bins})
        except VouchError:
            pass
    return MODELS[name](**arguments)


def voice(speaker: int, utterance: int, seconds: float = 0.5, rate: int = RATE) -> np.ndarray:
    """Return (samples,) float32: harmonics of the speaker's pitch in noise, another phase in each utterance."""
    rng = np.random.default_rng((speaker, utterance))
    time = np.arange(round(seconds * rate)) / rate
    pitch = 100 + 37 * speaker
    tones = sum(np.sin(2 * np.pi * pitch * k * time + rng.uniform(0, 6)) / k for k in range(1, 8))
    return (0.1 * tones + 0.01 * rng.standard_normal(len(time))).astype(np.float32)


def write_recordings(
    path: Path, speakers: int = 3, utterances: int = 2, seconds: float = 0.5, prefix: str = "s"
) -> list[str]:
    """Write a data directory with wav files beside it and return its utterance ids, such as s0-1 of the speaker s0."""
    wav_scp, utt2spk = {}, {}
    for speaker in range(speakers):
        for utterance in range(utterances):
            name = f"{prefix}{speaker}-{utterance}"
            wav = path.parent / f"{path.name}.wavs" / f"{name}.wav"
            wav.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(wav, voice(speaker, utterance, seconds + 0.05 * utterance), RATE)
            wav_scp[name], utt2spk[name] = str(wav), f"{prefix}{speaker}"
    write_data_dir(path, wav_scp, utt2spk)
    return sorted(wav_scp)


def slow_pipes(path: Path, seconds: float = 0.25) -> Path:
    """Let each recording of a data directory take its time, and write its id to a file each time it is read."""
    reads = path.parent / f"{path.name}.reads"
    lines = (line.split() for line in (path / "wav.scp").read_text().splitlines())
    pipes = {name: f"echo {name} >> {reads}; sleep {seconds}; cat {wav} |" for name, wav in lines}
    write_table(path / "wav.scp", pipes)
    return reads


def speaker_features(speaker: int, utterance: int, frames: int, dim: int) -> np.ndarray:
    """Return (frames, dim) float32 whose bins move in a way of the speaker's own; their means say nothing."""
    direction = np.random.default_rng((7, speaker)).choice([-1.5, 1.5], dim)
    rng = np.random.default_rng((8, speaker, utterance))
    phase = 2 * np.pi * ((0.05 + 0.04 * speaker) * np.arange(frames) + rng.random())
    noise = 0.3 * rng.standard_normal((frames, dim)) + rng.standard_normal(dim)
    return (np.sin(phase)[:, None] * direction + noise).astype(np.float32)


def write_features(
    path: Path, speakers: Sequence[int] = range(4), utterances: Sequence[int] = range(6), dim: int = 8
) -> None:
    """Write a data directory with the features of `speaker_features`, utterances of different length."""
    utt2spk, num_frames = {}, {}
    path.mkdir(parents=True, exist_ok=True)
    with open_ark(path / "feats.ark", path / "feats.scp") as ark:
        for speaker in speakers:
            for utterance in utterances:
                name, frames = f"s{speaker}-{utterance}", 30 + (7 * speaker + 5 * utterance) % 19
                ark.write(name, speaker_features(speaker, utterance, frames, dim))
                utt2spk[name], num_frames[name] = f"s{speaker}", str(frames)
    write_data_dir(path, {}, utt2spk)
    write_table(path / "utt2num_frames", num_frames)


def write_all_trials(path: Path) -> None:
    """Write the trials of every pair of utterances of a data directory."""
    names = [line.split()[0] for line in (path / "utt2spk").read_text().splitlines()]
    pairs = [(a, b) for row, a in enumerate(names) for b in names[:row]]
    same = ("nontarget", "target")
    lines = [f"{a} {b} {same[a.split('-')[0] == b.split('-')[0]]}\n" for a, b in pairs]
    (path / "trials").write_text("".join(lines))


def read_features(scp: Path) -> dict[str, np.ndarray]:
    """Read all matrices that a table lists."""
    store = FeatureStore(scp)
    return {name: store.matrix(row) for row, name in enumerate(store.utterances)}


def assert_same_features(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], tolerance: float = 0.0) -> None:
    assert list(found) == list(expected)
    for name, matrix in expected.items():
        np.testing.assert_allclose(found[name], matrix, rtol=0, atol=tolerance, err_msg=name)


def make_encoder(
    model: Mapping[str, object],
    num_bins: int,
    normalization: str | None = None,
    feature: Mapping[str, object] | None = None,
) -> Encoder:
    """Return an encoder of what checkpoints hold of its configuration."""
    parts = {"model": model, "num_bins": num_bins, "normalization": normalization, "feature": feature}
    return Encoder(EncoderConfig.from_dict(parts))


def tiny_encoder(model: str = "resnetse34l", num_bins: int | None = None, seed: int = 0, **options: object) -> Encoder:
    """Return a small encoder whose weights and batch statistics are random, in evaluation mode."""
    torch.manual_seed(seed)
    encoder = make_encoder(TINY[model], num_bins or TINY_BINS[model], **options)
    for name, buffer in encoder.model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return encoder.eval()


def done(work: Work, items: Sequence[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """What the work of a shard makes of items, and the reasons for those of which it makes nothing."""
    results = list(work(items))
    assert sorted(result.item for result in results) == sorted(items)
    values = {result.item: result.value for result in results}
    failed = {item: str(value) for item, value in values.items() if isinstance(value, VouchError)}
    return {item: value for item, value in values.items() if item not in failed}, failed
