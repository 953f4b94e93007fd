"""Finds recordings of noises and rooms in folders of other people, and packs those that are of use into a bank."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from vouch.audio.reading import read_audio
from vouch.audio.tree import walk_audio
from vouch.augment.bank import write_bank
from vouch.base.errors import VouchError

# A mean square below this, -100 dB, is silence: nothing can be brought to a level with it.
SILENCE = 1e-10


def pack(
    folder: str | Path, sources: Mapping[str, Path], sample_rate: int, skip: frozenset[str] = frozenset()
) -> dict[str, str]:
    """Pack all recordings below some folders into a bank.

    Parameters
    ----------
    folder : str or Path
        Where to write the bank.
    sources : mapping of str to Path
        Folder of each kind.
    sample_rate : int
        In Hz; recordings at other rates are resampled, and several channels averaged.
    skip : set of str
        Files that are held back, by their paths below their folder.

    Returns
    -------
    dict of str to str
        Reason for each file that was left out.

    Raises
    ------
    VouchError
        A folder is missing, or no recording of some kind is of use.
    """
    left_out: dict[str, str] = {}

    def usable(kind: str, source: Path) -> Iterator[tuple[str, np.ndarray]]:
        found, count = 0, 0
        for path in _find(source):
            name = str(path.relative_to(source))
            if name in skip:
                continue
            count += 1
            try:
                samples = read_audio(str(path), sample_rate).samples
            except VouchError as error:
                left_out[str(path)] = str(error)
                continue
            if not len(samples) or float(np.mean(np.square(samples, dtype=np.float64))) < SILENCE:
                left_out[str(path)] = f"{path}: {'silence' if len(samples) else 'no samples'}"
                continue
            found += 1
            yield name, samples
        if not found:
            first = next((reason for path, reason in left_out.items() if Path(path).is_relative_to(source)), "")
            raise VouchError(
                f"{source}: no recording of '{kind}' is of use, of {count} {f'({first})' if first else ''}"
            )

    write_bank(folder, {kind: usable(kind, source) for kind, source in sources.items()}, sample_rate)
    return left_out


def _find(folder: Path) -> list[Path]:
    try:
        return sorted(map(Path, walk_audio(str(folder))))
    except OSError as error:
        raise VouchError(f"{error.filename}: {error.strerror}") from None
