"""Writes archives in shards, so that an interrupted stage continues where it stopped."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

from vouch.base.errors import VouchError
from vouch.base.failures import MAX_FAILED, describe_failures
from vouch.base.files import atomic_write
from vouch.base.rxfilename import parse_rxfilename
from vouch.jobs.results import Outcome, Record, Work, Writer, summarize
from vouch.kaldi.lineage.digests import FileState, file_state, write_list
from vouch.kaldi.matrices.writing import ArkWriter, NpyWriter
from vouch.kaldi.tables import read_table, write_table
from vouch.kaldi.wavark import WavWriter

FORMATS = ("ark", "npy")
WAV = "wav"


@dataclass(frozen=True)
class Shards:
    """Matrices or vectors of many items, written into one archive per shard of at most `size` items.

    The archives are written into a working folder beside the output. A shard counts as done when its `.json`, written
    last, exists; when all shards are done, the folder takes the place of the output. After an interruption, the same
    command keeps the finished shards and makes the others. The folder's name holds a fingerprint of the inputs, so that
    shards of other inputs are never reused. The list of the archives' digests lies beside them, see
    `vouch.kaldi.lineage.digests`.

    Attributes
    ----------
    output : Path
        Folder of the finished archives.
    items : sequence of str
        Keys in C-locale order.
    fingerprint : str
        Text of everything that the output depends on, except for what `sources` covers.
    format : str
        "ark", or "npy" for one file per item; "wav" for archives of waveforms, which are then the values.
    compression : "none", "8bit" or "16bit"
        Kaldi's compression of matrices; the format "npy" supports "none" only.
    size : int
        Largest number of items in a shard.
    sources : callable
        Function that returns the digest of the files that given items are read from; a shard whose files have changed
        is made again.
    audio_rate : int
        Sampling rate in Hz of waveforms; of another format than "wav", they are written beside the values, into an
        archive of wav files per shard. 0: there are none.
    """

    output: Path
    items: Sequence[str]
    fingerprint: str
    format: str = "ark"
    compression: str = "none"
    size: int = 1000
    sources: Callable[[Sequence[str]], str] = lambda items: ""
    audio_rate: int = 0

    @cached_property
    def work(self) -> Path:
        """The working folder."""
        described = (
            f"{self.fingerprint}\n{self.format} {self.compression} {self.size}{self.audio_rate or ''}\n"
            + "\n".join(self.items)
        )
        digest = hashlib.sha256(described.encode()).hexdigest()[:12]
        return self._beside(f"work-{digest}")

    @property
    def _real(self) -> Path:
        """The output after following links: Kaldi's users keep archives on another disk behind a link."""
        return self.output.resolve() if self.output.is_symlink() else self.output

    def _beside(self, end: str) -> Path:
        return self._real.with_name(f"{self._real.name}.{end}")

    def __len__(self) -> int:
        return -(-len(self.items) // self.size)

    def _record(self, shard: int) -> Path:
        return self.work / f"{self.output.name}.{shard + 1}.json"

    def _items(self, shard: int) -> Sequence[str]:
        return self.items[shard * self.size : (shard + 1) * self.size]

    def prepare(self) -> int:
        """Create the working folder, remove those of other inputs, and return the number of finished shards."""
        work = self.work
        for stale in work.parent.glob(f"{glob.escape(self._real.name)}.work-*"):
            if stale.is_symlink():
                stale.unlink()
            elif stale != work:
                shutil.rmtree(stale, ignore_errors=True)
        work.mkdir(parents=True, exist_ok=True)
        return sum(self._is_current(shard) for shard in range(len(self)))

    def count(self, job: int = 1, jobs: int = 1) -> tuple[int, int]:
        """Return how many items job `job` of `jobs` (counted from 1) has, and how many are in finished shards."""
        sizes = {shard: len(self._items(shard)) for shard in range(job - 1, len(self), jobs)}
        return sum(sizes.values()), sum(size for shard, size in sizes.items() if self._record(shard).exists())

    def _is_current(self, shard: int) -> bool:
        """Whether a shard is done and its sources are unchanged; an outdated record is removed."""
        path = self._record(shard)
        if not path.exists():
            return False
        if Record.read(path).sources == self.sources(self._items(shard)):
            return True
        path.unlink()
        return False

    def run(
        self, work: Work, job: int = 1, jobs: int = 1, progress: Callable[[int], object] = lambda count: None
    ) -> None:
        """Make the missing shards of job `job` of `jobs` (counted from 1).

        Parameters
        ----------
        work : Work
            Called with the items of a shard; yields a result for each of them.
        progress : callable
            Called with 1 after each item.
        """
        for shard in range(job - 1, len(self), jobs):
            if not self._record(shard).exists():
                self._run_shard(shard, work, progress)

    def _run_shard(self, shard: int, work: Work, progress: Callable[[int], object] = lambda count: None) -> None:
        items = self._items(shard)
        record = Record(self.sources(items))
        name = f"{self.output.name}.{shard + 1}"
        with self._open_writer(f"{name}.ark") as writer, self._open_audio(f"{name}.{WAV}.ark") as audio:
            for result in work(items):
                record.add(result, writer, audio)
                progress(1)
        lost = [item for item in items if item not in record.entries and item not in record.failed]
        assert not lost, f"no result and no reason for {lost[:3]}"
        record.files = {
            file: list(file_state(self.work / file)) for file in [*writer.files, *(audio.files if audio else [])]
        }
        record.write(self._record(shard))

    @contextlib.contextmanager
    def _open_writer(self, name: str) -> Iterator[Writer]:
        if self.format == "npy":
            yield NpyWriter(self.work)
        else:
            with atomic_write(self.work / name, "wb") as file:
                is_wav = self.format == WAV
                yield WavWriter(file, name, self.audio_rate) if is_wav else ArkWriter(file, name, self.compression)

    @contextlib.contextmanager
    def _open_audio(self, name: str) -> Iterator[WavWriter | None]:
        """Open the archive of the waveforms beside the values, if there are any."""
        if not self.audio_rate or self.format == WAV:
            yield None
        else:
            with atomic_write(self.work / name, "wb") as file:
                yield WavWriter(file, name, self.audio_rate)

    def check_own(self, scp: Path) -> None:
        """Refuse to replace a table or a folder that this stage did not make.

        Parameters
        ----------
        scp : Path
            Table that `finish` would write. A table of this stage, or of an earlier version, lists archives in the
            output folder.

        Raises
        ------
        VouchError
            The message names what is in the way and says how to go on.
        """
        if scp.exists():
            table = read_table(scp)
            if not any(map(self._is_own, table.values())):
                raise VouchError(
                    f"{scp}: was not made by this stage, it lists '{next(iter(table.values()))}'; to use it go on with"
                    " the stages that read it (of features: ./run.sh --stage 3), to have it made anew move it away"
                )
        if not self._real.exists():
            return
        if not self._real.is_dir():
            raise VouchError(f"{self.output}: is a file, where a folder of archives is to be; move it away")
        record = self._real / self._record(0).name
        is_own = record.exists() or not any(self._real.iterdir())
        if is_own and record.exists() and self.output.is_symlink():
            # Two directories link to the same folder: each would remove the other's archives.
            known = Record.read(record)
            is_own = not {*known.entries, *known.failed}.isdisjoint(self.items)
        if not is_own:
            raise VouchError(
                f"{self.output}: holds files that this stage did not make for this directory, and would remove; move"
                " them away, or let a link lead to an empty folder"
            )

    def check_own_dir(self, folder: Path) -> None:
        """Refuse, with a `VouchError`, to overwrite a data directory that a stage with this output did not make."""
        if (folder / "utt2spk").exists() and not self.output.exists() and not (folder / "feats.scp").exists():
            raise VouchError(f"{folder}: is a data directory that this stage did not make; give another folder")

    def _is_own(self, rxfilename: str) -> bool:
        """Whether a table entry names an archive of a run of this stage, in this folder or in a copy of it."""
        try:
            path = Path(parse_rxfilename(rxfilename).name)
        except VouchError:
            return False  # this stage never writes such an entry
        if path.parent.name != self.output.name:
            return False
        is_ark = re.fullmatch(rf"{re.escape(self.output.name)}\.\d+(\.{WAV})?\.ark", path.name) is not None
        return is_ark or (path.parent / self._record(0).name).exists()

    def finish(
        self,
        scp: Path,
        max_failed: float = MAX_FAILED,
        beside: Callable[[Outcome], None] = lambda outcome: None,
        listed_too: Mapping[str, str] = MappingProxyType({}),
        check: Callable[[Outcome], None] = lambda outcome: None,
    ) -> Outcome:
        """Move the archives to the output folder and write the `scp` that lists them.

        Parameters
        ----------
        scp : Path
            Table to write. It is removed first and written last, so that every entry it has exists.
        max_failed : float
            Largest share of items that may fail.
        beside : callable
            Function that writes further files of the same output, before the scp.
        listed_too : mapping of str to str
            Further entries of the scp, for items that exist elsewhere.
        check : callable
            Function that may reject the outcome with a `VouchError`; finished shards are kept and nothing is replaced.

        Raises
        ------
        VouchError
            Too many items failed (the next run makes the shards with failures again and keeps the others), or shards
            are missing because a job died.
        """
        records = [self._read(shard) for shard in range(len(self))]
        outcome = summarize(records)
        if len(outcome.failed) > max_failed * len(self.items) or not outcome.rows:
            for shard, record in enumerate(records):
                if record.failed:
                    self._record(shard).unlink()
            failures = describe_failures(outcome.failed)
            raise VouchError(f"{len(outcome.failed)} of {len(self.items)} items failed: {failures}")
        check(outcome)
        states = {file: FileState(*state) for record in records for file, state in record.files.items()}
        write_list(self.work, states)
        old, held = self._beside("work-old"), scp.with_name(f".{scp.name}.old")
        self._replace(scp, held, old)
        folder = self.output.absolute()
        placed = {item: (f"{folder}/{place}", samples) for item, (place, samples) in outcome.audio.items()}
        outcome = outcome._replace(audio=placed)
        beside(outcome)
        own = {item: f"{folder}/{place}" for record in records for item, (place, _) in record.entries.items()}
        write_table(scp, {**listed_too, **own})
        held.unlink(missing_ok=True)
        shutil.rmtree(old, ignore_errors=True)
        return outcome

    def _read(self, shard: int) -> Record:
        path = self._record(shard)
        if not path.exists():
            raise VouchError(f"{self.work}: shard {shard + 1} of {len(self)} is missing; run the same command again")
        return Record.read(path)

    def _replace(self, scp: Path, held: Path, old: Path) -> None:
        """Move the working folder to the output, which becomes `old`, and rename the scp to `held`.

        The old table never stands beside the new archives; it is restored if they cannot be moved there.
        """
        shutil.rmtree(old, ignore_errors=True)
        had_scp = scp.exists()
        if had_scp:
            os.replace(scp, held)
        try:
            if self._real.exists():
                self._real.rename(old)
            self.work.rename(self._real)
        except OSError:
            if old.exists() and not self._real.exists():
                old.rename(self._real)
            if had_scp:
                os.replace(held, scp)
            raise
