#!/usr/bin/env python3
"""Make data directories of VoxCeleb1 and VoxCeleb2; missing archives are downloaded.

    VOXCELEB_KEY=... local/prepare_voxceleb.py egs/voxceleb/data
    local/prepare_voxceleb.py egs/voxceleb/data --root /corpora --train-on vox2 --trials O,E,H
    local/prepare_voxceleb.py egs/voxceleb/data --train-list train_list.txt --trials veri_test.txt

Below --root are voxceleb1/dev/wav, voxceleb1/test/wav and voxceleb2/dev/aac, each with speaker/video/utterance. Missing
archives are downloaded to <root>/archives (or taken from there), checked and unpacked. An interrupted run continues
where it stopped, and once the folders exist the archives can be deleted. ffmpeg converts the m4a files of VoxCeleb2
into voxceleb2/dev/wav (or flac); failures are listed beside that folder.

The server needs either an access key, for a --url with {key}, or user and password. They are read from VOXCELEB_KEY, or
VOXCELEB_USER and VOXCELEB_PASSWORD, from the file --login, or from the terminal, but never from the command line.

Writes <data>/train, <data>/valid, and <data>/test with all utterances in the trial lists. Validation speakers are
id11199 to id11239 of VoxCeleb1 (the protocol VoxCeleb1_X), or 41 speakers of VoxCeleb2 if training uses only that.
Trial lists are O (cleaned), O-original, and likewise E and H, which test on the development speakers of VoxCeleb1, or
files of '1|0 path path' lines, which may also contain those speakers if their folder exists.
"""

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from vouch.cli.startup import guard_imports

guard_imports(__name__)

from vouch.base.errors import VouchError
from vouch.cli.corpus_options import parse_common
from vouch.cli.messages import ask
from vouch.cli.parser import Parser, run_main
from vouch.corpora.credentials import Credentials
from vouch.corpora.obtain import obtain
from vouch.corpora.prepared import check_free
from vouch.corpora.recordings import drop_unreadable, make_set, write_sets
from vouch.corpora.server import Server
from vouch.corpora.splits import make_trials
from vouch.corpora.tree import Recording, scan
from vouch.corpora.trial_lists import Names, read_trial_list
from voxceleb.parts import ENCODINGS, URL, VOX1_DEV, VOX1_TEST, vox2_folder
from voxceleb.protocol import (
    LISTS,
    META_URL,
    TRAIN_ON,
    VALID_TARGETS,
    check_apart,
    find_lists,
    make_names,
    read_train_list,
    takes_dev,
    valid_speakers,
)

SETS = ("train", "valid", "test")
TRAINS = {"dev": "vox1", "vox2": "vox2"}  # by folder, the value of --train-on that trains on it


class Part(NamedTuple):
    """Recordings in a folder of speakers, and the reason for each that is not usable."""

    folder: Path
    recordings: list[Recording]
    left_out: dict[str, str]


def main() -> None:
    options = parse_options()
    check_free(options.data, SETS)
    server = Server(options.url, Credentials("VOXCELEB", options.login, ask))
    files = find_lists(options.trials, options.root, Server(options.meta_url, option="--meta-url"))
    folders = {"test": obtain(VOX1_TEST, options.root, server)}
    # Trial lists of the user may contain speakers of both halves of VoxCeleb1.
    has_dev = (options.root / VOX1_DEV.folder).is_dir() and not all(word in LISTS for word in options.trials.split(","))
    if options.train_on != "vox2" or takes_dev(options.trials) or has_dev:
        folders["dev"] = obtain(VOX1_DEV, options.root, server)
    if options.train_on != "vox1":
        folders["vox2"] = vox2_folder(options.root, server, options.encoding, options.nj)
    write(options, files, folders)


def parse_options() -> Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--train-on", default="vox2", choices=TRAIN_ON, help="which development set to train on")
    parser.add_argument("--trials", default="O,O-original", metavar="LIST,...", help=f"of {', '.join(LISTS)} or files")
    parser.add_argument(
        "--train-list", type=Path, metavar="FILE", help="'speaker path' lines: train and validate on these alone"
    )
    parser.add_argument("--encoding", default="wav", choices=ENCODINGS, help="format of VoxCeleb2; m4a: unconverted")
    parser.add_argument("--meta-url", default=META_URL, metavar="URL", help="address of the trial lists, with {name}")
    parser.add_argument("--login", type=Path, metavar="FILE", help="one line, the key, or two, user and password")
    options = parse_common(parser, URL)
    if options.train_on != "vox2" and takes_dev(options.trials):
        raise VouchError(
            f"--trials {options.trials}: E and H test on the development speakers of VoxCeleb1; use --train-on vox2"
        )
    return options


def write(options: Namespace, files: dict[str, Path], folders: dict[str, Path]) -> None:
    """Write the sets from the recordings in the folders "test", "dev" (VoxCeleb1) and "vox2"."""
    parts: dict[str, Part] = {}
    durations: dict[str, float | None] = {}
    for name, folder in folders.items():
        usable, seconds, left_out = drop_unreadable(folder, scan(folder), options.nj)
        parts[name] = Part(folder, usable, left_out)
        durations |= seconds
    training = [parts[name] for name in ("dev", "vox2") if name in parts and options.train_on in (TRAINS[name], "both")]
    pool = [recording for part in training for recording in part.recordings]
    if options.train_list:
        pool = read_train_list(options.train_list, names_in(training, options.root), pool)
    held_out = valid_speakers(options.train_on, {recording.speaker for recording in pool})
    testing = [parts[name] for name in ("test", "dev") if name in parts]
    names = names_in(testing, options.root)
    lists = {name: read_trial_list(file, names) for name, file in files.items()}
    tested = [recording for part in testing for recording in part.recordings]
    check_apart(lists, {r.utterance: r.speaker for r in tested}, {recording.speaker for recording in pool})
    listed = {utterance for trials in lists.values() for utterance in (*trials.enrol, *trials.test)}
    chosen = {
        "train": [recording for recording in pool if recording.speaker not in held_out],
        "valid": [recording for recording in pool if recording.speaker in held_out],
        "test": [recording for recording in tested if recording.utterance in listed],
    }
    speakers = {recording.utterance: recording.speaker for recording in chosen["valid"]}
    videos = {recording.utterance: recording.session for recording in chosen["valid"]}
    trials = {"train": {}, "valid": {"trials": make_trials(speakers, videos, VALID_TARGETS, 1)}, "test": lists}
    where = {r.utterance: part.folder / r.path for part in parts.values() for r in part.recordings}
    sets = {name: make_set(found, where, durations, trials[name]) for name, found in chosen.items()}
    write_sets(options.data, sets)


def names_in(parts: Sequence[Part], root: Path) -> Names:
    """Return the names that lists may use for recordings: paths below their folder or below the root."""
    spellings = ((p.folder, p.folder.resolve(), p.folder.relative_to(root)) for p in parts)
    roots = [spelling for three in spellings for spelling in three]
    left_out = {path: reason for part in parts for path, reason in part.left_out.items()}
    return make_names([recording for part in parts for recording in part.recordings], roots, left_out)


if __name__ == "__main__":
    run_main(main)
