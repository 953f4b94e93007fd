"""Reads all tables of a data directory, restricts them to some utterances, and writes them together."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from vouch.base.errors import VouchError
from vouch.base.files import atomic_write, lock_file, write_text
from vouch.kaldi.tables import read_table

UTTERANCE_TABLES = (
    *("feats.scp", "text", "vad.scp", "segments"),
    *("utt2dur", "utt2lang", "utt2num_frames", "utt2uniq", "utt2warp"),
)
SPEAKER_TABLES = ("cmvn.scp", "spk2gender", "spk2warp")
# The keys of these tables are recordings, which are the utterances if there is no `segments`.
RECORDING_TABLES = ("wav.scp", "reco2dur", "reco2file_and_channel")
KEYED_TABLES = (*UTTERANCE_TABLES, *SPEAKER_TABLES, *RECORDING_TABLES)
# Files without keys.
WHOLE_FILES = ("frame_shift", "stm", "glm", "ctm")
KNOWN_FILES = ("utt2spk", "spk2utt", *KEYED_TABLES, *WHOLE_FILES)

Table = dict[str, str]


def read_tables(path: str | Path, names: Iterable[str]) -> dict[str, Table]:
    """Read `utt2spk` and the other tables that exist, by file name.

    Raises
    ------
    VouchError
        There is no such directory, or a table is malformed (the message names file and line).
    """
    path = Path(path)
    if not path.is_dir():
        raise VouchError(f"{path}: no such data directory")
    tables = {"utt2spk": read_table(path / "utt2spk")}
    for number, (utterance, speaker) in enumerate(tables["utt2spk"].items(), start=1):
        if speaker.split() != [speaker]:
            raise VouchError(f"{path}/utt2spk:{number}: '{utterance} {speaker}' has more than two fields")
    for name in names:
        if (path / name).exists():
            tables[name] = read_table(path / name, bare=name == "text")
    return tables


def read_whole_files(path: Path, names: Iterable[str]) -> dict[str, bytes]:
    """Read the files without keys that exist, by file name."""
    return {name: (path / name).read_bytes() for name in names if (path / name).exists()}


def invert(utt2spk: Mapping[str, str]) -> Table:
    """Return `spk2utt`, with speakers in order of appearance and utterances in the order of `utt2spk`."""
    spk2utt: dict[str, list[str]] = {}
    for utterance, speaker in utt2spk.items():
        spk2utt.setdefault(speaker, []).append(utterance)
    return {speaker: " ".join(utterances) for speaker, utterances in spk2utt.items()}


def restrict(
    tables: Mapping[str, Table], utterances: Sequence[str], by_speaker: Collection[str] = SPEAKER_TABLES
) -> dict[str, Table]:
    """Return the lines of all tables that belong to the given utterances, with a new `spk2utt`.

    Parameters
    ----------
    tables : mapping of str to Table
        From `read_tables`.
    utterances : sequence of str
        Keys of utt2spk, in C-locale order.
    by_speaker : collection of str
        Names of the tables whose keys are speakers.
    """
    utt2spk = {utterance: tables["utt2spk"][utterance] for utterance in utterances}
    speakers = sorted(set(utt2spk.values()))
    recordings: Sequence[str] = utterances
    if "segments" in tables:
        segments = tables["segments"]
        recordings = sorted({segments[utterance].split()[0] for utterance in utterances if utterance in segments})
    kept = {"utt2spk": utt2spk, "spk2utt": invert(utt2spk)}
    for name, table in tables.items():
        if name not in kept:
            keys = speakers if name in by_speaker else recordings if name in RECORDING_TABLES else utterances
            kept[name] = {key: table[key] for key in keys if key in table}
    return kept


def format_table(path: Path, table: Mapping[str, str]) -> str:
    """Return the lines of a table in C-locale order.

    Raises
    ------
    VouchError
        A key has blanks or is empty.
    """
    for key in table:
        if key.split() != [key]:
            raise VouchError(f"{path}: {key!r} cannot be a key; ids have no blanks")
    return "".join(f"{key} {table[key]}".rstrip() + "\n" for key in sorted(table))


def write_tables(folder: Path, tables: Mapping[str, Mapping[str, str]], files: Mapping[str, bytes]) -> None:
    """Write tables and files without keys into a folder, as they are."""
    for name, table in tables.items():
        write_text(folder / name, format_table(folder / name, table))
    for name, content in files.items():
        with atomic_write(folder / name, "wb") as file:
            file.write(content)


@contextlib.contextmanager
def building(path: Path) -> Iterator[Path]:
    """Create an empty folder beside `path` to build a directory in; it is removed when the block ends.

    Raises
    ------
    VouchError
        Another process is building the same directory.
    """
    folder = path.with_name(f".{path.name}.partial")
    if folder.is_symlink():
        # Only the link is removed, since the folder that it points to is not ours.
        folder.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        lock_file(descriptor, f"{path}: another process is writing this directory; wait for it or stop it")
        for left_over in folder.iterdir():
            shutil.rmtree(left_over) if left_over.is_dir() else left_over.unlink()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)


def publish(folder: Path, path: Path) -> None:
    """Move the built `folder` to the data directory `path`.

    An existing directory keeps its other files and folders. Its `utt2spk`, which every reader needs, is removed first
    and written last, so that no later stage accepts the mixture that a killed run leaves.

    Raises
    ------
    VouchError
        `path` is not a data directory.
    """
    if path.exists() and not path.is_dir():
        raise VouchError(f"{path}: is a file, not a data directory")
    if not path.exists():
        folder.rename(path)
        return
    if not any((path / name).exists() for name in KNOWN_FILES) and any(path.iterdir()):
        raise VouchError(f"{path}: is not empty and no data directory; give another name")
    for name in sorted(KNOWN_FILES, key=lambda name: name != "utt2spk"):
        (path / name).unlink(missing_ok=True)
    for new in sorted(folder.iterdir(), key=lambda new: new.name == "utt2spk"):
        new.replace(path / new.name)


def write_dir(path: str | Path, tables: Mapping[str, Mapping[str, str]], files: Mapping[str, bytes]) -> None:
    """Write a data directory, whole or not at all; in an existing one, the given tables are replaced.

    Parameters
    ----------
    path : str or Path
        The directory.
    tables : mapping of str to mapping of str to str
        Tables by file name; must include `utt2spk`.
    files : mapping of str to bytes
        Contents of files without keys, by name.

    Raises
    ------
    VouchError
        There is nothing to write, or as from `building` and `publish`.
    """
    path = Path(path).resolve()
    if not tables["utt2spk"]:
        raise VouchError(f"{path}: no utterances are left")
    with building(path) as folder:
        write_tables(folder, tables, files)
        publish(folder, path)
