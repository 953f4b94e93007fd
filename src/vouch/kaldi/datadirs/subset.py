"""Selects utterances of a data directory, as Kaldi's utils/subset_data_dir.sh does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from vouch.base.errors import VouchError, pick
from vouch.kaldi.datadirs.tables import Table, invert, read_whole_files, restrict, write_dir
from vouch.kaldi.tables import read_lines

T = TypeVar("T")


def pick_evenly(items: Sequence[T], count: int) -> list[T]:
    """Choose `count` items, spread evenly by repeated halving; the first half gets the smaller share.

    Examples
    --------
    >>> pick_evenly("abcdefgh", 3)
    ['d', 'f', 'h']
    """
    chosen: list[T] = []
    spans = [(0, len(items), count)]
    while spans:
        first, last, wanted = spans.pop()
        if wanted and last - first == 1:
            chosen.append(items[first])
        elif wanted:
            middle = first + (last - first) // 2
            spans += [(middle, last, wanted - wanted // 2), (first, middle, wanted // 2)]
    return chosen


def pick_per_speaker(spk2utt: Mapping[str, str], count: int) -> list[str]:
    """Choose up to `count` utterances of each speaker, at the largest regular distance that gives that many."""
    chosen = []
    for listed in spk2utt.values():
        utterances = listed.split()
        chosen += utterances[:: max(1, len(utterances) // count)][:count]
    return chosen


def pick_speakers(spk2utt: Mapping[str, str], count: int) -> list[str]:
    """Choose whole speakers in a fixed shuffled order until there are `count` utterances."""
    chosen: list[str] = []
    for speaker in shuffle(list(spk2utt)):
        if len(chosen) >= count:
            break
        chosen += spk2utt[speaker].split()
    return chosen


def shuffle(items: Sequence[T]) -> list[T]:
    """Shuffle as Kaldi's utils/shuffle_list.pl does, so that the same utterances are chosen.

    Items are sorted by random numbers of Perl's drand48 with seed 0, compared as text of 15 digits.
    """
    state, keys = 0x330E, []
    for _ in items:
        state = (0x5DEECE66D * state + 0xB) % 2**48
        keys.append(f"{state / 2**48:.15g}")
    order = sorted(range(len(items)), key=keys.__getitem__)
    return [items[index] for index in order]


def pick_shortest(num_frames: Mapping[str, str], count: int, path: Path) -> list[str]:
    """Choose the `count` utterances with the fewest frames; `path` names the table in messages."""
    lengths = []
    for number, (utterance, frames) in enumerate(num_frames.items(), start=1):
        if not (frames.isascii() and frames.isdigit()):
            raise VouchError(f"{path}:{number}: '{utterance} {frames}' is not '<utterance> <frames>'")
        lengths.append((int(frames), utterance))
    return [utterance for _, utterance in sorted(lengths)[:count]]


def choose(way: str, source: Path, tables: Mapping[str, Table], count: int) -> list[str]:
    """Choose `count` utterances of a data directory, or `count` of each speaker.

    Parameters
    ----------
    way : str
        "even" (spread over all), "first", "last", "per-spk" (`count` of each speaker), "speakers" (whole speakers,
        until there are enough), "shortest" (by utt2num_frames).
    source : Path
        The directory, for messages.
    tables : mapping of str to Table
        From `read_tables`.
    count : int
        Number of utterances.

    Raises
    ------
    VouchError
        There are fewer utterances, or "shortest" lacks feats.scp or utt2num_frames.
    """
    utterances = list(tables["utt2spk"])
    if not 1 <= count <= len(utterances):
        raise VouchError(f"{source}: cannot choose {count} of {len(utterances)} utterances")
    spk2utt = invert(tables["utt2spk"])
    ways = {
        "even": lambda: pick_evenly(utterances, count),
        "first": lambda: utterances[:count],
        "last": lambda: utterances[-count:],
        "per-spk": lambda: pick_per_speaker(spk2utt, count),
        "speakers": lambda: pick_speakers(spk2utt, count),
        "shortest": lambda: pick_shortest(_require_frames(source, tables), count, source / "utt2num_frames"),
    }
    return pick(ways, way, "way of choosing")()


def _require_frames(source: Path, tables: Mapping[str, Table]) -> Table:
    for name in ("feats.scp", "utt2num_frames"):
        if name not in tables:
            raise VouchError(f"{source}/{name}: no such file; --shortest needs it: run stage 1 (steps/make_fbank.py)")
    return tables["utt2num_frames"]


def choose_listed(utt2spk: Mapping[str, str], listed: Path, by_speaker: bool) -> tuple[list[str], list[str]]:
    """Choose the utterances, or all utterances of the speakers, in the first column of a file.

    Returns
    -------
    utterances : list of str
        The chosen utterances, in the order of utt2spk.
    unknown : list of str
        Listed names that are not in utt2spk.

    Raises
    ------
    VouchError
        The list is malformed, or none of its names is in utt2spk.
    """
    names = dict.fromkeys(line.split()[0] for line in read_lines(listed) if line.strip())
    utterances = [
        utterance for utterance, speaker in utt2spk.items() if (speaker if by_speaker else utterance) in names
    ]
    known = set(utt2spk.values()) if by_speaker else utt2spk
    if not utterances:
        what = "speaker" if by_speaker else "utterance"
        raise VouchError(f"{listed}: no {what} of this list is in utt2spk (first: '{next(iter(names))}')")
    return utterances, [name for name in names if name not in known]


def write_subset(source: Path, utterances: Sequence[str], tables: Mapping[str, Table], target: Path) -> None:
    """Write the part of a data directory that belongs to the given utterances; see `write_dir`."""
    if source.resolve() == target.resolve():
        raise VouchError(f"{target}: is the source itself; give another name")
    write_dir(target, restrict(tables, sorted(utterances)), read_whole_files(source, ["frame_shift"]))
