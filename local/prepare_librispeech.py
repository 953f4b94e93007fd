#!/usr/bin/env python3
"""Make data directories of LibriSpeech or Mini LibriSpeech; missing parts are downloaded.

    local/prepare_librispeech.py egs/librispeech/data
    local/prepare_librispeech.py egs/librispeech_mini/data --subset mini
    local/prepare_librispeech.py egs/librispeech/data --root /corpora --subset clean100

The recordings are <root>/LibriSpeech/<part>/<speaker>/<chapter>/<speaker>-<chapter>-<number>.flac. Missing parts are
downloaded to <root>/archives and unpacked.

  subset    train                               valid                       test          test_other
  mini      train-clean-5, less valid           a tenth of its speakers     dev-clean-2
  clean100  train-clean-100                     dev-clean, dev-other        test-clean    test-other
  full      train-clean-100, -360, -other-500   dev-clean, dev-other        test-clean    test-other

LibriSpeech has no verification protocol. The trials are generated, with target trials across chapters if possible.
"""

import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from vouch.cli.startup import guard_imports

guard_imports(__name__)

from vouch.base.errors import VouchError
from vouch.cli.corpus_options import parse_common
from vouch.cli.parser import Parser, run_main
from vouch.corpora.obtain import Archive, obtain
from vouch.corpora.prepared import check_free
from vouch.corpora.recordings import drop_unreadable, make_set, write_sets
from vouch.corpora.server import Server
from vouch.corpora.splits import hold_out, make_trials
from vouch.corpora.tree import Recording, scan

MD5 = {
    "train-clean-5": "5df7d4e78065366204ca6845bb08f490",
    "dev-clean-2": "6d7ab67ac6a1d2c993d050e16d61080d",
    "train-clean-100": "2a93770f6d5c6c964bc36631d331a522",
    "train-clean-360": "c0e676e450a7ff2f54aeade5171606fa",
    "train-other-500": "d1a0fd59409feb2c614ce4d30c387708",
    "dev-clean": "42e2234ba48799c1f50f24a7926300a1",
    "dev-other": "c8d0bcc9cca99d4f8b62fcc847357931",
    "test-clean": "32fa31d27d2e1cad72775fee3f4849a9",
    "test-other": "fb5a50374b501bb3bac4815ee91d3135",
}


class Subset(NamedTuple):
    """Parts of each set, and their server; without parts for "valid", speakers of "train" are held out."""

    url: str
    sets: Mapping[str, Sequence[str]]


MINI, FULL = "https://www.openslr.org/resources/31/{name}", "https://www.openslr.org/resources/12/{name}"
HELD_OUT = {"valid": ("dev-clean", "dev-other"), "test": ("test-clean",), "test_other": ("test-other",)}
SUBSETS = {
    "mini": Subset(MINI, {"train": ("train-clean-5",), "valid": (), "test": ("dev-clean-2",)}),
    "clean100": Subset(FULL, {"train": ("train-clean-100",), **HELD_OUT}),
    "full": Subset(FULL, {"train": ("train-clean-100", "train-clean-360", "train-other-500"), **HELD_OUT}),
}


def main() -> None:
    options = parse_options()
    subset = SUBSETS[options.subset]
    check_free(options.data, subset.sets)
    server = Server(options.url or subset.url)
    found: dict[str, list[Recording]] = {}
    where: dict[str, Path] = {}
    durations: dict[str, float | None] = {}
    for name, parts in subset.sets.items():
        found[name] = []
        for part in parts:
            folder = obtain(Archive(f"{part}.tar.gz", MD5[part], f"LibriSpeech/{part}"), options.root, server)
            usable, seconds, _ = drop_unreadable(folder, [name_utterance(folder, r) for r in scan(folder)], options.nj)
            found[name] += usable
            where |= {recording.utterance: folder / recording.path for recording in usable}
            durations |= seconds
    if not subset.sets["valid"]:
        held_out = hold_out({recording.speaker for recording in found["train"]}, 0.1, 2)
        found["valid"] = [recording for recording in found["train"] if recording.speaker in held_out]
        found["train"] = [recording for recording in found["train"] if recording.speaker not in held_out]
    sets = {}
    for name, recordings in found.items():
        speakers = {recording.utterance: recording.speaker for recording in recordings}
        chapters = {recording.utterance: recording.session for recording in recordings}
        trials = {} if name == "train" else {"trials": make_trials(speakers, chapters)}
        sets[name] = make_set(recordings, where, durations, trials)
    write_sets(options.data, sets)


def parse_options() -> Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--subset", default="full", choices=SUBSETS, help="see above")
    return parse_common(parser, None)


def name_utterance(folder: Path, recording: Recording) -> Recording:
    """Name an utterance by its file, whose name contains speaker and chapter."""
    stem = Path(recording.path).stem
    if not stem.startswith(f"{recording.speaker}-{recording.session}-"):
        raise VouchError(f"{folder / recording.path}: its name does not begin with its speaker and chapter")
    return recording._replace(utterance=stem)


if __name__ == "__main__":
    run_main(main)
