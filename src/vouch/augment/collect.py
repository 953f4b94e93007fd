"""Finds recordings of noises and rooms in folders of other people, and packs those that are of use into a bank."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

import numpy as np

from vouch.audio.reading import read_audio
from vouch.audio.tree import AUDIO_SUFFIXES, walk_audio
from vouch.augment.bank import is_current, read_bank, write_bank
from vouch.base.channels import MEAN
from vouch.base.errors import VouchError, attempt, nearest
from vouch.base.files import read_text

# Responses of rooms; all other kinds are noises.
ROOM = "room"
# A noise whose mean square is below this, -100 dB, is silence: nothing can be brought to a level with it.
SILENCE = 1e-10
# So is a response whose largest sample is below this, some steps of 16 bits.
SILENT_PEAK = 1e-4
# Changes when the same files are packed otherwise.
_VERSION = 1
# What the operating system says about a file that will never be read.
_FILE_ERRORS = (PermissionError, FileNotFoundError)
LISTED_ROOMS, LISTED_NOISES = "rir_list", "noise_list"


@dataclass(frozen=True)
class Collection:
    """What a bank is packed from.

    Attributes
    ----------
    sources : mapping of str to Path
        Folder of each kind.
    sample_rate : int
        In Hz; recordings at higher rates are resampled.
    held_back : set of str
        Files that are kept for tests, by their paths below their folders.
    only_held_back : bool
        Whether exactly those are packed, instead of all others.
    simulated : int
        Rooms that are simulated beside those of the folders, see `vouch.augment.simulation`.
    seed : int
        Of the simulated rooms.
    """

    sources: Mapping[str, Path]
    sample_rate: int
    held_back: frozenset[str] = frozenset()
    only_held_back: bool = False
    simulated: int = 0
    seed: int = 0

    def find(self) -> Found:
        """Find the files.

        Raises
        ------
        VouchError
            A folder cannot be read, or a file that is held back is nowhere.
        """
        found = Found({}, {})
        names: list[str] = []
        for kind, source in self.sources.items():
            for path in _hidden(source):
                found.leave_out("hidden, as macOS leaves them beside what it copies", kind, path)
            usable: list[str] = []
            for name in _names(source):
                names.append(name)
                if (name in self.held_back) == self.only_held_back:
                    usable.append(name)
            if kind == ROOM:
                usable = [name for name in usable if not _is_noise(source, name, found)]
            found.names[kind] = usable
        for name in sorted(self.held_back - set(names)):
            raise VouchError(f"'{name}', which is to be held back, is in no folder{nearest(name, names)}")
        return found

    def identify(self, found: Found) -> str:
        """Return a digest of options and files, by names, sizes and times."""
        files = {}
        for kind, names in found.names.items():
            files[kind] = [(name, *_size_and_time(self.sources[kind] / name)) for name in names]
        rooms = (self.simulated, self.seed) if self.simulated else ()
        return hashlib.sha256(json.dumps([_VERSION, self.sample_rate, files, rooms]).encode()).hexdigest()


@dataclass(frozen=True)
class Found:
    """Files that are found.

    Attributes
    ----------
    names : dict of str to list of str
        By kind: paths below the folder, sorted.
    left_out : dict of str to dict of str to str
        For each reason: the files, "KIND/PATH", with more about each.
    """

    names: dict[str, list[str]]
    left_out: dict[str, dict[str, str]] = field(default_factory=dict)

    def leave_out(self, why: str, kind: str, name: str, more: str = "") -> None:
        """Count a file that is of no use."""
        self.left_out.setdefault(why, {})[f"{kind}/{name}"] = more


def pack(
    folder: str | Path,
    collection: Collection,
    found: Found,
    simulated: Iterable[tuple[str, np.ndarray]] = (),
    progress: Callable[[int], object] = lambda count: None,
) -> None:
    """Pack the files into a bank; those that are of no use are added to `found.left_out`.

    Left out is what cannot be read, is silent, or has a lower sampling rate than the bank, since speech with noise of a
    telephone's band only would be of another kind. So are noises of several channels, whose mean may cancel. Of a
    response of several channels the first is taken: most recorded responses have several, and of Ambisonic ones (W, X,
    Y, Z) the first is the one that hears all directions alike.

    Parameters
    ----------
    folder : str or Path
        Where to write the bank.
    collection : Collection
    found : Found
        What `collection.find` returned.
    simulated : iterable of tuple of str and ndarray
        Names and samples of the simulated responses.
    progress : callable
        Called with 1 after each recording.

    Raises
    ------
    VouchError
        There are no files, or those of some kind are all of no use.
    """

    def each(kind: str, names: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
        count = 0
        for name in names:
            progress(1)
            samples = _read(collection, kind, name, found)
            if samples is not None:
                count += 1
                yield name, samples
        if kind == ROOM:
            for name, response in simulated:
                progress(1)
                count += 1
                yield name, response / np.abs(response).max()
        if not count:
            raise VouchError(_of_no_use(collection, kind, found))

    recordings = {kind: each(kind, names) for kind, names in found.names.items() if names}
    if collection.simulated:
        recordings[ROOM] = each(ROOM, found.names.get(ROOM, []))
    if not recordings:
        where = " and ".join(map(str, collection.sources.values()))
        raise VouchError(f"{where}: no audio files{' that are held back' if collection.only_held_back else ''}")
    write_bank(folder, recordings, collection.sample_rate, collection.identify(found), found.left_out)


def _read(collection: Collection, kind: str, name: str, found: Found) -> np.ndarray | None:
    """Return the samples of a file, or None after it was left out."""
    rate = collection.sample_rate
    try:
        audio = read_audio(str(collection.sources[kind] / name), rate, 0 if kind == ROOM else MEAN)
    except VouchError as error:
        if isinstance(error.__context__, (OSError, MemoryError)) and not isinstance(error.__context__, _FILE_ERRORS):
            raise  # the disk's fault, not the file's: another time it may be read
        found.leave_out("not readable", kind, name, str(error))
        return None
    peak = float(np.abs(audio.samples).max())
    if audio.source_rate < rate:
        found.leave_out(f"of a lower sampling rate than {rate} Hz", kind, name, f"{audio.source_rate} Hz")
    elif kind != ROOM and audio.source_channels > 1:
        found.leave_out("of several channels", kind, name, f"{audio.source_channels} channels")
    elif peak < SILENT_PEAK if kind == ROOM else float(np.mean(np.square(audio.samples, dtype=np.float64))) < SILENCE:
        found.leave_out("silent", kind, name)
    elif kind == ROOM:
        # Of a response only the shape counts, so that it may use all of the 16 bits.
        return audio.samples / peak
    else:
        return audio.samples / max(1.0, peak)
    return None


def read_held_back(path: str | Path) -> frozenset[str]:
    """Read the names of files that are held back, one a line; `VouchError` when there are none."""
    names = frozenset(line.strip() for line in read_text(path).splitlines() if line.strip())
    if not names:
        raise VouchError(f"{path}: names no files")
    return names


def is_packed(folder: str | Path, collection: Collection, found: Found) -> bool:
    """Return whether a folder holds the bank of these files and options already, undamaged."""
    if not is_current(folder, collection.identify(found)):
        return False
    return not isinstance(attempt(read_bank, folder, collection.sample_rate), VouchError)


def _of_no_use(collection: Collection, kind: str, found: Found) -> str:
    told = []
    for why, files in found.left_out.items():
        names = [name for name in files if name.startswith(f"{kind}/")]
        if names:
            told.append(f"{len(names)} {why} (such as {names[0]})")
    return f"{collection.sources[kind]}: no recording of '{kind}' is of use: {', '.join(told)}"


def _names(folder: Path) -> list[str]:
    try:
        return sorted(str(Path(path).relative_to(folder)) for path in walk_audio(str(folder)))
    except OSError as error:
        raise VouchError(f"{error.filename}: {error.strerror}") from None


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        state = path.stat()
    except _FILE_ERRORS:  # such as a link that leads nowhere
        return -1, -1
    return state.st_size, state.st_mtime_ns


def _hidden(folder: Path) -> list[str]:
    found = (path for path in folder.rglob("._*") if path.suffix.lower() in AUDIO_SUFFIXES)
    return sorted(str(path.relative_to(folder)) for path in found)


def _is_noise(folder: Path, name: str, found: Found) -> bool:
    """Whether a file of a folder of responses is a noise: RIRS_NOISES has both, and lists them in files beside them."""
    for part in PurePath(name).parents:
        if not (folder / part / LISTED_NOISES).exists():
            continue
        listed = folder / part / LISTED_ROOMS
        rooms = read_text(listed).splitlines() if listed.exists() else []
        if PurePath(name).name in {PurePath(line.split()[-1]).name for line in rooms if line.strip()}:
            return False
        found.leave_out("noises, not rooms", ROOM, name)
        return True
    return False
