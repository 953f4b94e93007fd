"""Writes and replaces the data directories of adapters, without touching directories made by hand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from vouch.base.errors import VouchError, about_file
from vouch.base.files import read_text, write_text
from vouch.kaldi.datadirs.datadir import write_data_dir
from vouch.kaldi.lists.trials import Trials, trial_lists, write_trials
from vouch.kaldi.tables import read_table, write_table

RECORD = ".prepared.json"


class DataSet(NamedTuple):
    """Content of one data directory.

    Attributes
    ----------
    wav_scp : mapping of str to str
        Utterance to extended file name.
    utt2spk : mapping of str to str
        Utterance to speaker.
    utt2dur : mapping of str to float or None
        Utterance to duration in seconds; None if it is unknown.
    trials : mapping of str to Trials
        Trial lists by file name ("trials", "trials_easy", ...).
    segments : mapping of str to str
        Utterance to "recording start end", in seconds; empty: each recording is one utterance.
    enrol_map : mapping of str to str
        Enrolment to "utterance ..."; empty: each enrolment is one utterance.
    """

    wav_scp: Mapping[str, str]
    utt2spk: Mapping[str, str]
    utt2dur: Mapping[str, float] | None
    trials: Mapping[str, Trials]
    segments: Mapping[str, str] = MappingProxyType({})
    enrol_map: Mapping[str, str] = MappingProxyType({})


def check_free(data: Path, names: Collection[str]) -> set[str]:
    """Return the sets in `data` that adapters made; `VouchError` if one of `names` exists and is not one of them."""
    record = data / RECORD
    with about_file(record, "not a record of stage 0", "remove it and the sets beside it"):
        made = set(json.loads(read_text(record))["sets"]) if record.exists() else set()
    for name in names:
        if name not in made and (data / name).exists():
            raise VouchError(
                f"{data / name}: was not made by stage 0 and is not overwritten;"
                " start at stage 1 to use it, or move it away, or give another data folder"
            )
    return made


def claim(data: Path, names: Collection[str]) -> None:
    """Record the folders `names` of `data` as made by an adapter; `VouchError` if one exists that was not."""
    made = check_free(data, names)
    write_text(data / RECORD, json.dumps({"sets": sorted(made | set(names))}) + "\n")


def write_data_sets(data: Path, sets: Mapping[str, DataSet]) -> None:
    """Write `<data>/<set>` for each set, replacing the output of an earlier run.

    If the tables of a set are unchanged, files of later stages beside them (features) are kept. Otherwise the folder is
    emptied first, since features would belong to other audio. `utt2spk` of a set is written last.

    Raises
    ------
    VouchError
        A folder exists that no adapter made.
    """
    claim(data, sets)
    for name, new in sets.items():
        _clear(data / name, keep_features=_tables_are(data / name, new))
    for name, new in sets.items():
        for file_name, trials in new.trials.items():
            write_trials(data / name / file_name, trials)
        for file_name, table in {"segments": new.segments, "enrol_map": new.enrol_map}.items():
            if table:
                write_table(data / name / file_name, table)
        write_data_dir(data / name, new.wav_scp, new.utt2spk, new.utt2dur)


def _tables_are(folder: Path, new: DataSet) -> bool:
    durations = {utterance: f"{seconds:.3f}" for utterance, seconds in (new.utt2dur or {}).items()}
    expected = {"wav.scp": new.wav_scp, "utt2spk": new.utt2spk, "utt2dur": durations, "segments": new.segments}
    try:
        found = {name: read_table(folder / name) if (folder / name).exists() else {} for name in expected}
    except VouchError:
        return False
    return found == expected


def _clear(folder: Path, keep_features: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "utt2spk").unlink(missing_ok=True)
    anew = [*trial_lists(folder), *folder.glob("enrol_map")]
    for path in anew if keep_features else list(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
