"""Combines several data directories into one, as Kaldi's utils/combine_data.sh does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from vouch.base.errors import VouchError
from vouch.kaldi.datadirs.repair import repair_tables
from vouch.kaldi.datadirs.tables import Table, invert, read_tables, read_whole_files, write_dir

TABLES = (
    *("utt2lang", "utt2dur", "utt2num_frames", "reco2dur", "feats.scp", "text", "cmvn.scp", "vad.scp"),
    *("reco2file_and_channel", "wav.scp", "spk2gender"),
)


class Combined(NamedTuple):
    """Summary of a combination.

    Attributes
    ----------
    utterances : int
        Number of utterances.
    skipped : dict of str to Path
        Tables that some sources lack, with the first source that lacks them.
    removed : list of str
        One line for each kind of line that was removed because tables did not match.
    """

    utterances: int
    skipped: dict[str, Path]
    removed: list[str]


def combine_data_dirs(
    target: str | Path, sources: Sequence[Path], extra_tables: Sequence[str] = (), fix: bool = True
) -> Combined:
    """Write the union of data directories, whole or not at all.

    A table is copied if all sources have it. `utt2uniq` and `segments` are copied if any source has them: an utterance
    of another source becomes its own original, and a segment from 0 to the duration in utt2dur.

    Parameters
    ----------
    target : str or Path
        The directory to write.
    sources : sequence of Path
        Data directories.
    extra_tables : sequence of str
        Further tables to copy.
    fix : bool
        Whether to remove lines that do not match other tables, as `repair_data_dir` does.

    Raises
    ------
    VouchError
        A table is malformed, the same id has different values in two sources, the frame shifts differ, or a source
        without `segments` has no utt2dur.
    """
    target = Path(target)
    if target.resolve() in [source.resolve() for source in sources]:
        raise VouchError(f"{target}: is one of the sources; the directory to write is given first")
    frame_shift = _frame_shift(sources)
    names = [*TABLES, *extra_tables]
    read = [read_tables(source, [*names, "utt2uniq", "segments"]) for source in sources]
    _fill_up(sources, read)
    skipped: dict[str, Path] = {}
    combined: dict[str, Table] = {}
    for name in ("utt2spk", "utt2uniq", "segments", *names):
        missing = [source for source, tables in zip(sources, read, strict=True) if name not in tables]
        if not missing:
            combined[name] = _unite(name, sources, [tables[name] for tables in read])
        elif len(missing) < len(sources):
            skipped[name] = missing[0]
    removed: list[str] = []
    combined["spk2utt"] = invert(combined["utt2spk"])
    if fix:
        combined, removed = repair_tables(target, combined)
    write_dir(target, combined, frame_shift)
    return Combined(len(combined["utt2spk"]), skipped, removed)


def _frame_shift(sources: Sequence[Path]) -> dict[str, bytes]:
    """Return the frame_shift file of the sources with features, which must agree."""
    shifts: dict[str, Path] = {}
    files: dict[str, bytes] = {}
    for source in sources:
        if (source / "feats.scp").exists():
            files |= read_whole_files(source, ["frame_shift"])
            if "frame_shift" in files:
                shifts.setdefault(files["frame_shift"].decode(errors="replace").strip(), source)
    if len(shifts) > 1:
        listed = ", ".join(f"{shift} in {source}" for shift, source in shifts.items())
        raise VouchError(f"the frame shifts differ: {listed}; make the features alike (steps/make_fbank.py)")
    return files


def _fill_up(sources: Sequence[Path], read: Sequence[dict[str, Table]]) -> None:
    """Give every source utt2uniq and segments if any source has them."""
    for name in ("utt2uniq", "segments"):
        if not any(name in tables for tables in read):
            continue
        for source, tables in zip(sources, read, strict=True):
            if name in tables:
                continue
            if name == "utt2uniq":
                tables[name] = {utterance: utterance for utterance in tables["utt2spk"]}
            elif "utt2dur" not in tables:
                raise VouchError(f"{source}/utt2dur: no such file; it is needed because other sources have segments")
            else:
                tables[name] = {utterance: f"{utterance} 0 {end}" for utterance, end in tables["utt2dur"].items()}


def _unite(name: str, sources: Sequence[Path], tables: Sequence[Table]) -> Table:
    united: Table = {}
    for table in tables:
        clashing = next((key for key in united.keys() & table.keys() if united[key] != table[key]), None)
        if clashing is not None:
            first = next(source for source, earlier in zip(sources, tables, strict=True) if clashing in earlier)
            here = sources[tables.index(table)]
            raise VouchError(
                f"{here}/{name}: '{clashing} {table[clashing]}', and in {first}: '{clashing} {united[clashing]}';"
                " rename one of them with utils/copy_data_dir.py"
            )
        united |= table
    return dict(sorted(united.items()))
