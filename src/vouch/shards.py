"""Archives made in shards, so that an interrupted stage goes on where it stopped."""

from __future__ import annotations

import glob
import hashlib
import io
import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import quote

import numpy as np

from vouch.errors import VouchError
from vouch.files import atomic_write, write_text
from vouch.kaldi.ark import ArkWriter
from vouch.kaldi.tables import write_table

FAILURES_SHOWN = 10
FORMATS = ("ark", "npy")


class Outcome(NamedTuple):
    """What became of the items of a stage.

    Attributes
    ----------
    rows : number of rows of each item's matrix, in item order
    failed : reason for each item that gave nothing
    notes : how often something worth a line happened ("resampled from 8000 Hz")
    """

    rows: dict[str, int]
    failed: dict[str, str]
    notes: Counter[str]


@dataclass
class ShardWriter:
    """What a shard's work is given to report results; see `Shards.run`."""

    write: Callable[[str, np.ndarray], None]
    failed: dict[str, str] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Shards:
    """Matrices or vectors of many items, written into one archive per shard of at most `size` items.

    The archives grow in a working folder beside the output; a shard counts as done when its `.json`, written last,
    is there. When all are, the folder takes the place of the output. A killed run thus leaves its finished shards and
    the same command goes on after them; the folder's name holds a fingerprint of the inputs, so that shards made from
    other inputs are never taken over.

    Attributes
    ----------
    output : folder of the finished archives
    items : keys in C-locale order
    fingerprint : text of everything that the output depends on
    format : "ark", or "npy" for one file an item
    compression : "none", "8bit" or "16bit" (Kaldi's compressed matrices; archives only)
    size : items a shard
    """

    output: Path
    items: Sequence[str]
    fingerprint: str
    format: str = "ark"
    compression: str = "none"
    size: int = 1000

    @property
    def work(self) -> Path:
        """The working folder."""
        described = f"{self.fingerprint}\n{self.format} {self.compression} {self.size}\n" + "\n".join(self.items)
        digest = hashlib.sha256(described.encode()).hexdigest()[:12]
        return self.output.with_name(f"{self.output.name}.work-{digest}")

    def __len__(self) -> int:
        return -(-len(self.items) // self.size)

    def _record(self, shard: int) -> Path:
        return self.work / f"{self.output.name}.{shard + 1}.json"

    def prepare(self) -> int:
        """Make the working folder, remove those of other inputs, and return the number of shards already done."""
        work = self.work
        for stale in self.output.parent.glob(f"{glob.escape(self.output.name)}.work-*"):
            if stale != work:
                shutil.rmtree(stale, ignore_errors=True)
        work.mkdir(parents=True, exist_ok=True)
        return sum(self._record(shard).exists() for shard in range(len(self)))

    def run(self, process: Callable[[Sequence[str], ShardWriter], None], job: int = 1, jobs: int = 1) -> None:
        """Make those missing shards that fall to job `job` of `jobs` (counted from 1).

        Parameters
        ----------
        process
            called with the shard's items and a `ShardWriter`: calls `write(item, array)` or sets `failed[item]`
            for each of them
        """
        for shard in range(job - 1, len(self), jobs):
            if not self._record(shard).exists():
                self._run_shard(shard, process)

    def _run_shard(self, shard: int, process: Callable[[Sequence[str], ShardWriter], None]) -> None:
        items = self.items[shard * self.size : (shard + 1) * self.size]
        rows: dict[str, int] = {}
        if self.format == "npy":
            where = {item: f"{quote(item, safe='')}.npy" for item in items}

            def write_npy(item: str, array: np.ndarray) -> None:
                buffer = io.BytesIO()
                np.save(buffer, np.ascontiguousarray(array, dtype=np.float32), allow_pickle=False)
                # Through memory: numpy, writing to a file itself, does not tell a full disk from another error.
                with atomic_write(self.work / where[item], "wb") as file:
                    file.write(buffer.getbuffer())
                rows[item] = len(array)

            writer = ShardWriter(write_npy)
            process(items, writer)
        else:
            name = f"{self.output.name}.{shard + 1}.ark"
            with atomic_write(self.work / name, "wb") as file:
                ark = ArkWriter(file, name, self.compression)

                def write_ark(item: str, array: np.ndarray) -> None:
                    ark.write(item, array)
                    rows[item] = len(array)

                writer = ShardWriter(write_ark)
                process(items, writer)
            where = ark.entries
        lost = [item for item in items if item not in rows and item not in writer.failed]
        assert not lost, f"no result and no reason for {lost[:3]}"
        record = {
            "entries": {item: [where[item], rows[item]] for item in rows},
            "failed": writer.failed,
            "notes": writer.notes,
        }
        write_text(self._record(shard), json.dumps(record))

    def finish(
        self,
        scp: Path,
        max_failed: float = 0.05,
        beside: Callable[[Outcome], None] = lambda outcome: None,
        listed_too: Mapping[str, str] = MappingProxyType({}),
    ) -> Outcome:
        """Put the archives in the place of the output and write the `scp` that lists them.

        Parameters
        ----------
        scp : table to write; taken away first and written last, so that what it lists is always there
        max_failed : largest share of items that may fail
        beside : writes what belongs to the same output, before the scp
        listed_too : further lines of the scp, for items that are elsewhere already

        Raises
        ------
        VouchError
            more items failed (the shards with failures are made again by the next run, the others are kept), or
            shards are missing because a job died
        """
        entries: dict[str, tuple[str, int]] = {}
        failed: dict[str, str] = {}
        notes: Counter[str] = Counter()
        blemished: list[Path] = []
        for shard in range(len(self)):
            record_path = self._record(shard)
            if not record_path.exists():
                raise VouchError(
                    f"{self.work}: shard {shard + 1} of {len(self)} is missing; run the same command again"
                )
            record = json.loads(record_path.read_text(encoding="utf-8"))
            entries.update(record["entries"])
            failed.update(record["failed"])
            notes.update(record["notes"])
            if record["failed"]:
                blemished.append(record_path)
        if len(failed) > max_failed * len(self.items) or not entries:
            for record_path in blemished:
                record_path.unlink()
            raise VouchError(f"{len(failed)} of {len(self.items)} items failed: {describe_failures(failed)}")
        scp.unlink(missing_ok=True)
        shutil.rmtree(self.output, ignore_errors=True)
        self.work.rename(self.output)
        outcome = Outcome({item: rows for item, (_, rows) in sorted(entries.items())}, failed, notes)
        beside(outcome)
        folder = self.output.absolute()
        write_table(scp, {**listed_too, **{item: f"{folder}/{where}" for item, (where, _) in entries.items()}})
        return outcome


def describe_failures(failed: dict[str, str]) -> str:
    """Return the first few failures as one line."""
    shown = [f"'{item}': {reason}" for item, reason in list(failed.items())[:FAILURES_SHOWN]]
    if len(failed) > FAILURES_SHOWN:
        shown.append(f"and {len(failed) - FAILURES_SHOWN} more")
    return "; ".join(shown)
