"""One line about what went wrong, and about what was meant."""

import errno
import json
import os
import struct
import zlib

import numpy as np
import pytest
import torch

from vouch.base.errors import VouchError, about_file, mishap, nearest, pick, reason, visible


def test_nearest_names_the_close_one():
    assert nearest("aamsoftmx", ["softmax", "aamsoftmax", "ge2e"]) == " (did you mean 'aamsoftmax'?)"


def test_nearest_lists_all_when_none_is_close():
    assert nearest("x", ["softmax", "ge2e"]) == " (choose from: softmax, ge2e)"


def test_nearest_of_nothing_is_empty():
    assert nearest("x", []) == ""


def test_nearest_takes_any_iterable_once():
    assert nearest("zzz", (name for name in ["a", "b"])) == " (choose from: a, b)"


def test_pick_returns_the_entry():
    assert pick({"a": 1, "b": None}, "b", "letter") is None


def test_pick_names_what_and_the_nearest():
    with pytest.raises(VouchError, match=r"^unknown loss 'ge3e' \(did you mean 'ge2e'\?\)$"):
        pick({"softmax": 1, "ge2e": 2}, "ge3e", "loss")


PATH = "some/x.json"


def zlib_error():
    zlib.decompress(b"no")


def nested():
    json.loads("[" * 100_000)


def undecodable():
    b"\xff".decode()


@pytest.mark.parametrize(
    ("problem", "act", "expected"),
    [
        ("", lambda: os.stat("/nowhere/y"), "/nowhere/y: No such file or directory"),
        ("not JSON", lambda: os.stat("/nowhere/y"), "/nowhere/y: No such file or directory"),
        ("", lambda: os.stat(b"/nowhere/y"), "/nowhere/y: No such file or directory"),
        ("", lambda: os.read(os.open("/", os.O_RDONLY), 1), f"{PATH}: Is a directory"),
        ("not JSON", lambda: json.loads("[1,"), f"{PATH}: not JSON (Expecting value: line 1 column 4 (char 3))"),
        ("not JSON", nested, f"{PATH}: not JSON (nested too deeply)"),
        ("damaged", undecodable, f"{PATH}: damaged (not UTF-8 text)"),
        ("damaged", zlib_error, f"{PATH}: damaged (Error -3 while decompressing data: incorrect header check)"),
        ("damaged", lambda: {}["weights"], f"{PATH}: damaged (it lacks 'weights')"),
        ("damaged", lambda: struct.unpack("<i", b""), f"{PATH}: damaged (unpack requires a buffer of 4 bytes)"),
        ("damaged", lambda: np.zeros(10**15), f"{PATH}: more memory is needed than there is"),
        ("", lambda: [][0], f"{PATH}: list index out of range"),
    ],
)
def test_what_a_library_raises_about_a_file_becomes_one_line_that_names_it(problem, act, expected):
    with pytest.raises(VouchError) as caught, about_file(PATH, problem):
        act()
    assert str(caught.value) == expected
    assert caught.value.__cause__ is None


def test_advice_follows_the_reason():
    with (
        pytest.raises(VouchError, match=r"^x: damaged \(bad\); get it again$"),
        about_file("x", "damaged", "get it again"),
    ):
        raise ValueError("bad")


def test_our_own_messages_and_interruptions_pass_as_they_are():
    for error in (
        VouchError("y:3: is wrong"),
        KeyboardInterrupt(),
        SystemExit(143),
        BrokenPipeError(32, "Broken pipe"),
    ):
        with pytest.raises(type(error)) as caught, about_file("x", "damaged"):
            raise error
        assert caught.value is error


def test_reasons_are_one_short_printable_line():
    assert reason(ValueError("first\x1b[31m line\nsecond")) == "first\\x1b[31m line"
    assert reason(ValueError("\n")) == reason(ValueError()) == "ValueError"
    assert len(reason(ValueError("x" * 10_000))) < 120
    assert len(reason(KeyError("x" * 10_000))) < 120


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EBUSY, errno.ENOMEM, errno.ENOSPC, errno.EINVAL])
def test_mishaps_of_the_machine_name_the_file(number):
    assert mishap(OSError(number, os.strerror(number), b"egs/x")) == f"egs/x: {os.strerror(number)}"
    assert mishap(OSError(number, os.strerror(number))) == os.strerror(number)


def test_short_memory_is_a_mishap():
    assert mishap(MemoryError()) == "more memory is needed than there is"
    with pytest.raises(RuntimeError) as torch_error:
        torch.zeros(10**14)
    assert mishap(torch_error.value) == "more memory is needed than there is (400000000000000 bytes at once)"
    with pytest.raises(MemoryError) as numpy_error:
        np.zeros(10**15)
    assert mishap(numpy_error.value) == "more memory is needed than there is (7.11 PiB at once)"
    gpu_error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of")
    assert mishap(gpu_error) == "more memory is needed than there is (2.00 GiB at once)"


def test_bugs_are_no_mishaps():
    for error in (ValueError("x"), RuntimeError("x"), OSError("without a number"), OSError(errno.EBADF, "Bad")):
        assert mishap(error) is None


def test_what_would_upset_a_terminal_or_end_the_line_is_shown_as_python_writes_it():
    assert str(VouchError("x\x1b[2J.scp:1: 'a\nb\u202e\udcff'")) == r"x\x1b[2J.scp:1: 'a\nb\u202e\udcff'"
    assert str(VouchError("naïve 話者.scp: no such file")) == "naïve 話者.scp: no such file"
    assert visible("\r\x85\ufeff") == r"\r\x85\ufeff"


def test_messages_keep_beginning_and_end_when_a_name_is_a_megabyte():
    message = str(VouchError(f"x.scp:1: '{'a' * (1 << 20)}' has no value; each line is '<key> <value>'"))
    assert len(message) < 2000
    assert message.startswith("x.scp:1: 'aaa") and message.endswith("aaa' has no value; each line is '<key> <value>'")
