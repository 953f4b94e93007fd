#!/usr/bin/env python3
"""Check a data directory: the tables against Kaldi's rules and, with --audio, all recordings and trials.

Inputs, outputs and options are described in `src/vouch/cli/validate_data_dir.py`, which `vouch validate-data-dir` runs
too.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from vouch.cli.startup import guard_imports

guard_imports(__name__)

from vouch.cli.parser import run_main
from vouch.cli.validate_data_dir import main

if __name__ == "__main__":
    run_main(main)
