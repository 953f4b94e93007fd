#!/usr/bin/env python3
"""Copy a data directory, optionally with other ids.

    utils/copy_data_dir.py --utt-suffix -noise egs/demo/data/train egs/demo/data/train_noise

Before it appears, the copy is checked as by utils/validate_data_dir.py, except for tables that the source lacks.
"""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from vouch.cli.startup import guard_imports

guard_imports(__name__)

from vouch.cli.parser import Parser, run_main
from vouch.kaldi.datadirs.rename import Renaming, copy_data_dir
from vouch.kaldi.datadirs.validate import waive

AFFIXES = ("utt-prefix", "utt-suffix", "spk-prefix", "spk-suffix")


def attach_values(words: Sequence[str]) -> list[str]:
    """Write `--option value` as `--option=value`, because values such as -noise look like options."""
    attached: list[str] = []
    rest = iter(words)
    for word in rest:
        is_valued = word.removeprefix("--") in (*AFFIXES, "validate-opts") and word.startswith("--")
        value = next(rest, None) if is_valued else None
        attached.append(word if value is None else f"{word}={value}")
    return attached


def main() -> None:
    """Copy a data directory."""
    parser = Parser(__doc__)
    parser.add_argument("source", type=Path, help="data directory")
    parser.add_argument("target", type=Path, help="data directory to write")
    for name in AFFIXES:
        what = "utterance" if name.startswith("utt") else "speaker"
        where = "before" if name.endswith("prefix") else "after"
        parser.add_argument(f"--{name}", default="", help=f"put this {where} each {what} id")
    parser.add_argument("--validate-opts", default="", help="options of utils/validate_data_dir.py, '--non-print'")
    options = parser.parse_args(attach_values(sys.argv[1:]))
    renaming = Renaming(**{name.replace("-", "_"): getattr(options, name.replace("-", "_")) for name in AFFIXES})
    waived = waive(word.removeprefix("--") for word in shlex.split(options.validate_opts))
    count = copy_data_dir(options.source, options.target, renaming, waived)
    print(f"{options.target}: {count} utterances")


if __name__ == "__main__":
    run_main(main)
