#!/usr/bin/env python3
"""Sort the tables of a data directory and remove entries without a match; the originals are kept in DIR/.backup/.

    utils/fix_data_dir.py egs/demo/data/train

An utterance is kept if it is in utt2spk and in each of feats.scp, text, segments, utt2lang, utt2dur, utt2num_frames and
wav.scp that exists, and its features are not empty. Byte order marks and carriage returns are removed, also in trial
lists and enrol_map. If nothing is wrong, nothing is written.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from vouch.cli.startup import guard_imports

guard_imports(__name__)

from vouch.cli.parser import Parser, run_main
from vouch.kaldi.datadirs.repair import repair_data_dir


def main() -> None:
    """Fix a data directory."""
    parser = Parser(__doc__)
    parser.add_argument("dir", type=Path, help="data directory")
    parser.add_argument("--utt-extra-files", default="", help="further tables with utterances as keys, 'a b'")
    parser.add_argument("--spk-extra-files", default="", help="further tables with speakers as keys, 'a b'")
    options = parser.parse_args()
    done = repair_data_dir(options.dir, options.utt_extra_files.split(), options.spk_extra_files.split())
    for line in done.done:
        print(f"{options.dir}: {line}")
    for line in done.gaps:
        print(f"{options.dir}: warning: {line}", file=sys.stderr)
    kept = f"all {done.kept}" if done.kept == done.before else f"{done.kept} of {done.before}"
    print(f"{options.dir}: kept {kept} utterances")


if __name__ == "__main__":
    run_main(main)
