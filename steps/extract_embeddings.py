#!/usr/bin/env python3
"""Stage 4: extract an embedding of every utterance of a data directory or of a list of recordings.

Inputs, outputs and options are described in `src/vouch/cli/embed.py`, which `vouch embed` runs too.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from vouch.cli.startup import guard_imports

guard_imports(__name__)

from vouch.cli.embed import main
from vouch.cli.parser import run_main

if __name__ == "__main__":
    run_main(main)
