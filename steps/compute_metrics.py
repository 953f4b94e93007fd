#!/usr/bin/env python3
"""Stage 7: compute EER, minDCF and Cllr of scores with bootstrap intervals, DET and histogram plots, an HTML report.

Inputs, outputs and options are described in `src/vouch/cli/metrics.py`, which `vouch metrics` runs too.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from vouch.cli.startup import guard_imports

guard_imports(__name__)

from vouch.cli.metrics import main
from vouch.cli.parser import run_main

if __name__ == "__main__":
    run_main(main)
