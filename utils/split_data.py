#!/usr/bin/env python3
"""Split a data directory into parts for several jobs: DIR/split8/1 ... DIR/split8/8.

    utils/split_data.py egs/demo/data/train 8
    utils/split_data.py --per-utt egs/demo/data/train 8

All utterances of a speaker are in one part, unless --per-utt is given; the parts are then in DIR/split8utt. Existing
parts that are not older than the tables are kept.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from vouch.cli.startup import guard_imports

guard_imports(__name__)

from tqdm import tqdm

from vouch.cli.parser import Parser, run_main
from vouch.kaldi.datadirs.split import split_data_dir


def main() -> None:
    """Split a data directory."""
    parser = Parser(__doc__)
    parser.add_argument("dir", type=Path, help="data directory")
    parser.add_argument("parts", type=int, help="number of parts")
    parser.add_argument(
        "--per-utt", action="store_true", help="cut anywhere, into parts of equal numbers of utterances"
    )
    options = parser.parse_args()
    with tqdm(total=options.parts, unit="part", disable=None) as bar:
        folder = split_data_dir(options.dir, options.parts, options.per_utt, bar.update)
    print(f"{folder}: {options.parts} parts")


if __name__ == "__main__":
    run_main(main)
