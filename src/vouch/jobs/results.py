"""Results of the items of a shard, the record of a finished shard, and the outcome of a whole stage."""

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


class Result(NamedTuple):
    """Result for one item: its matrix or vector, or the reason why there is none.

    Attributes
    ----------
    item : str
        Its key.
    value : ndarray or VouchError
        Its matrix or vector, or the reason why there is none.
    notes : mapping of str to int
        What happened that is worth a line, and how often ("resampled from 8000 Hz").
    remarks : mapping of str to str
        What is worth a look, by kind ("clipping"), a sentence each; the item is made all the same.
    digest : str
        Digest of the samples that the item was made from, which finds equal audio in other sets; or empty.
    """

    item: str
    value: np.ndarray | VouchError
    notes: Mapping[str, int] = MappingProxyType({})
    remarks: Mapping[str, str] = MappingProxyType({})
    digest: str = ""


# The work of a shard: given its items, it yields what became of each, in any order.
Work = Callable[[Sequence[str]], Iterator[Result]]


@dataclass
class Record:
    """Record of a finished shard, kept as a JSON file.

    Attributes
    ----------
    sources : str
        Digest of the files that its items were read from.
    entries : dict of str to tuple of str and int
        File of each item's matrix (of archives with `:offset`) and its number of rows.
    failed : dict of str to str
        Reason for each item that gave nothing.
    notes : dict of str to int
    remarks : dict of str to dict of str to str
    digests : dict of str to str
        See `Outcome`.
    files : dict of str to list
        State of each file that was written, see `vouch.kaldi.lineage.digests.file_state`.
    """

    sources: str
    entries: dict[str, tuple[str, int]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)
    remarks: dict[str, dict[str, str]] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    files: dict[str, list] = field(default_factory=dict)

    def add(self, result: Result, writer: ArkWriter | NpyWriter) -> None:
        """Write what was made of an item, or keep the reason why it was not made or cannot be written."""
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
        except VouchError as error:
            self.failed[result.item] = str(error)
        else:
            self.entries[result.item] = place, len(result.value)

    def write(self, path: Path) -> None:
        """Write the record, whole or not at all."""
        write_text(path, json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> Record:
        """Read a record; `VouchError` names a file that cannot be read or is something else."""
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
        Number of rows of each item's matrix, in item order.
    failed : dict of str to str
        Reason for each item that gave nothing.
    notes : Counter
        How often something worth a line happened ("resampled from 8000 Hz").
    remarks : dict of str to dict of str to str
        For each kind of oddity ("clipping"), a sentence for each item that shows it; the items are made all the same.
    digests : dict of str to str
        Digest of the samples that each item was made from, for the items that have one.
    """

    rows: dict[str, int]
    failed: dict[str, str]
    notes: Counter[str]
    remarks: dict[str, dict[str, str]]
    digests: dict[str, str]


def summarize(records: Iterable[Record]) -> Outcome:
    """Put together what became of the items of all shards."""
    outcome = Outcome({}, {}, Counter(), {}, {})
    for record in records:
        outcome.rows.update((item, rows) for item, (_, rows) in record.entries.items())
        outcome.failed.update(record.failed)
        outcome.notes.update(record.notes)
        for what, items in record.remarks.items():
            outcome.remarks.setdefault(what, {}).update(items)
        outcome.digests.update(record.digests)
    return outcome._replace(rows=dict(sorted(outcome.rows.items())), digests=dict(sorted(outcome.digests.items())))
