#!/usr/bin/env python3
"""Make data directories of the AMI meetings (headset mix); missing recordings are downloaded.

    local/prepare_ami.py egs/ami/data
    local/prepare_ami.py egs/ami/data --sets dev,test --annotations /corpora/ami_public_manual_1.6.2

The recordings are <root>/amicorpus/<meeting>/audio/<meeting>.Mix-Headset.wav. There are no verification trials: the
sets are for embeddings over sliding windows. Without annotations, each utterance in <data>/<set> is a whole meeting
with a speaker of its own. With annotations there is an utterance in `segments` for each turn of each speaker, and a
speaker has one id in all meetings. --annotations names the unpacked folder of AMI's manual annotations, whose segments
are used, or a folder with RTTM files. Turns of zero length are left out; turns that end after the recording are cut.
"""

import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from vouch.cli.startup import guard_imports

guard_imports(__name__)

from ami.annotations import Turn, read_turns
from ami.meetings import SETS
from vouch.base.errors import VouchError, pick
from vouch.cli.corpus_options import parse_common
from vouch.cli.messages import warn
from vouch.cli.parser import Parser, run_main
from vouch.corpora.download import fetch
from vouch.corpora.prepared import DataSet, check_free
from vouch.corpora.recordings import drop_unreadable, make_set, write_sets
from vouch.corpora.server import Server
from vouch.corpora.tree import Recording

URL = "https://groups.inf.ed.ac.uk/ami/AMICorpusMirror/amicorpus/{name}"


def main() -> None:
    options = parse_options()
    check_free(options.data, options.sets)
    root, server = options.root / "amicorpus", Server(options.url)
    meetings = [meeting for name in options.sets for meeting in SETS[name]]
    turns = read_turns(options.annotations, meetings) if options.annotations else None
    for meeting in meetings:
        fetch(server, audio_of(meeting), root / audio_of(meeting))
    found = [Recording(audio_of(meeting), meeting, meeting, "", meeting) for meeting in meetings]
    usable, durations, _ = drop_unreadable(root, found, options.nj)
    where = {recording.utterance: root / recording.path for recording in usable}
    sets = {}
    for name in options.sets:
        members = [recording for recording in usable if recording.utterance in SETS[name]]
        sets[name] = make_set(members, where, durations, {}) if turns is None else cut(members, where, durations, turns)
    write_sets(options.data, sets)


def parse_options() -> Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--sets", default="test", metavar="SET,...", help=f"of {', '.join(SETS)}")
    parser.add_argument("--annotations", type=Path, metavar="DIR", help="folder with who speaks when")
    options = parse_common(parser, URL)
    options.sets = [name for name in options.sets.split(",") if pick(SETS, name, "set")]
    return options


def audio_of(meeting: str) -> str:
    return f"{meeting}/audio/{meeting}.Mix-Headset.wav"


def cut(
    meetings: Sequence[Recording],
    where: Mapping[str, Path],
    durations: Mapping[str, float | None],
    turns: Mapping[str, Sequence[Turn]],
) -> DataSet:
    """Make a set with an utterance `<speaker>-<meeting>-<start>-<end>` (in milliseconds) for each turn."""
    segments: dict[str, str] = {}
    utt2spk: dict[str, str] = {}
    utt2dur: dict[str, float] = {}
    empty = 0
    for meeting in (recording.utterance for recording in meetings):
        length = durations[meeting]
        for speaker, start, stop in turns[meeting]:
            end = stop if length is None else min(stop, length)
            if stop > start >= end:
                raise VouchError(f"{where[meeting]}: '{speaker}' speaks at {start} s, after the end at {length:.1f} s")
            if round(1000 * end) <= round(1000 * start):
                empty += 1
                continue
            utterance = f"{speaker}-{meeting}-{round(1000 * start):08d}-{round(1000 * end):08d}"
            segments[utterance] = f"{meeting} {start:.3f} {end:.3f}"
            utt2spk[utterance] = speaker
            utt2dur[utterance] = end - start
    if empty:
        warn(f"{empty} turns without length are left out")
    wav_scp = {recording.utterance: str(where[recording.utterance]) for recording in meetings}
    return DataSet(wav_scp, utt2spk, utt2dur, {}, segments=segments)


if __name__ == "__main__":
    run_main(main)
