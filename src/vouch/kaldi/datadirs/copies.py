"""Writes the tables of a data directory with changed copies of utterances, beside their originals or in their place."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

from vouch.base.files import atomic_write
from vouch.kaldi.datadirs.datadir import DataDir, write_data_dir
from vouch.kaldi.tables import read_table, write_table

# What is true of a copy as of its original: lengths too, and where there is speech, as it was before the change.
CARRIED = ("text", "utt2dur", "utt2lang", "utt2num_samples", "vad.scp")
WHOLE = ("frame_shift",)
GENDERS = "spk2gender"
_TRIALS = re.compile(r"trials(_[A-Za-z0-9_-]+)?|enrol_map|utt2uniq")


def write_copies(
    target: Path,
    source: DataDir,
    copies: Mapping[str, str],
    keeps_ids: bool,
    listed_in: str,
    num_frames: Mapping[str, str] | None,
    wav_scp: Mapping[str, str] | None,
    seconds: Mapping[str, float],
    speakers: Mapping[str, str],
    speeds: Mapping[str, float],
) -> None:
    """Write the tables of a data directory with copies, except for the one that a stage writes last.

    Parameters
    ----------
    target : Path
        The directory to write; tables there that are not written are removed.
    source : DataDir
        The originals, loaded with "wav.scp" and, if they have features, "feats.scp".
    copies : mapping of str to str
        Id of each copy to that of its original.
    keeps_ids : bool
        Whether the copies stand in place of the originals, which are left out then; trials are copied with them.
    listed_in : str
        Name of that table, "feats.scp" or "wav.scp".
    num_frames : mapping of str to str or None
        utt2num_frames of all utterances; None: there are no features.
    wav_scp : mapping of str to str or None
        Recordings of the copies, where those are not what the stage lists; None: there are none.
    seconds : mapping of str to float
        Length of the recording of each copy; empty where there are none.
    speakers : mapping of str to str
        Speaker of each copy.
    speeds : mapping of str to float
        Speed of the copies that are played faster or slower, whose lengths differ from those of their originals.
    """
    originals = {} if keeps_ids else dict.fromkeys(source.feats_scp or source.segments)
    uniq = {utterance: utterance for utterance in originals} | dict(copies)
    tables: dict[str, Mapping[str, str]] = {}
    for name in CARRIED:
        if (source.path / name).exists():
            known = read_table(source.path / name, bare=name == "text")
            tables[name] = {
                each: known[original] if each not in speeds else _rescale(known[original], name, speeds[each])
                for each, original in uniq.items()
                if original in known and not (each in speeds and name == "vad.scp")
            }
    if (source.path / GENDERS).exists():
        known = read_table(source.path / GENDERS)
        of_copies = {speakers[each]: known.get(source.utt2spk[original]) for each, original in copies.items()}
        tables[GENDERS] = known | {speaker: gender for speaker, gender in of_copies.items() if gender is not None}
    if not keeps_ids:
        tables["utt2uniq"] = uniq
    if num_frames is not None:
        tables["utt2num_frames"] = {each: num_frames[each] for each in uniq}
    if wav_scp is not None:
        used = dict.fromkeys(source.segments[utterance].recording for utterance in originals)
        tables["wav.scp"] = {recording: source.wav_scp[recording] for recording in used} | dict(wav_scp)
    if seconds and originals and (source.path / "segments").exists():
        known = read_table(source.path / "segments")
        whole = {each: f"{each} 0 {seconds[each]:.6f}" for each in copies}
        tables["segments"] = {utterance: known[utterance] for utterance in originals} | whole
    # What every reader needs is removed first and written last.
    (target / "utt2spk").unlink(missing_ok=True)
    gone = {*CARRIED, *WHOLE, GENDERS, "feats.scp", "segments", "utt2num_frames", "utt2uniq", "wav.scp"}
    for name in gone - tables.keys() - {listed_in}:
        (target / name).unlink(missing_ok=True)
    for name, table in tables.items():
        write_table(target / name, table)
    for file in sorted(source.path.iterdir()):
        if file.name in WHOLE or (keeps_ids and _TRIALS.fullmatch(file.name)):
            with atomic_write(target / file.name, "wb") as copy:
                copy.write(file.read_bytes())
    write_data_dir(target, {}, {utterance: source.utt2spk[utterance] for utterance in originals} | dict(speakers))


def _rescale(value: str, name: str, speed: float) -> str:
    """Return a length from a table, as it is at another speed; what is no length stays as it is."""
    if name == "utt2dur":
        return f"{float(value) / speed:g}"
    return str(math.ceil(int(value) / speed)) if name == "utt2num_samples" else value
