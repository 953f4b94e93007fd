#!/usr/bin/env python3
"""Write the union of data directories; the first argument is the directory to write.

    utils/combine_data.py egs/demo/data/train_combined egs/demo/data/train egs/demo/data/train_noise

A table is copied if all sources have it.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from vouch.cli.startup import guard_imports

guard_imports(__name__)

from vouch.cli.parser import Parser, run_main
from vouch.kaldi.datadirs.combine import combine_data_dirs


def main() -> None:
    """Combine data directories."""
    parser = Parser(__doc__)
    parser.add_argument("target", type=Path, help="data directory to write")
    parser.add_argument("sources", type=Path, nargs="+", help="data directories")
    parser.add_argument("--extra-files", default="", help="further tables to carry over, 'a b'")
    parser.add_argument(
        "--skip-fix", choices=("true", "false"), default="false", help="keep what does not fit together"
    )
    options = parser.parse_args()
    fix = options.skip_fix == "false"
    combined = combine_data_dirs(options.target, options.sources, options.extra_files.split(), fix)
    for name, source in combined.skipped.items():
        print(f"{options.target}: without {name}, which {source} does not have", file=sys.stderr)
    for line in combined.removed:
        print(f"{options.target}: {line}", file=sys.stderr)
    print(f"{options.target}: {combined.utterances} utterances of {len(options.sources)} directories")


if __name__ == "__main__":
    run_main(main)
