#!/usr/bin/env python3
"""Copy matrices, vectors or numbers from one of Kaldi's formats to another, as copy-feats and copy-vector do.

Inputs, outputs and options are described in `src/vouch/cli/copy_feats.py`, which `vouch copy-feats` runs too.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from vouch.cli.startup import guard_imports

guard_imports(__name__)

from vouch.cli.copy_feats import main
from vouch.cli.parser import run_main

if __name__ == "__main__":
    run_main(main)
