"""Commands in the place of files."""

import pytest

from vouch.audio.reading import read_audio
from vouch.base import pipes
from vouch.base.errors import VouchError
from vouch.base.pipes import read_pipe

# As sox 14.4.2 ends when it does not understand its arguments, shortened.
SOX = r"""
sox FAIL formats: can't open input file `x.wav': No such file or directory
sox:      SoX v14.4.2

Usage summary: [gopts] [[fopts] infile]... [fopts] outfile [effect [effopt]]...

SPECIAL FILENAMES (infile, outfile):
-                        Pipe/redirect input/output (stdin/stdout); may need -t
-d, --default-device     Use the default audio device (where available)
--play-rate-arg ARG      Default `rate' argument for auto-resample with `play'
"""


def test_a_pipe_gives_what_is_written_to_it():
    assert read_pipe("printf 'a\\0b'; echo said >&2") == b"a\0b"
    assert len(read_pipe("head -c 3000000 /dev/zero")) == 3_000_000


def test_a_usage_message_is_not_what_went_wrong(tmp_path):
    (tmp_path / "usage").write_text(SOX)
    with pytest.raises(VouchError) as caught:
        read_audio(f"cat {tmp_path}/usage >&2; exit 2 |")
    assert str(caught.value) == (
        f"'cat {tmp_path}/usage >&2; exit 2 |' failed with status 2:"
        " sox FAIL formats: can't open input file `x.wav': No such file or directory"
    )


def test_of_a_traceback_the_last_line_is_told():
    command = "python3 -c 'raise ValueError(1)'"
    with pytest.raises(VouchError, match=r"failed with status 1: ValueError: 1$"):
        read_pipe(command)


def test_a_command_that_says_much_is_heard_to_its_end():
    with pytest.raises(VouchError, match=r"failed with status 7: the last line of many$"):
        read_pipe("yes talking | head -n 300000 >&2; echo the last line of many >&2; exit 7")
    with pytest.raises(VouchError) as caught:
        read_pipe("head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 1")
    assert len(str(caught.value)) < 250


def test_of_a_long_path_the_reason_is_left(tmp_path):
    path = tmp_path / ("folder" * 30) / "x.wav"
    with pytest.raises(VouchError, match=r"failed with status 1: cat: /.+\.\.\..*/x\.wav: No such file or directory$"):
        read_pipe(f"cat {path}")


def test_a_pipe_without_end_is_stopped(monkeypatch):
    monkeypatch.setattr(pipes, "MAX_BYTES", 5 << 20)
    monkeypatch.setattr(pipes, "MAX_SHOWN", "5 MiB")
    for command in ("yes", "cat /dev/zero | cat", "while true; do echo x; done"):
        with pytest.raises(VouchError, match=r"^'.* \|' writes more than 5 MiB, which no recording .* it was stopped$"):
            read_pipe(command)


def test_what_is_written_to_a_failing_pipe_counts_as_nothing():
    with pytest.raises(VouchError, match="failed with status 3: no message"):
        read_pipe("echo content; exit 3")
