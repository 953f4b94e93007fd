#!/usr/bin/env python3
"""Prepare the room impulse responses of RIRS_NOISES for augmentation; a missing archive is downloaded.

    local/prepare_rirs.py egs/rirs/data
    local/prepare_rirs.py egs/rirs/data --parts smallroom,mediumroom,real

Below <root>/RIRS_NOISES are simulated_rirs/{smallroom,mediumroom,largeroom}/Room<n>/Room<n>-<number>.wav,
real_rirs_isotropic_noises/*.wav with a table rir_list whose lines end in the path of a response, and
pointsource_noises/*.wav. Missing parts are unpacked from rirs_noises.zip, which is downloaded to <root>/archives if
necessary. For each part a data directory <data>/<part> is made, with all recordings as one speaker. That of "real" has
only the responses in rir_list, which have several channels, without the isotropic noises.
"""

import os
import sys
from argparse import Namespace
from functools import partial
from pathlib import Path, PurePosixPath

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from vouch.cli.startup import guard_imports

guard_imports(__name__)

from vouch.audio.tree import walk_audio
from vouch.base.errors import VouchError, pick
from vouch.cli.corpus_options import parse_common
from vouch.cli.parser import Parser, run_main
from vouch.corpora.obtain import Archive, obtain
from vouch.corpora.prepared import check_free
from vouch.corpora.recordings import drop_unreadable, make_set, write_sets
from vouch.corpora.server import Server
from vouch.corpora.tree import Recording
from vouch.kaldi.tables import read_lines

URL = "https://www.openslr.org/resources/28/{name}"
NAME, MD5 = "rirs_noises.zip", "e6f48e257286e05de56413b4779d8ffb"
PARTS = {
    "smallroom": "RIRS_NOISES/simulated_rirs/smallroom",
    "mediumroom": "RIRS_NOISES/simulated_rirs/mediumroom",
    "largeroom": "RIRS_NOISES/simulated_rirs/largeroom",
    "real": "RIRS_NOISES/real_rirs_isotropic_noises",
    "pointsource": "RIRS_NOISES/pointsource_noises",
}


def main() -> None:
    options = parse_options()
    check_free(options.data, options.parts)
    server = Server(options.url)
    sets = {}
    for part, path in options.parts.items():
        folder = obtain(Archive(NAME, MD5, path), options.root, server, partial(is_below, path))
        recordings = [name_recording(part, path) for path in find_responses(part, folder)]
        usable, durations, _ = drop_unreadable(folder, recordings, options.nj)
        where = {recording.utterance: folder / recording.path for recording in usable}
        sets[part] = make_set(usable, where, durations, {})
    write_sets(options.data, sets)
    print(f"impulse responses: {options.root / 'RIRS_NOISES'}")


def is_below(folder: str, name: str) -> bool:
    """Return whether a member of the archive lies in a folder."""
    return f"{folder}/" in name


def parse_options() -> Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--parts", default="smallroom,mediumroom", metavar="PART,...", help=f"of {', '.join(PARTS)}")
    options = parse_common(parser, URL)
    options.parts = {name: pick(PARTS, name, "part") for name in options.parts.split(",")}
    return options


def find_responses(part: str, folder: Path) -> list[str]:
    """Return the recordings of a part as paths below its folder."""
    if part == "real":
        listed = (line.split() for line in read_lines(folder / "rir_list"))
        return sorted({PurePosixPath(fields[-1]).name for fields in listed if fields})
    found = sorted(os.path.relpath(path, folder) for path in walk_audio(str(folder)))
    if not found:
        raise VouchError(f"{folder}: no recordings in it")
    return found


def name_recording(part: str, path: str) -> Recording:
    return Recording(path, part, part, "", f"{part}-{PurePosixPath(path).stem}")


if __name__ == "__main__":
    run_main(main)
