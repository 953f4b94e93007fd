#!/usr/bin/env python3
"""Check a data directory: Kaldi's rules for its tables and, with --audio, all its recordings and trials.

What it reads, writes and takes is in `src/vouch/cli/validate_data_dir.py`, which `vouch validate-data-dir` runs too.
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
