#!/usr/bin/env python3
"""Print what a network costs and sees: parameters, multiply-accumulates, receptive field, shortest input.

What it reads, writes and takes is in `src/vouch/cli/model_info.py`, which `vouch model-info` runs too.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from vouch.cli.startup import guard_imports

guard_imports(__name__)

from vouch.cli.model_info import main
from vouch.cli.parser import run_main

if __name__ == "__main__":
    run_main(main)
