"""Copies a data directory with changed ids, as Kaldi's utils/copy_data_dir.sh does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from vouch.base.errors import VouchError
from vouch.kaldi.datadirs.tables import (
    KEYED_TABLES,
    RECORDING_TABLES,
    SPEAKER_TABLES,
    WHOLE_FILES,
    Table,
    building,
    invert,
    publish,
    read_tables,
    read_whole_files,
    write_tables,
)
from vouch.kaldi.datadirs.validate import Needs, validate_data_dir


class Renaming(NamedTuple):
    """Prefixes and suffixes to add to the ids of utterances and speakers."""

    utt_prefix: str = ""
    utt_suffix: str = ""
    spk_prefix: str = ""
    spk_suffix: str = ""

    def utterance(self, name: str) -> str:
        """Return the new id of an utterance."""
        return self.utt_prefix + name + self.utt_suffix

    def speaker(self, name: str) -> str:
        """Return the new id of a speaker."""
        return self.spk_prefix + name + self.spk_suffix


def rename_tables(tables: Mapping[str, Table], renaming: Renaming) -> dict[str, Table]:
    """Return tables with the new ids; if there are `segments`, recording ids stay."""

    def rename(name: str) -> Callable[[str], str]:
        if name in SPEAKER_TABLES:
            return renaming.speaker
        if name in RECORDING_TABLES and "segments" in tables:
            return str
        return renaming.utterance

    renamed = {name: {rename(name)(key): value for key, value in table.items()} for name, table in tables.items()}
    utt2spk = {utterance: renaming.speaker(speaker) for utterance, speaker in renamed["utt2spk"].items()}
    renamed["utt2spk"] = dict(sorted(utt2spk.items()))
    renamed["spk2utt"] = invert(renamed["utt2spk"])
    return renamed


def copy_data_dir(source: str | Path, target: str | Path, renaming: Renaming, needs: Needs | None = None) -> int:
    """Copy a data directory, whole or not at all.

    Parameters
    ----------
    source, target : str or Path
        The directories.
    renaming : Renaming
        Prefixes and suffixes for the ids of utterances and speakers.
    needs : Needs, optional
        Requirements to check the copy for. Tables that the source lacks are not required.

    Returns
    -------
    int
        Number of utterances.

    Raises
    ------
    VouchError
        A table is malformed, source and target are the same, or the copy would break Kaldi's rules.
    """
    source, target = Path(source), Path(target).resolve()
    if source.resolve() == target:
        raise VouchError(f"{target}: is the source itself; give another name")
    renamed = rename_tables(read_tables(source, KEYED_TABLES), renaming)
    with building(target) as folder:
        write_tables(folder, renamed, read_whole_files(source, WHOLE_FILES))
        _check(folder, target, needs or Needs())
        publish(folder, target)
    return len(renamed["utt2spk"])


def _check(folder: Path, target: Path, needs: Needs) -> None:
    there = {"feats": "feats.scp", "text": "text", "wav": "wav.scp"}
    needs = replace(needs, **{need: (folder / name).exists() for need, name in there.items()})
    errors = [finding for finding in validate_data_dir(folder, needs).findings if finding.level == "error"]
    if errors:
        where = f"{target / errors[0].path.name}:{errors[0].line}"
        raise VouchError(f"the copy would not be valid ({len(errors)} errors): {where}: {errors[0].message}")
