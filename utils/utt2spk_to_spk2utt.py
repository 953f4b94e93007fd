#!/usr/bin/env python3
"""Convert utt2spk, from a file or the standard input, to spk2utt on the standard output.

    utils/utt2spk_to_spk2utt.py egs/demo/data/train/utt2spk > egs/demo/data/train/spk2utt

Speakers are in order of first appearance, their utterances in the order of the input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from vouch.cli.startup import guard_imports

guard_imports(__name__)

from vouch.base.errors import VouchError
from vouch.cli.parser import Parser, run_main
from vouch.kaldi.datadirs.tables import invert
from vouch.kaldi.tables import decode_lines, read_lines


def main() -> None:
    """Convert utt2spk to spk2utt."""
    parser = Parser(__doc__)
    parser.add_argument("utt2spk", nargs="?", default="-", help="file; - is the standard input")
    name = parser.parse_args().utt2spk
    where = "standard input" if name == "-" else name
    lines = decode_lines(sys.stdin.buffer.read(), where) if name == "-" else read_lines(name)
    utt2spk: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if len(fields) != 2 or fields[0] in utt2spk:
            why = "is repeated" if len(fields) == 2 else "is not '<utterance> <speaker>'"
            raise VouchError(f"{where}:{number}: '{line.strip()}' {why}")
        utt2spk[fields[0]] = fields[1]
    for speaker, utterances in invert(utt2spk).items():
        print(f"{speaker} {utterances}")


if __name__ == "__main__":
    run_main(main)
