#!/usr/bin/env python3
"""Write a part of a data directory.

    utils/subset_data_dir.py [--first|--last|--per-spk|--shortest|--speakers] SOURCE COUNT TARGET
    utils/subset_data_dir.py [--utt-list FILE|--spk-list FILE] SOURCE TARGET

Without an option, the chosen utterances are spread evenly over the source.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from vouch.cli.startup import guard_imports

guard_imports(__name__)

from vouch.cli.parser import Parser, run_main
from vouch.kaldi.datadirs.subset import choose, choose_listed, write_subset
from vouch.kaldi.datadirs.tables import KEYED_TABLES, read_tables

WAYS = {
    "first": "the first COUNT utterances",
    "last": "the last COUNT utterances",
    "per-spk": "COUNT utterances of each speaker, evenly spread",
    "shortest": "the COUNT utterances with the fewest frames",
    "speakers": "whole speakers, in an order that is always the same, until there are COUNT utterances",
}


def main() -> None:
    """Select utterances and write the subset."""
    parser = Parser(__doc__)
    parser.add_argument(
        "words", nargs="+", metavar="SOURCE [COUNT] TARGET", help="directories, and how many utterances"
    )
    ways = parser.add_mutually_exclusive_group()
    for way, text in WAYS.items():
        ways.add_argument(f"--{way}", dest="way", action="store_const", const=way, default="even", help=text)
    ways.add_argument("--utt-list", type=Path, help="the utterances in the first column of this file")
    ways.add_argument("--spk-list", type=Path, help="the speakers in the first column of this file")
    options = parser.parse_args()
    listed = options.utt_list or options.spk_list
    if len(options.words) != (2 if listed else 3):
        parser.error(f"expected {'SOURCE TARGET' if listed else 'SOURCE COUNT TARGET'}, not {len(options.words)} words")
    source, target = Path(options.words[0]), Path(options.words[-1])
    if not listed and not (options.words[1].isascii() and options.words[1].isdigit()):
        parser.error(f"COUNT: '{options.words[1]}' is not a number of utterances")
    tables = read_tables(source, KEYED_TABLES)
    if listed:
        utterances, unknown = choose_listed(tables["utt2spk"], listed, by_speaker=bool(options.spk_list))
        if unknown:
            print(f"{listed}: {len(unknown)} names are not in {source} (first: '{unknown[0]}')", file=sys.stderr)
    else:
        utterances = choose(options.way, source, tables, int(options.words[1]))
    write_subset(source, utterances, tables, target)
    print(f"{target}: {len(utterances)} of {len(tables['utt2spk'])} utterances")


if __name__ == "__main__":
    run_main(main)
