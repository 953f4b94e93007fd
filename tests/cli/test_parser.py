import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vouch.cli.parser import Parser

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import os, signal, sys
sys.path.insert(0, {src!r})
from vouch.cli.parser import run_main
from vouch.base.errors import VouchError
def main():
    {body}
run_main(main)
"""


def run_script(tmp_path, body, **options):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(src=str(ROOT / "src"), body=body))
    return subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, **options)


@pytest.fixture
def parser():
    parser = Parser("Compare things.\n\n  compare.py a b\n")
    parser.prog = "compare.py"
    parser.add_argument("data", help="data directory")
    parser.add_argument("--learning-rate", type=float, default=0.1, help="step size")
    parser.add_argument("--seed", type=int, default=0, help="random seed")
    parser.add_argument("--verbose", action="store_true", help="say more")
    parser.add_argument("--name", default="", help="of the run")
    parser.add_argument("--loss", choices=["softmax", "aamsoftmax"], default="softmax", help="training loss")
    return parser


def refusal(parser, capsys, *words):
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(words)
    assert caught.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("compare.py: error: ")
    assert printed.err.count("\n") == 1
    return printed.err.removeprefix("compare.py: error: ").strip()


def test_options_before_and_after_the_folder(parser):
    assert parser.parse_args(["--seed", "3", "d"]).seed == 3
    assert parser.parse_args(["d", "--seed=3", "--verbose"]).verbose


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["d", "--sed", "3"], "unknown option '--sed' (did you mean '--seed'?)"),
        (["d", "--learning", "3"], "unknown option '--learning' (did you mean '--learning-rate'?)"),
        (["d", "--learning_rate=3"], "unknown option '--learning_rate=3' (did you mean '--learning-rate'?)"),
        (["d", "--loss", "aamsoftmx"], "argument --loss: unknown value 'aamsoftmx' (did you mean 'aamsoftmax'?)"),
        (["d", "e"], "unexpected argument 'e'"),
        (["d", "--seed", "x"], "argument --seed: invalid int value: 'x'"),
        (["d", "--seed", "1_000"], "argument --seed: invalid int value: '1_000'"),
        (["d", "--seed", "３"], "argument --seed: invalid int value: '３'"),
        (["d", "--learning-rate", "1_0.5"], "argument --learning-rate: invalid float value: '1_0.5'"),
        (["d", "--learning-rate", "٠.٥"], "argument --learning-rate: invalid float value: '٠.٥'"),
        ([], "the following arguments are required: data"),
    ],
)
def test_refusals_are_one_line_that_names_the_nearest(parser, capsys, words, message):
    assert refusal(parser, capsys, *words) == message


def test_help_shows_defaults_and_keeps_the_description(parser):
    text = parser.format_help()
    assert "Compare things.\n\n  compare.py a b\n" in text
    assert "step size (default: 0.1)" in text
    assert "random seed (default: 0)" in text
    assert "training loss (default: softmax)" in text
    assert text.count("(default") == 3


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ("raise VouchError('x.scp:3: no value')", 1, "script.py: error: x.scp:3: no value\n"),
        ("pass", 0, ""),
        ("sys.exit(7)", 7, ""),
        (
            "raise KeyboardInterrupt",
            130,
            "script.py: interrupted; the same command starts again where that is possible\n",
        ),
        (
            # As compiled modules do that call back into Python.
            "import time\n    try: os.kill(os.getpid(), signal.SIGINT); time.sleep(9)\n"
            "    except BaseException as error: raise TypeError('not this') from error",
            130,
            "script.py: interrupted; the same command starts again where that is possible\n",
        ),
        ("os.kill(os.getpid(), signal.SIGTERM); import time; time.sleep(9)", 143, ""),
        ("os.kill(os.getpid(), signal.SIGHUP); import time; time.sleep(9)", 129, ""),
        (
            "import time\n    try: os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)\n"
            "    except BaseException as error: raise TypeError('not this') from error",
            143,
            "",
        ),
        (
            # A terminal that is closed and the shell in it send one each; tidying up goes on.
            "import time\n    try: os.kill(os.getpid(), signal.SIGHUP); time.sleep(9)\n"
            "    finally: [os.kill(os.getpid(), n) for n in (1, 15, 2)]; print('tidy', file=sys.stderr)",
            129,
            "tidy",
        ),
        (
            "raise OSError(28, 'No space left on device', '/data/x.ark')",
            1,
            "script.py: error: /data/x.ark: No space left on device; nothing half-written was kept\n",
        ),
        ("raise OSError(28, 'No space left on device')", 1, "script.py: error: No space left on device; nothing"),
        (
            "raise OSError(116, 'Stale file handle', b'egs/x')",
            1,
            "script.py: error: egs/x: Stale file handle; nothing half-written was kept\n",
        ),
        (
            "raise MemoryError",
            1,
            "script.py: error: more memory is needed than there is; nothing half-written was kept\n",
        ),
    ],
)
def test_ends_of_a_script(tmp_path, body, status, message):
    done = run_script(tmp_path, body)
    assert done.returncode == status
    assert done.stderr.startswith(message)
    assert bool(done.stderr) == bool(message)


def test_nohup_holds(tmp_path):
    """What the caller lets a script ignore is not caught either."""
    done = run_script(
        tmp_path,
        "os.kill(os.getpid(), signal.SIGHUP); os.kill(os.getpid(), signal.SIGINT); print('on')",
        preexec_fn=lambda: [signal.signal(number, signal.SIG_IGN) for number in (signal.SIGHUP, signal.SIGINT)],
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "on\n", "")


def test_a_bug_keeps_its_traceback(tmp_path):
    done = run_script(tmp_path, "raise OSError(9, 'Bad file descriptor')")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_a_reader_that_goes_away(tmp_path):
    """As in `script | head`: no traceback, and the status that a shell gives a program stopped by SIGPIPE."""
    run_script(tmp_path, "print('line\\n' * 100000)", timeout=60)
    line = '"$0" "$1" | head -n1; echo "${PIPESTATUS[0]}"'
    command = ["bash", "-c", line, sys.executable, tmp_path / "script.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "line\n141\n"
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    "body", ["print('x')", "from vouch.cli.parser import Parser; Parser('x').parse_args(['--help'])"]
)
def test_a_full_disk_under_the_output(tmp_path, body):
    run_script(tmp_path, body)
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, tmp_path / "script.py"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode != 0
    assert "No space left on device" in done.stderr
