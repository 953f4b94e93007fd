#!/usr/bin/env python3
"""Make data directories from a folder of recordings: speaker/utterance.wav, speaker/session/utterance.wav, or deeper.

    local/prepare_folders.py egs/folders/data --root /data/speakers
    local/prepare_folders.py egs/folders/data --root /data/speakers --test-speakers test.txt --trials easy --trials hard
    local/prepare_folders.py egs/folders/data --root /data/another --test-only

Writes <data>/train, <data>/valid and <data>/test with disjoint speakers, and trial lists for valid and test. The
recordings (wav, flac, ogg, mp3 and, through ffmpeg, m4a, at any rate and with any number of channels) are neither
copied nor converted. Utterance ids are <speaker>-<folders>-<file name without suffix>; characters that Kaldi's tables
do not allow, and '-' in a speaker's name, become '_'.

Without --test-speakers or --trials, a tenth of the speakers, at least 2, are test speakers. A tenth of the others, at
least 2, are held out for validation. If no trial list is given, one is made: up to 10,000 target trials, across
sessions for speakers with several (a session is a folder below the speaker's), and 10 non-target trials for each. The
same folder always gives the same sets and trials.
"""

import os
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from vouch.cli.startup import guard_imports

guard_imports(__name__)

from folders.protocol import LEAST, check_list, choose_speakers, name_lists, read_speakers
from vouch.base.errors import VouchError
from vouch.cli.messages import warn
from vouch.cli.parser import Parser, run_main
from vouch.corpora.prepared import check_free
from vouch.corpora.recordings import drop_unreadable, make_set, write_sets
from vouch.corpora.splits import make_trials
from vouch.corpora.tree import Recording, scan
from vouch.corpora.trial_lists import Names, read_trial_list
from vouch.kaldi.lists.trials import Trials


def main() -> None:
    options = parse_options()
    root = Path(os.path.abspath(options.root))
    check_free(options.data, ("test",) if options.test_only else ("train", "valid", "test"))
    recordings, durations, left_out = drop_unreadable(root, scan(root), options.nj)
    utt2spk = {recording.utterance: recording.speaker for recording in recordings}
    spellings = (options.root, str(root), os.path.realpath(root))
    names = Names({recording.path: recording.utterance for recording in recordings}, spellings, left_out)
    files = name_lists(options.trials)
    lists = {name: read_trial_list(path, names) for name, path in files.items()}
    if options.test_only:
        speakers = {"test": set(utt2spk.values())}
    else:
        test = None
        if options.test_speakers:
            test = read_speakers(options.test_speakers, root, recordings)
        elif lists:
            test = {utt2spk[utterance] for trials in lists.values() for utterance in (*trials.enrol, *trials.test)}
        speakers = choose_speakers(root, recordings, test, options.valid_speakers)
    for name, trials in lists.items():
        disagreeing = check_list(files[name], trials, utt2spk, speakers["test"])
        if disagreeing:
            warn(f"{files[name]}: {disagreeing} of {len(trials.enrol)} trials are labelled against their folders")
    where = {recording.utterance: root / recording.path for recording in recordings}
    sets = {}
    for name, members in speakers.items():
        chosen = [recording for recording in recordings if recording.speaker in members]
        lists_of_set = lists if name == "test" and lists else own_trials(name, chosen)
        sets[name] = make_set(chosen, where, durations, lists_of_set)
    write_sets(options.data, sets)


def parse_options() -> Namespace:
    parser = Parser(__doc__)
    parser.add_argument("data", type=Path, help="folder for the sets; those that an earlier run made are replaced")
    parser.add_argument("--root", required=True, help="folder whose folders are the speakers")
    parser.add_argument("--test-speakers", type=Path, metavar="FILE", help="names of the test speakers, one a line")
    parser.add_argument(
        "--trials", type=Path, metavar="FILE", action="append",
        help="trial list for test, 'ID ID target|nontarget' or '1|0 PATH PATH' lines with paths below the root; may be"
        " given several times: lists are then named trials_<file name>. Alone, it also says who the test speakers are",
    )  # fmt: skip
    parser.add_argument("--valid-speakers", default="auto", metavar="N|auto", help="number of validation speakers")
    parser.add_argument(
        "--test-only", nargs="?", const="true", default="false", choices=("true", "false"),
        help="put all speakers into test, to score them with a model that exists; train and valid are left alone",
    )  # fmt: skip
    parser.add_argument("--nj", type=int, default=8, help="files looked at in parallel")
    options = parser.parse_args()
    options.test_only = options.test_only == "true"
    options.trials = options.trials or []
    if options.nj < 1:
        raise VouchError(f"--nj {options.nj}: must be at least 1")
    wanted = options.valid_speakers
    if wanted != "auto" and not (wanted.isascii() and wanted.isdigit() and int(wanted) >= LEAST):
        raise VouchError(f"--valid-speakers {wanted}: must be 'auto' or a number of at least {LEAST}")
    options.valid_speakers = None if wanted == "auto" else int(wanted)
    if options.test_only and (options.test_speakers or options.valid_speakers):
        raise VouchError("--test-only puts all speakers into test: leave out --test-speakers and --valid-speakers")
    return options


def own_trials(name: str, recordings: Sequence[Recording]) -> Mapping[str, Trials]:
    """Make trials for a set without a given list; a training set gets none."""
    if name == "train":
        return {}
    sessions = {recording.utterance: recording.session for recording in recordings}
    return {"trials": make_trials({recording.utterance: recording.speaker for recording in recordings}, sessions)}


if __name__ == "__main__":
    run_main(main)
