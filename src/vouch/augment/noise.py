"""Adds noise at a given signal-to-noise ratio, from a folder that is laid out like MUSAN."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vouch.audio.reading import count_samples, read_excerpt
from vouch.audio.tree import AUDIO_SUFFIXES, FFMPEG_SUFFIXES, walk_audio
from vouch.base.errors import VouchError
from vouch.base.options import resolve_options

# A mean square below this counts as silence: -200 dB, far below what any recording resolves.
SILENCE = 1e-20
_HEADER_THREADS = 16
MOST_DB = 200.0
MOST_FILES = 100


@dataclass(frozen=True)
class NoiseKind:
    """Options of one kind of noise.

    Attributes
    ----------
    folder : str
        Folder with the recordings, below the folder of all noises.
    files_min, files_max : int
        Limits of the number of recordings to add, from 1 to 100; the number is drawn uniformly.
    snr_min, snr_max : float
        Limits of the signal-to-noise ratio of each in dB, from -200 to 200; the ratio is drawn uniformly.
    """

    folder: str
    files_min: int
    files_max: int
    snr_min: float
    snr_max: float


def read_kinds(config: Mapping[str, object]) -> dict[str, NoiseKind]:
    """Read the kinds of noise from the content of conf/augment.yaml; `VouchError` if an option is unknown or wrong."""
    kinds = {}
    for name, options in config.items():
        if not isinstance(options, Mapping):
            raise VouchError(f"augmentation '{name}' must hold 'option: value' lines")
        kind = NoiseKind(**resolve_options(NoiseKind, options, f"augmentation '{name}'"))
        if not 1 <= kind.files_min <= kind.files_max <= MOST_FILES:
            raise VouchError(f"augmentation '{name}' needs 1 <= files_min <= files_max <= {MOST_FILES}")
        if not -MOST_DB <= kind.snr_min <= kind.snr_max <= MOST_DB:
            raise VouchError(f"augmentation '{name}' needs -{MOST_DB:g} <= snr_min <= snr_max <= {MOST_DB:g} (dB)")
        kinds[name] = kind
    return kinds


def mix(speech: torch.Tensor, noise: torch.Tensor, snr_db: torch.Tensor) -> torch.Tensor:
    """Add noise at a signal-to-noise ratio: x + n sqrt(P_x / (P_n 10^(snr / 10))), where P is the mean square.

    Parameters
    ----------
    speech, noise : (..., samples) float32
    snr_db : (...) float32
        Signal-to-noise ratio in dB.

    Returns
    -------
    (..., samples) float32
        Unchanged speech where the speech or the noise is silent.
    """
    gain = noise_gain(speech.square().mean(dim=-1), noise.square().mean(dim=-1), snr_db)
    return speech + gain[..., None] * noise


def mean_square(waves: torch.Tensor) -> torch.Tensor:
    """Return the mean square of each waveform: (..., samples) float -> (...) float."""
    # The norm passes over the samples once, and keeps no squares.
    return torch.linalg.vector_norm(waves, dim=-1).square() / waves.shape[-1]


def noise_gain(power: torch.Tensor, noise_power: torch.Tensor, snr_db: torch.Tensor) -> torch.Tensor:
    """Return the factor of a noise that reaches a signal-to-noise ratio: sqrt(P_x / (P_n 10^(snr / 10))).

    Parameters
    ----------
    power, noise_power : (...) float
        Mean squares of speech and noise.
    snr_db : (...) float
        Signal-to-noise ratio in dB.

    Returns
    -------
    (...) float
        0 where the noise is silent.
    """
    gain = (power / (noise_power * 10 ** (snr_db / 10))).sqrt()
    return torch.where(noise_power > SILENCE, gain, torch.zeros_like(gain))


class NoiseFolder:
    """Recordings in `<path>/{noise,music,speech}/<set>/*`, the layout of MUSAN.

    Parameters
    ----------
    path : str or Path
        The folder.
    kinds : mapping of str to NoiseKind
        Options of each kind, by name; kinds whose folder does not exist are skipped.

    Attributes
    ----------
    kinds : mapping of str to NoiseKind
        The kinds that have recordings.
    files : dict of str to list of Path
        Recordings of each kind, sorted.
    left_out : dict of str to str
        Reason for each file that cannot be read or has no samples; these files are never drawn.

    Raises
    ------
    VouchError
        There are no recordings at all, or no recording of some kind can be read.
    """

    def __init__(self, path: str | Path, kinds: Mapping[str, NoiseKind]) -> None:
        self.files: dict[str, list[Path]] = {}
        self.left_out: dict[str, str] = {}
        for name, kind in kinds.items():
            found = _find(Path(path) / kind.folder)
            with ThreadPoolExecutor(_HEADER_THREADS) as pool:
                reasons = dict(zip(found, pool.map(_why_useless, found), strict=True))
            self.left_out |= {str(file): reason for file, reason in reasons.items() if reason}
            if found and all(reasons.values()):
                raise VouchError(f"{path}/{kind.folder}: no file of {len(found)} can be read: {reasons[found[0]]}")
            if found:
                self.files[name] = [file for file in found if not reasons[file]]
        self.kinds = {name: kind for name, kind in kinds.items() if name in self.files}
        if not self.kinds:
            folders = sorted({kind.folder for kind in kinds.values()})
            raise VouchError(
                f"{path}: no recordings in any of {', '.join(f'{name}/' for name in folders)} (wav, flac, ...)"
            )

    def add(self, samples: np.ndarray, name: str, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
        """Add noise of one kind to an utterance.

        Parameters
        ----------
        samples : (samples,) float32
        name : str
            Name of the kind.
        sample_rate : int
            Sampling rate in Hz.
        rng : np.random.Generator
            Draws the recordings, their excerpts and the signal-to-noise ratios.

        Returns
        -------
        (samples,) float32
            The result is not clipped, since it goes to a front end.
        """
        kind, files = self.kinds[name], self.files[name]
        speech = torch.from_numpy(samples)
        mixed = speech
        for _ in range(int(rng.integers(kind.files_min, kind.files_max + 1))):
            file = files[int(rng.integers(len(files)))]
            excerpt = read_excerpt(str(file), len(samples), sample_rate, float(rng.random()))
            snr = torch.tensor(rng.uniform(kind.snr_min, kind.snr_max), dtype=torch.float32)
            mixed = mixed + (mix(speech, torch.from_numpy(excerpt), snr) - speech)
        return mixed.numpy()


def _find(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    try:
        return sorted(map(Path, walk_audio(str(folder), AUDIO_SUFFIXES - FFMPEG_SUFFIXES)))
    except OSError as error:
        raise VouchError(f"{error.filename}: {error.strerror}") from None


def _why_useless(file: Path) -> str:
    """Return why a file cannot serve as noise, as far as its header shows; empty if it can."""
    try:
        return "" if count_samples(str(file)) else f"{file}: no samples"
    except VouchError as error:
        return str(error)


def draw_kinds(utterance: str, kinds: Mapping[str, NoiseKind], copies: int, seed: int) -> list[str]:
    """Draw the kinds of noise for the copies of an utterance, without repetition.

    The draw depends only on the seed and the utterance's name, not on other utterances or their order.
    """
    if copies > len(kinds):
        raise VouchError(f"{copies} copies need {copies} kinds of noise, there are {len(kinds)}: {', '.join(kinds)}")
    rng = np.random.default_rng((seed, zlib.crc32(utterance.encode())))
    return [list(kinds)[index] for index in rng.permutation(len(kinds))[:copies]]
