#!/usr/bin/env python3
"""Print the size and cost of a network: parameters, multiply-accumulates, receptive field, shortest input.

Inputs, outputs and options are described in `src/vouch/cli/model_info.py`, which `vouch model-info` runs too.
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
