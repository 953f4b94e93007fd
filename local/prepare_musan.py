#!/usr/bin/env python3
"""Prepare the noises of MUSAN for augmentation; a missing archive is downloaded.

    local/prepare_musan.py egs/musan/data
    ./run.sh --corpus voxceleb --musan egs/musan/data/musan

The recordings are <root>/musan/{noise,music,speech}/<source>/<class>-<source>-<number>.wav, and <root>/musan is the
folder for --musan of stage 2. If they are missing, musan.tar.gz (11 GB) is downloaded to <root>/archives and unpacked.
For tools that read wav.scp, data directories <data>/{noise,music,speech} are made, with each class as one speaker.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from vouch.cli.startup import guard_imports

guard_imports(__name__)

from vouch.cli.corpus_options import parse_common
from vouch.cli.parser import Parser, run_main
from vouch.corpora.obtain import Archive, obtain
from vouch.corpora.prepared import check_free
from vouch.corpora.recordings import drop_unreadable, make_set, write_sets
from vouch.corpora.server import Server
from vouch.corpora.tree import Recording, scan

URL = "https://www.openslr.org/resources/17/{name}"
MUSAN = Archive("musan.tar.gz", "0c472d4fc0c5141eca47ad1ffeb2a7df", "musan")
CLASSES = ("noise", "music", "speech")


def main() -> None:
    options = parse_common(Parser(__doc__), URL)
    check_free(options.data, CLASSES)
    folder = obtain(MUSAN, options.root, Server(options.url))
    recordings = [name_recording(recording) for recording in scan(folder) if recording.folder in CLASSES]
    usable, durations, _ = drop_unreadable(folder, recordings, options.nj)
    where = {recording.utterance: folder / recording.path for recording in usable}
    sets = {}
    for name in CLASSES:
        members = [recording for recording in usable if recording.folder == name]
        sets[name] = make_set(members, where, durations, {})
    write_sets(options.data, {name: made for name, made in sets.items() if made.wav_scp})
    print(f"augment with: --musan {folder}")


def name_recording(recording: Recording) -> Recording:
    """Name a recording by its file, if the file name begins with its class, as in MUSAN."""
    stem = Path(recording.path).stem
    return recording._replace(utterance=stem) if stem.startswith(f"{recording.speaker}-") else recording


if __name__ == "__main__":
    run_main(main)
