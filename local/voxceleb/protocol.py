"""Defines the training, validation and test speakers of VoxCeleb, and its trial lists."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Set
from pathlib import Path
from typing import NamedTuple

from vouch.base.errors import VouchError, pick
from vouch.cli.messages import warn
from vouch.corpora.download import fetch
from vouch.corpora.server import Server
from vouch.corpora.splits import hold_out
from vouch.corpora.tree import Recording
from vouch.corpora.trial_lists import Names
from vouch.kaldi.lists.trials import Trials, list_name
from vouch.kaldi.tables import read_lines

TRAIN_ON = ("vox1", "vox2", "both")
# Development speakers held out by the protocol VoxCeleb1_X: those whose names begin with U, V or W.
VALID_SPEAKERS = frozenset(f"id{number}" for number in range(11199, 11240))
# Number of target trials for validation, as in VoxCeleb1_X; there are as many non-target trials.
VALID_TARGETS = 20_500
META_URL = "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/meta/{name}"


class TrialList(NamedTuple):
    """A published list: its file, its number of trials, and whether it uses the development speakers of VoxCeleb1."""

    file: str
    trials: int
    takes_dev: bool


LISTS = {
    "O": TrialList("veri_test2.txt", 37_611, False),
    "O-original": TrialList("veri_test.txt", 37_720, False),
    "E": TrialList("list_test_all2.txt", 579_818, True),
    "E-original": TrialList("list_test_all.txt", 581_480, True),
    "H": TrialList("list_test_hard2.txt", 550_894, True),
    "H-original": TrialList("list_test_hard.txt", 552_536, True),
}


def find_lists(words: str, root: Path, server: Server) -> dict[str, Path]:
    """Return the files of comma-separated names of `LISTS` or paths, by their names in the data directory (`trials_O`).

    Published lists are taken from `<root>/meta`, or downloaded to there.

    Raises
    ------
    VouchError
        A word is neither a name nor a file, or two words give the same name; or as from `fetch`.
    """
    found: dict[str, Path] = {}
    for word in words.split(","):
        own = Path(word)
        name = list_name(word if word in LISTS else own.stem)
        if name in found:
            raise VouchError(f"--trials {words}: '{word}' would be '{name}', as {found[name]} is")
        if word in LISTS or not own.is_file():
            published = pick(LISTS, word, "trial list, nor is there a file of this name:")
            own = root / "meta" / published.file
            fetch(server, published.file, own)
            _check_count(own, published)
        found[name] = own
    return found


def _check_count(path: Path, published: TrialList) -> None:
    count = len(read_lines(path))
    if count != published.trials:
        warn(f"{path}: {count} trials, the published list has {published.trials}")


def takes_dev(words: str) -> bool:
    """Return whether trial lists use the development speakers of VoxCeleb1; False for files, where it is unknown."""
    return any(LISTS[word].takes_dev for word in words.split(",") if word in LISTS)


def make_names(recordings: Sequence[Recording], roots: Collection[Path], left_out: Mapping[str, str]) -> Names:
    """Return the names of recordings in lists, whose paths always end in .wav."""
    known = {_as_listed(recording.path): recording.utterance for recording in recordings}
    return Names(known, [str(root) for root in roots], {_as_listed(path): why for path, why in left_out.items()})


def _as_listed(path: str) -> str:
    return path.rpartition(".")[0] + ".wav"


def read_train_list(path: Path, names: Names, recordings: Sequence[Recording]) -> list[Recording]:
    """Read a list of `<speaker> <path>` lines (voxceleb_trainer) and return the recordings in it.

    Raises
    ------
    VouchError
        A line has another form, names a file that does not exist or occurs twice, or gives another speaker than the
        folder; the message names file and line.
    """
    by_id = {recording.utterance: recording for recording in recordings}
    chosen: dict[str, Recording] = {}
    for number, line in enumerate(read_lines(path), start=1):
        where = f"{path}:{number}"
        fields = line.split()
        if len(fields) < 2:
            raise VouchError(f"{where}: '{line.strip()}' is not '<speaker> <path>'")
        utterance = names.find(fields[1])
        if utterance is None:
            raise VouchError(f"{where}: {names.complaint(fields[1])}")
        if by_id[utterance].speaker != fields[0]:
            raise VouchError(f"{where}: '{fields[1]}' is of '{by_id[utterance].speaker}' and not of '{fields[0]}'")
        if utterance in chosen:
            raise VouchError(f"{where}: '{fields[1]}' is there twice")
        chosen[utterance] = by_id[utterance]
    return list(chosen.values())


def valid_speakers(train_on: str, speakers: Collection[str]) -> set[str]:
    """Return the speakers to validate on.

    If VoxCeleb1 is in the training set, they are those of VoxCeleb1_X; for VoxCeleb2 alone, the same number of its
    speakers, so that none of the speakers in the lists E and H is used before the test.

    Raises
    ------
    VouchError
        There are no such speakers, or too few.
    """
    if train_on == "vox2":
        return set(hold_out(speakers, 0.0, min(len(VALID_SPEAKERS), max(2, len(speakers) // 10))))
    found = set(speakers) & VALID_SPEAKERS
    if len(found) < 2:
        raise VouchError(
            f"the training recordings have {len(found)} of the speakers id11199 to id11239, who are validated on;"
            " at least 2 are needed"
        )
    return found


def check_apart(lists: Mapping[str, Trials], utt2spk: Mapping[str, str], trained: Set[str]) -> None:
    """Raise an error for trials of training or validation speakers, and warn of labels that contradict the folders."""
    for name, trials in lists.items():
        speakers = [(utt2spk[enrol], utt2spk[test]) for enrol, test in zip(trials.enrol, trials.test, strict=True)]
        for number, pair in enumerate(speakers, start=1):
            if not trained.isdisjoint(pair):
                raise VouchError(
                    f"{name}:{number}: {pair[0] if pair[0] in trained else pair[1]} is a speaker that is trained or"
                    " validated on; --train-on vox2 leaves all of VoxCeleb1 for testing"
                )
        wrong = sum((one == other) != label for (one, other), label in zip(speakers, trials.is_target, strict=True))
        if wrong:
            warn(f"{name}: {wrong} of {len(speakers)} trials are labelled against their folders")
