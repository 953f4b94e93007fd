"""Noises and room responses as one array of 16-bit samples: mapped from a file, or resident on the device."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch

from vouch.audio.pcm16 import to_pcm16
from vouch.base.errors import VouchError, pick
from vouch.base.files import atomic_write, read_json, write_text

SAMPLES, INDEX = "bank.raw", "bank.json"
FULL_SCALE = 32768


class Places(NamedTuple):
    """Where the recordings of one kind lie in a bank.

    Attributes
    ----------
    names : list of str
        File of each recording.
    first, length : (recordings,) int64
        Position of its first sample, and number of samples.
    power : (recordings,) float64
        Mean square of its samples, which are in [-1, 1].
    """

    names: list[str]
    first: np.ndarray
    length: np.ndarray
    power: np.ndarray


class Bank:
    """Recordings of several kinds, of which any excerpts are gathered in batches.

    Parameters
    ----------
    samples : (samples,) int16 Tensor
        All recordings, one behind the other.
    places : mapping of str to Places
        By kind.
    sample_rate : int
        In Hz.
    digest : str
        What identifies the recordings: the SHA-256 digest of names and samples, as `write_bank` computes it.
    is_resident : bool
        Whether the samples are where the waveforms are changed; if they are not, since they are too many for that
        device, what a batch needs of them is cut on the host while the batch is drawn.
    """

    def __init__(
        self,
        samples: torch.Tensor,
        places: Mapping[str, Places],
        sample_rate: int,
        digest: str = "",
        is_resident: bool = True,
    ) -> None:
        self.samples, self.places, self.sample_rate, self.digest = samples, places, sample_rate, digest
        self.is_resident = is_resident

    @property
    def bytes(self) -> int:
        """Size of the samples."""
        return self.samples.numel() * self.samples.element_size()

    def kind(self, name: str, *others: str) -> Places:
        """Return where the recordings of one or several kinds lie; `VouchError` naming the nearest of a missing one."""
        found = [pick(dict(self.places), each, "kind of recordings in the bank") for each in (name, *others)]
        names = [each for places in found for each in places.names]
        return Places(names, *(np.concatenate(parts) for parts in list(zip(*found, strict=True))[1:]))

    def to(self, device: torch.device) -> Bank:
        """Return the bank with its samples on a device."""
        return Bank(self.samples.to(device), self.places, self.sample_rate, self.digest)

    def on_host(self) -> Bank:
        """Return the bank for a device that its samples are not sent to."""
        return Bank(self.samples, self.places, self.sample_rate, self.digest, is_resident=False)

    def lay(self, first: torch.Tensor, length: torch.Tensor, start: torch.Tensor, samples: int) -> torch.Tensor:
        """Lay pieces of recordings one behind another, with silence where there is none.

        Parameters
        ----------
        first, length : (rows, pieces) int64
            Position of the first sample of each piece, and number of samples.
        start : (rows, pieces) int64
            Sample at which a piece begins in what comes out: 0 for the first, behind the end of the one before for the
            others.
        samples : int
            Length of what comes out, where pieces that are longer are cut.

        Returns
        -------
        (rows, samples) float32 in [-1, 1]
        """
        piece = piece_at(start, samples)
        inside = torch.arange(samples, device=start.device) - start.gather(1, piece)
        is_covered = inside < length.gather(1, piece)
        positions = first.gather(1, piece) + inside * is_covered
        return torch.where(is_covered, self.samples[positions], 0).float() / FULL_SCALE

    def excerpts(self, first: torch.Tensor, length: torch.Tensor, offset: torch.Tensor, samples: int) -> torch.Tensor:
        """Cut an excerpt out of each of several recordings.

        Parameters
        ----------
        first, length : (...) int64
            Recordings, as `Places` gives them.
        offset : (...) int64
            Sample of the recording at which the excerpt begins; a recording that ends is repeated from its beginning.
        samples : int
            Length of the excerpts.

        Returns
        -------
        (..., samples) float32 in [-1, 1]
        """
        # On the CPU, copying stretches is many times as fast as gathering samples by their positions.
        cut = copy_excerpts if self.samples.device.type == "cpu" else gather_excerpts
        return cut(self.samples, first, length, offset, samples)


def gather_excerpts(
    bank: torch.Tensor, first: torch.Tensor, length: torch.Tensor, offset: torch.Tensor, samples: int
) -> torch.Tensor:
    """Cut excerpts out of (samples,) int16 on any device, without waiting for it; see `Bank.excerpts`."""
    step = torch.arange(samples, device=bank.device)
    positions = first[..., None] + (offset[..., None] + step) % length[..., None]
    return bank[positions].float() / FULL_SCALE


def copy_excerpts(
    bank: torch.Tensor, first: torch.Tensor, length: torch.Tensor, offset: torch.Tensor, samples: int
) -> torch.Tensor:
    """Cut excerpts out of (samples,) int16 on the CPU; see `Bank.excerpts`."""
    source, out = bank.numpy(), np.empty((first.numel(), samples), np.float32)
    places = (each.flatten().tolist() for each in (first, length, offset))
    for row, (begin, known, skipped) in zip(out, zip(*places, strict=True), strict=True):
        if skipped + samples <= known:
            row[:] = source[begin + skipped : begin + skipped + samples]
        else:
            repeated = np.roll(source[begin : begin + known], -skipped)
            while len(repeated) < samples:
                repeated = np.concatenate([repeated, repeated])
            row[:] = repeated[:samples]
    out *= np.float32(1 / FULL_SCALE)
    return torch.from_numpy(out).view(*first.shape, samples)


def piece_at(start: torch.Tensor, samples: int) -> torch.Tensor:
    """Return which piece each sample belongs to, (rows, samples) int64, of those that start at (rows, pieces) int64."""
    time = torch.arange(samples, device=start.device).expand(len(start), samples)
    return torch.searchsorted(start.contiguous(), time.contiguous(), right=True) - 1


def write_bank(
    folder: str | Path,
    recordings: Mapping[str, Iterable[tuple[str, np.ndarray]]],
    sample_rate: int,
    made_from: str = "",
    left_out: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
) -> None:
    """Pack recordings into a folder: of each file all is there, or nothing.

    Parameters
    ----------
    folder : str or Path
        Gets bank.raw, 16-bit samples in the order of the bytes of this machine, and bank.json.
    recordings : mapping of str to iterable
        By kind: the name of each recording, and its samples, (samples,) float32 in [-1, 1]. They are taken one by one;
        a kind without any is left out.
    sample_rate : int
        In Hz.
    made_from : str
        What `is_current` compares.
    left_out : mapping of str to mapping of str to str
        For each reason: the files that are of no use, with more about each. It is read after the recordings.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    index: dict[str, list[tuple[str, int, float]]] = {}
    digest = hashlib.sha256(f"{sample_rate}\n".encode())
    with atomic_write(folder / SAMPLES, "wb") as file:
        for kind, each in recordings.items():
            for name, samples in each:
                codes = to_pcm16(samples)
                power = float(np.square(codes / FULL_SCALE).mean()) if len(codes) else 0.0
                digest.update(f"{kind} {len(samples)} {name}\n".encode(errors="surrogateescape"))
                digest.update(codes.tobytes())
                file.write(codes.tobytes())
                index.setdefault(kind, []).append((name, len(codes), power))
        # An old index must not stand beside new samples; a bank that cannot be made leaves the old one.
        (folder / INDEX).unlink(missing_ok=True)
    content = {
        "sample_rate": sample_rate,
        "digest": digest.hexdigest(),
        "made_from": made_from,
        "recordings": index,
        "left_out": {why: dict(files) for why, files in left_out.items()},
    }
    write_text(folder / INDEX, json.dumps(content, indent=1) + "\n")


def is_current(folder: str | Path, made_from: str) -> bool:
    """Return whether a folder holds the bank that was made from this, see `write_bank`."""
    folder = Path(folder)
    if not (folder / INDEX).exists() or not (folder / SAMPLES).exists():
        return False
    index = read_json(folder / INDEX)
    return isinstance(index, Mapping) and index.get("made_from") == made_from


def read_bank(folder: str | Path, sample_rate: int) -> Bank:
    """Map the bank that `write_bank` wrote into memory.

    Raises
    ------
    VouchError
        It is missing, damaged, empty, or of another sampling rate.
    """
    folder = Path(folder)
    if not (folder / INDEX).exists():
        raise VouchError(f"{folder}: no bank of noises and rooms; run stage 2")
    index = read_json(folder / INDEX)
    places: dict[str, Places] = {}
    first = 0
    try:
        assert isinstance(index, Mapping)
        rate, digest = index["sample_rate"], str(index["digest"])
        for kind, entries in index["recordings"].items():
            names = [str(name) for name, _, _ in entries]
            if not all(isinstance(count, int) and count > 0 for _, count, _ in entries):
                raise ValueError
            length = np.array([count for _, count, _ in entries], np.int64)
            power = np.array([power for _, _, power in entries], np.float64)
            places[kind] = Places(names, first + np.cumsum(length) - length, length, power)
            first += int(length.sum())
        size = (folder / SAMPLES).stat().st_size
    except (AssertionError, AttributeError, KeyError, OSError, TypeError, ValueError):
        raise VouchError(f"{folder}: a damaged bank of noises and rooms; run stage 2 again") from None
    if size != 2 * first:
        raise VouchError(f"{folder}: {SAMPLES} does not hold what {INDEX} says; run stage 2 again")
    if not first:
        raise VouchError(f"{folder}: the bank holds no recordings; run stage 2 with --musan or --rirs")
    if rate != sample_rate:
        raise VouchError(f"{folder}: the bank is of {rate} Hz, the speech of {sample_rate} Hz; run stage 2 again")
    # Copy on write: torch knows no memory that may not be written to.
    return Bank(torch.from_numpy(np.memmap(folder / SAMPLES, np.int16, "c")), places, rate, digest)
