"""Holds the results of items and of whole stages, and the record file of a finished shard."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from vouch.base.errors import VouchError
from vouch.base.files import read_json, write_text
from vouch.kaldi.matrices.writing import ArkWriter, NpyWriter
from vouch.kaldi.wavark import WavWriter

# What writes the values of a shard.
Writer = ArkWriter | NpyWriter | WavWriter


class Result(NamedTuple):
    """Result for one item: its matrix or vector, or the reason why there is none.

    Attributes
    ----------
    item : str
        Key of the item.
    value : ndarray or VouchError
        Its matrix or vector, or the reason why there is none.
    notes : mapping of str to int
        Events to report and how often each happened ("resampled from 8000 Hz").
    remarks : mapping of str to str
        One sentence for each kind of oddity ("clipping"); the item is processed all the same.
    digest : str
        Digest of the samples that the item was made from, to find equal audio in other sets; or empty.
    audio : (samples,) float32 or None
        Waveform to write beside the value, see `vouch.jobs.shards.Shards.audio_rate`.
    """

    item: str
    value: np.ndarray | VouchError
    notes: Mapping[str, int] = MappingProxyType({})
    remarks: Mapping[str, str] = MappingProxyType({})
    digest: str = ""
    audio: np.ndarray | None = None


# The work on a shard: a function that takes its items and yields one result for each, in any order.
Work = Callable[[Sequence[str]], Iterator[Result]]


@dataclass
class Record:
    """Record of a finished shard, kept as a JSON file.

    Attributes
    ----------
    sources : str
        Digest of the files that the items were read from.
    entries : dict of str to tuple of str and int
        File of each item's matrix (`archive:offset`, or a file of its own) and its number of rows.
    failed : dict of str to str
        Reason of each failed item.
    notes : dict of str to int
    remarks : dict of str to dict of str to str
    digests : dict of str to str
        See `Outcome`.
    files : dict of str to list
        State of each written file, see `vouch.kaldi.lineage.digests.file_state`.
    audio : dict of str to tuple of str and int
        Place of each item's waveform, and its number of samples.
    """

    sources: str
    entries: dict[str, tuple[str, int]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)
    remarks: dict[str, dict[str, str]] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    files: dict[str, list] = field(default_factory=dict)
    audio: dict[str, tuple[str, int]] = field(default_factory=dict)

    def add(self, result: Result, writer: Writer, audio_writer: WavWriter | None = None) -> None:
        """Write the matrix or vector of an item, or keep the reason why it failed or cannot be written."""
        for note, count in result.notes.items():
            self.notes[note] = self.notes.get(note, 0) + count
        for what, sentence in result.remarks.items():
            self.remarks.setdefault(what, {})[result.item] = sentence
        if result.digest:
            self.digests[result.item] = result.digest
        if isinstance(result.value, VouchError):
            self.failed[result.item] = str(result.value)
            return
        try:
            place = writer.write(result.item, result.value)
            if audio_writer is not None and result.audio is not None:
                self.audio[result.item] = audio_writer.write(result.item, result.audio), len(result.audio)
        except VouchError as error:
            self.failed[result.item] = str(error)
        else:
            self.entries[result.item] = place, len(result.value)

    def write(self, path: Path) -> None:
        """Write the record, whole or not at all."""
        write_text(path, json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> Record:
        """Read a record; `VouchError` names a file that cannot be read or is not a record."""
        record = read_json(path)
        known = {field.name for field in fields(cls)}
        if not isinstance(record, dict) or not {"sources"} <= record.keys() <= known:
            raise VouchError(f"{path}: not the record of a part of this stage; remove its folder")
        return cls(**record)


class Outcome(NamedTuple):
    """Result of a stage for all its items.

    Attributes
    ----------
    rows : dict of str to int
        Number of rows of each item's matrix, in the order of the items.
    failed : dict of str to str
        Reason of each failed item.
    notes : Counter
        Events to report and how often each happened ("resampled from 8000 Hz").
    remarks : dict of str to dict of str to str
        For each kind of oddity ("clipping"), one sentence for each item that shows it; the items are processed.
    digests : dict of str to str
        Digest of the samples of each item, for the items that have one.
    audio : dict of str to tuple of str and int
        Place of the waveform of each item that has one, and its number of samples.
    """

    rows: dict[str, int]
    failed: dict[str, str]
    notes: Counter[str]
    remarks: dict[str, dict[str, str]]
    digests: dict[str, str]
    audio: dict[str, tuple[str, int]]


def summarize(records: Iterable[Record]) -> Outcome:
    """Combine the records of all shards."""
    outcome = Outcome({}, {}, Counter(), {}, {}, {})
    for record in records:
        outcome.rows.update((item, rows) for item, (_, rows) in record.entries.items())
        outcome.failed.update(record.failed)
        outcome.notes.update(record.notes)
        for what, items in record.remarks.items():
            outcome.remarks.setdefault(what, {}).update(items)
        outcome.digests.update(record.digests)
        outcome.audio.update(record.audio)
    return outcome._replace(rows=dict(sorted(outcome.rows.items())), digests=dict(sorted(outcome.digests.items())))
