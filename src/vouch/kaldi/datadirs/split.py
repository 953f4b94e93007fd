"""Splits a data directory into parts for several jobs, as Kaldi's utils/split_data.sh does."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from vouch.base.errors import VouchError
from vouch.kaldi.datadirs.tables import building, invert, read_tables, restrict, write_tables

T = TypeVar("T")
TABLES = (
    *("feats.scp", "text", "vad.scp", "utt2lang", "utt2dur", "utt2num_frames", "wav.scp"),
    *("spk2gender", "spk2warp", "cmvn.scp", "segments", "reco2file_and_channel"),
)


def split_evenly(items: Sequence[T], parts: int) -> list[Sequence[T]]:
    """Split a sequence into contiguous parts; the first ones may have one item more."""
    size, longer = divmod(len(items), parts)
    starts = [part * size + min(part, longer) for part in range(parts + 1)]
    return [items[first:last] for first, last in itertools.pairwise(starts)]


def split_speakers(sizes: Sequence[int], parts: int) -> list[range]:
    """Split a sequence of speakers into contiguous parts with similar numbers of utterances.

    The parts begin with equal numbers of speakers. Each part in turn then gives its last speaker to the next part, or
    its first to the previous one, if that makes the two more equal, until nothing changes.

    Parameters
    ----------
    sizes : sequence of int
        Number of utterances of each speaker.
    parts : int
        Number of parts, at most the number of speakers.

    Returns
    -------
    list of range
        Positions of the speakers of each part.
    """
    first = [-(-part * len(sizes) // parts) for part in range(parts + 1)]
    totals = [sum(sizes[a:b]) for a, b in itertools.pairwise(first)]

    def gains(giver: int, taker: int, size: int) -> bool:
        difference = totals[giver] - totals[taker]
        return first[giver + 1] - first[giver] > 1 and abs(difference - 2 * size) < abs(difference)

    changed = True
    while changed:
        changed = False
        for part in range(parts):
            for taker, boundary, step in ((part + 1, part + 1, -1), (part - 1, part, 1)):
                if not 0 <= taker < parts:
                    continue
                size = sizes[first[boundary] - 1 if step < 0 else first[boundary]]
                if gains(part, taker, size):
                    first[boundary] += step
                    totals[part] -= size
                    totals[taker] += size
                    changed = True
    return [range(a, b) for a, b in itertools.pairwise(first)]


def split_data_dir(
    path: str | Path, parts: int, per_utterance: bool = False, progress: Callable[[int], object] = lambda count: None
) -> Path:
    """Write `splitN/1` ... `splitN/N` (by utterance: `splitNutt`) into a data directory, all or nothing.

    An existing split that is not older than the tables is kept. utt2uniq, reco2dur and frame_shift are not copied.

    Parameters
    ----------
    path : str or Path
        The directory.
    parts : N
    per_utterance : bool
        Whether the utterances of a speaker may be divided among parts.
    progress : callable
        Called with 1 after each part.

    Returns
    -------
    Path
        The folder of the parts.

    Raises
    ------
    VouchError
        A table is malformed, or there are fewer speakers (or utterances) than parts.
    """
    path = Path(path)
    target = path / f"split{parts}{'utt' if per_utterance else ''}"
    if parts < 1:
        raise VouchError(f"{path}: cannot be split into {parts} parts; give at least 1")
    if _is_current(path, target, parts):
        progress(parts)
        return target
    tables = read_tables(path, TABLES)
    if "segments" not in tables:
        tables.pop("reco2file_and_channel", None)
    spk2utt = invert(tables["utt2spk"])
    what, number = ("utterances", len(tables["utt2spk"])) if per_utterance else ("speakers", len(spk2utt))
    if parts > number:
        raise VouchError(f"{path}: has {number} {what}, fewer than the {parts} parts asked for; use a smaller number")
    if per_utterance:
        chosen = split_evenly(list(tables["utt2spk"]), parts)
    else:
        listed = [utterances.split() for utterances in spk2utt.values()]
        spans = split_speakers([len(utterances) for utterances in listed], parts)
        chosen = [[utterance for speaker in span for utterance in listed[speaker]] for span in spans]
    with building(target) as folder:
        for part, utterances in enumerate(chosen, start=1):
            write_tables(folder / str(part), restrict(tables, utterances), {})
            progress(1)
        shutil.rmtree(target, ignore_errors=True)
        folder.rename(target)
    return target


def _is_current(path: Path, target: Path, parts: int) -> bool:
    """Return whether all parts exist, have the tables that the source has, and are not older."""
    names = ["utt2spk", *TABLES]
    sources = [name for name in names if (path / name).exists()]
    if not (path / "segments").exists() and "reco2file_and_channel" in sources:
        sources.remove("reco2file_and_channel")
    try:
        newest = max((path / name).stat().st_mtime_ns for name in sources)
        for part in range(1, parts + 1):
            there = [name for name in names if (target / str(part) / name).exists()]
            if there != sources or min((target / str(part) / name).stat().st_mtime_ns for name in there) < newest:
                return False
    except (ValueError, FileNotFoundError):
        return False
    return True
