"""What scripts say beside their errors."""

import subprocess
import sys
from pathlib import Path

from vouch.cli.messages import ask

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = f"""
import logging, sys
sys.path.insert(0, {str(ROOT / "src")!r})
from vouch.cli.parser import run_main
def main():
    log = logging.getLogger("vouch.corpora.recordings")
    log.info("100 % of 3 sets")
    log.warning("%d is no number here")
    logging.getLogger("another.library").info("nobody asked")
run_main(main)
"""


def test_what_the_library_logs_is_printed_once(tmp_path):
    script = tmp_path / "prepare.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout == "100 % of 3 sets\n"
    assert done.stderr == "prepare.py: warning: %d is no number here\n"


def test_nobody_is_asked_without_a_terminal(monkeypatch):
    monkeypatch.setattr("sys.stdin", open("/dev/null"))  # noqa: SIM115
    assert ask("user", False) == ask("password", True) == ""
