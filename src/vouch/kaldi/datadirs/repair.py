"""Removes entries that do not match between the tables of a data directory, as Kaldi's utils/fix_data_dir.sh does."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from vouch.base.errors import VouchError
from vouch.kaldi.datadirs.featcheck import find_empty
from vouch.kaldi.datadirs.findings import Report
from vouch.kaldi.datadirs.scan import MEND, advise_order, parse_number, scan_lines, scan_rows
from vouch.kaldi.datadirs.tables import (
    KEYED_TABLES,
    KNOWN_FILES,
    RECORDING_TABLES,
    SPEAKER_TABLES,
    UTTERANCE_TABLES,
    Table,
    building,
    format_table,
    invert,
    write_tables,
)
from vouch.kaldi.lists.trials import trial_lists

# An utterance must be in each of these tables that exists. Kaldi's script also ignores vad.scp, utt2uniq and reco2dur.
DECISIVE = ("feats.scp", "text", "segments", "utt2lang", "utt2dur", "utt2num_frames")
POSITIVE = ("utt2dur", "utt2num_frames")
# Findings of a scan that disappear when the scanned lines are written again.
MENDED_BY_WRITING = {"byte order mark", "blank lines", "line ends", "blanks", "columns"}
BACKUP = ".backup"


class Repaired(NamedTuple):
    """Summary of a repair.

    Attributes
    ----------
    kept, before : int
        Number of utterances after and before.
    done : list of str
        One line for each kind of change in each table: what, how often, the first example.
    gaps : list of str
        One line for each table that lacks some of the kept utterances.
    """

    kept: int
    before: int
    done: list[str]
    gaps: list[str]


def repair_data_dir(
    path: str | Path, utterance_tables: Sequence[str] = (), speaker_tables: Sequence[str] = ()
) -> Repaired:
    """Sort the tables, remove entries without a match in other tables, and keep the originals in `.backup/`.

    In trial lists and `enrol_map`, only line ends and byte order marks are repaired. If nothing is wrong, nothing is
    written, not even `.backup`. While tables are replaced, `utt2spk` is missing, so that no stage reads a mixture.

    Parameters
    ----------
    path : str or Path
        The directory.
    utterance_tables, speaker_tables : sequence of str
        Further tables to filter, with utterances or speakers as keys.

    Raises
    ------
    VouchError
        A table is not UTF-8 or has no usable line, utterances and speakers sort differently, or nothing would be left.
    """
    path = Path(path).resolve()
    if not path.is_dir():
        raise VouchError(f"{path}: no such data directory")
    if not (path / "utt2spk").exists():
        hint = f"; a repair that was killed left the originals in {path / BACKUP}" if (path / BACKUP).is_dir() else ""
        raise VouchError(f"{path}/utt2spk: no such file{hint}")
    names = ["utt2spk", *KEYED_TABLES, *utterance_tables, *speaker_tables]
    done: list[str] = []
    tables = {name: _read_mended(path / name, done) for name in names if (path / name).exists()}
    before = len(tables["utt2spk"])
    empty = find_empty(tables.get("feats.scp", {}))
    for utterance in empty:
        del tables["feats.scp"][utterance]
    _describe(done, "feats.scp", empty, "removed, 0 frames")
    tables, removed = repair_tables(path, tables, utterance_tables, speaker_tables)
    changed = {
        name: table
        for name, table in tables.items()
        if not (path / name).exists() or (path / name).read_bytes() != format_table(path / name, table).encode()
    }
    lists = _mend_lists(path, done)
    if changed or lists:
        _replace(path, changed, lists)
    rebuilt = ["spk2utt: made again from utt2spk"] if "spk2utt" in changed and not removed else []
    return Repaired(len(tables["utt2spk"]), before, [*done, *removed, *rebuilt], _describe_gaps(tables))


def _replace(path: Path, changed: Mapping[str, Table], lists: Mapping[str, bytes]) -> None:
    with building(path / BACKUP) as originals, building(path / ".fixed") as folder:
        for name in {*KNOWN_FILES, *changed, *lists}:
            if (path / name).exists():
                shutil.copy2(path / name, originals / name)
        shutil.copy2(path / "utt2spk", folder / "utt2spk")
        write_tables(folder, changed, lists)
        shutil.rmtree(path / BACKUP, ignore_errors=True)
        originals.rename(path / BACKUP)
        (path / "utt2spk").unlink()
        for new in sorted(folder.iterdir(), key=lambda new: new.name == "utt2spk"):
            new.replace(path / new.name)


def _describe_gaps(tables: Mapping[str, Table]) -> list[str]:
    """Describe the tables that lack some of the kept utterances."""
    lines = []
    by_recording = () if "segments" in tables else RECORDING_TABLES
    for name in (*UTTERANCE_TABLES, *by_recording):
        lacking = [utterance for utterance in tables["utt2spk"] if utterance not in tables.get(name, tables["utt2spk"])]
        if lacking:
            lines.append(f"{name}: {len(lacking)} utterances that were kept have no line (first: '{lacking[0]}')")
    return lines


def _read_mended(path: Path, done: list[str]) -> Table:
    """Read a table, sort it, and append what was repaired to `done`."""
    report = Report()
    rows = scan_rows(path, report, bare=path.name == "text")
    for finding in report.findings:
        if finding.check not in MENDED_BY_WRITING:
            where = f"{path}:{finding.line}" if finding.line else str(path)
            raise VouchError(f"{where}: {finding.message}")
    _describe_mended(path, report, done)
    if not rows.keys:
        raise VouchError(f"{path}: no line of this table is '<key> <value>'")
    table: Table = {}
    repeated = []
    for key, value in zip(rows.keys, rows.values, strict=True):
        if key in table:
            repeated.append(key)
        else:
            table[key] = value
    _describe(done, path.name, repeated, "repeated lines removed, the first one of each kept")
    keys = list(table)
    if keys != sorted(keys):
        done.append(f"{path.name}: sorted")
    return dict(sorted(table.items()))


def _mend_lists(path: Path, done: list[str]) -> dict[str, bytes]:
    """Return the repaired text of the trial lists and the enrolment map that need repair."""
    lists = {}
    for file in (*trial_lists(path), *path.glob("enrol_map")):
        report = Report()
        lines = scan_lines(file, report)
        if {finding.check for finding in report.findings} & {"byte order mark", "line ends"}:
            lists[file.name] = "".join(f"{line}\n" for line in lines).encode()
            _describe_mended(file, report, done)
    return lists


def _describe_mended(path: Path, report: Report, done: list[str]) -> None:
    for check in dict.fromkeys(finding.check for finding in report.findings):
        alike = [finding for finding in report.findings if finding.check == check]
        example = alike[0].message.removesuffix(f"; {MEND}")
        done.append(f"{path.name}: {len(alike)} x {check} (first: line {alike[0].line}: {example})")


def _describe(done: list[str], name: str, keys: Sequence[str], what: str) -> None:
    if keys:
        done.append(f"{name}: {len(keys)} {what} (first: '{keys[0]}')")


def repair_tables(
    path: Path,
    tables: Mapping[str, Table],
    utterance_tables: Sequence[str] = (),
    speaker_tables: Sequence[str] = (),
) -> tuple[dict[str, Table], list[str]]:
    """Remove entries of sorted tables that have no match in the others.

    Parameters
    ----------
    path : Path
        Path of the directory, for messages.
    tables : mapping of str to Table
        Tables by file name.
    utterance_tables, speaker_tables : sequence of str
        Further tables to filter, with utterances or speakers as keys.

    Returns
    -------
    tables : dict of str to Table
        The remaining tables, and `spk2utt`.
    done : list of str
        One line for each kind of removal.

    Raises
    ------
    VouchError
        As in `repair_data_dir`.
    """
    done: list[str] = []
    kept = {name: dict(table) for name, table in tables.items() if name != "spk2utt"}
    by_speaker = (*SPEAKER_TABLES, *speaker_tables)
    by_utterance = (*UTTERANCE_TABLES, *utterance_tables, *(() if "segments" in kept else RECORDING_TABLES))

    def keep(name: str, fits: Callable[[str, str], bool], why: str) -> None:
        gone = [key for key, value in kept[name].items() if not fits(key, value)]
        for key in gone:
            del kept[name][key]
        _describe(done, name, gone, f"removed, {why}")

    keep("utt2spk", lambda utterance, speaker: len(speaker.split()) == 1, "not '<utterance> <speaker>'")
    _keep_recordings(kept, keep)
    _keep_speakers(kept, keep, by_speaker)
    _check_speaker_order(path, kept["utt2spk"])
    _keep_utterances(kept, keep, by_utterance)
    if not kept["utt2spk"]:
        why = "; ".join(line for line in done if line.startswith("utt2spk"))
        raise VouchError(f"{path}: no utterance would be left: {why}; nothing was changed")
    _keep_speakers(kept, keep, by_speaker)
    _keep_recordings(kept, keep)
    kept["spk2utt"] = invert(kept["utt2spk"])
    return kept, done


Keep = Callable[[str, Callable[[str, str], bool], str], None]


def _keep_recordings(kept: Mapping[str, Table], keep: Keep) -> None:
    if "segments" not in kept:
        return
    keep("segments", lambda utterance, value: len(value.split()) == 3, "not '<utterance> <recording> <start> <end>'")
    wav_scp = kept.get("wav.scp")
    if wav_scp is not None:
        keep("segments", lambda utterance, value: value.split()[0] in wav_scp, "the recording is not in wav.scp")
    used = {value.split()[0] for value in kept["segments"].values()}
    for name in RECORDING_TABLES:
        if name in kept:
            keep(name, lambda recording, value: recording in used, "not in segments")


def _has_key(table: Table) -> Callable[[str, str], bool]:
    return lambda key, value: key in table


def _has_value(table: Table) -> Callable[[str, str], bool]:
    return lambda key, value: value in table


def _keep_speakers(kept: Mapping[str, Table], keep: Keep, by_speaker: Collection[str]) -> None:
    for name in ("cmvn.scp", "spk2gender"):
        if name in kept:
            keep("utt2spk", _has_value(kept[name]), f"the speaker is not in {name}")
    speakers = set(kept["utt2spk"].values())
    for name in by_speaker:
        if name in kept:
            keep(name, lambda speaker, value: speaker in speakers, "not in utt2spk")


def _check_speaker_order(path: Path, utt2spk: Mapping[str, str]) -> None:
    previous = ""
    for utterance, speaker in utt2spk.items():
        if speaker < previous:
            raise VouchError(
                f"{path}/utt2spk: '{utterance}' of '{speaker}' sorts after utterances of '{previous}';"
                f" {advise_order(utterance, speaker, previous)}; nothing was changed"
            )
        previous = speaker


def _keep_utterances(kept: Mapping[str, Table], keep: Keep, by_utterance: Collection[str]) -> None:
    for name in POSITIVE:
        if name in kept:
            keep(name, lambda utterance, value: 0 < parse_number(value) < math.inf, "not a number above 0")
    for name in (*DECISIVE, *(("wav.scp",) if "segments" not in kept else ())):
        if name in kept:
            keep("utt2spk", _has_key(kept[name]), f"not in {name}")
    for name in by_utterance:
        if name in kept:
            keep(name, lambda utterance, value: utterance in kept["utt2spk"], "not in utt2spk")
