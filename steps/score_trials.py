#!/usr/bin/env python3
"""Stage 5: score trials by comparing the embeddings of their two sides.

Inputs, outputs and options are described in `src/vouch/cli/score.py`, which `vouch score` runs too.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from vouch.cli.startup import guard_imports

guard_imports(__name__)

from vouch.cli.parser import run_main
from vouch.cli.score import main

if __name__ == "__main__":
    run_main(main)
