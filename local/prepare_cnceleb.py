#!/usr/bin/env python3
"""Make data directories of CN-Celeb1 and CN-Celeb2; missing archives are downloaded.

    local/prepare_cnceleb.py egs/cnceleb/data
    local/prepare_cnceleb.py egs/cnceleb/data --root /corpora --train-on cnceleb1 --enrolment concatenated

Below --root are CN-Celeb_flac and CN-Celeb2_flac as unpacked from their archives:
data/<speaker>/<genre>-<session>-<number>, and in the first also dev/dev.lst (the 800 training speakers, one per line),
eval/enroll, eval/test and eval/lists. Missing archives are downloaded to <root>/archives and unpacked. The lists may
say .wav where the files are .flac. The format of enroll.map has not been checked against a real copy: lines are
expected to be '<speaker>-enroll <speaker>/<name>.wav ...' with paths below data, with or without '-enroll' and 'data/'.

Writes <data>/train and <data>/valid, which gets 2 % of the training speakers, and <data>/test with `trials`. With
--enrolment utterances, an enrolment is the mean over the utterances in enroll.map (written to <data>/test/enrol_map);
with concatenated it is the recording in eval/enroll. The two give different error rates, so report which one was used.
"""

import sys
from argparse import Namespace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from vouch.cli.startup import guard_imports

guard_imports(__name__)

from cnceleb.protocol import find_enrolments, find_recordings, read_trials
from vouch.base.errors import VouchError
from vouch.cli.corpus_options import parse_common
from vouch.cli.parser import Parser, run_main
from vouch.corpora.obtain import Archive, obtain
from vouch.corpora.prepared import DataSet, check_free
from vouch.corpora.recordings import drop_unreadable, make_set, write_sets
from vouch.corpora.server import Server
from vouch.corpora.splits import hold_out, make_trials
from vouch.corpora.tree import Recording, scan
from vouch.kaldi.tables import read_lines

URL = "https://www.openslr.org/resources/82/{name}"
CNCELEB1 = Archive("cn-celeb_v2.tar.gz", "7ab1b214028a7439e26608b2d5a0336c", "CN-Celeb_flac")
CNCELEB2 = Archive(
    "cn-celeb2_v2.tar.gz",
    "55c47cf0b6d0bf793e88bf79d5dfc660",
    "CN-Celeb2_flac",
    pieces={
        "cn-celeb2_v2.tar.gzaa": "4cdf738cff565ce35ad34274848659c3",
        "cn-celeb2_v2.tar.gzab": "4ff59a7009b79ef7043498ad3882b81b",
        "cn-celeb2_v2.tar.gzac": "3aa8e6e7f7ec4382f9926b1b31498228",
    },
)
VALID_SHARE = 0.02


def main() -> None:
    options = parse_options()
    check_free(options.data, ("train", "valid", "test"))
    server = Server(options.url)
    root = obtain(CNCELEB1, options.root, server)
    test = make_test(root, options.enrolment, options.nj)
    pool: list[Recording] = []
    where: dict[str, Path] = {}
    durations: dict[str, float | None] = {}
    for folder in training_folders(options, root, server):
        found = scan(folder)
        if folder.parent == root:
            speakers = {line.strip().partition("/")[0] for line in read_lines(root / "dev" / "dev.lst")}
            found = [recording for recording in found if recording.speaker in speakers]
        usable, seconds, _ = drop_unreadable(folder, found, options.nj)
        pool += usable
        where |= {recording.utterance: folder / recording.path for recording in usable}
        durations |= seconds
    tested = {recording.speaker for recording in pool} & set(test.utt2spk.values())
    if tested:
        raise VouchError(f"{root}/dev/dev.lst: '{min(tested)}' is a test speaker too")
    held_out = hold_out({recording.speaker for recording in pool}, VALID_SHARE, 2)
    train = [recording for recording in pool if recording.speaker not in held_out]
    valid = [recording for recording in pool if recording.speaker in held_out]
    sessions = {recording.utterance: recording.utterance.rpartition("-")[0] for recording in valid}
    trials = make_trials({recording.utterance: recording.speaker for recording in valid}, sessions)
    sets = {
        "train": make_set(train, where, durations, {}),
        "valid": make_set(valid, where, durations, {"trials": trials}),
        "test": test,
    }
    write_sets(options.data, sets)


def parse_options() -> Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--train-on", default="both", choices=("cnceleb1", "both"), help="which corpus to train on")
    parser.add_argument(
        "--enrolment", default="utterances", choices=("utterances", "concatenated"), help="what an enrolment is"
    )
    return parse_common(parser, URL)


def training_folders(options: Namespace, root: Path, server: Server) -> list[Path]:
    """Return the folders that contain the speakers' folders."""
    second = [obtain(CNCELEB2, options.root, server) / "data"] if options.train_on == "both" else []
    return [root / "data", *second]


def make_test(root: Path, enrolment: str, threads: int) -> DataSet:
    """Make the test set of CN-Celeb1."""
    tests = find_recordings(root, "test")
    if enrolment == "utterances":
        enrolments = find_enrolments(root)
    else:
        enrolments = {name: [recording] for name, recording in find_recordings(root, "enroll").items()}
    enrolled = [recording for recordings in enrolments.values() for recording in recordings]
    usable, durations, _ = drop_unreadable(root, [*tests.values(), *enrolled], threads)
    known = {recording.utterance for recording in usable}
    tests = {name: recording for name, recording in tests.items() if recording.utterance in known}
    members = {name: [r.utterance for r in found if r.utterance in known] for name, found in enrolments.items()}
    trials = read_trials(root, {name for name, utterances in members.items() if utterances}, tests)
    where = {recording.utterance: root / recording.path for recording in usable}
    made = make_set(usable, where, durations, {"trials": trials})
    if enrolment == "concatenated":
        return made
    return made._replace(enrol_map={name: " ".join(utterances) for name, utterances in members.items() if utterances})


if __name__ == "__main__":
    run_main(main)
