"""Curves as TensorBoard reads them, and a disk that is full."""

import resource

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from vouch.training.curves import Curves


def read(folder):
    board = EventAccumulator(str(folder)).Reload()
    return {
        name: [(point.step, point.value) for point in board.Scalars(name)] for name in sorted(board.Tags()["scalars"])
    }


def test_points_are_there_when_they_have_been_added(tmp_path):
    curves = Curves(tmp_path / "board", 1)
    curves.add({"loss": 2.5, "eer": 0.25}, 1)
    curves.add({"loss": 1.5}, 2)
    assert read(tmp_path / "board") == {"eer": [(1, 0.25)], "loss": [(1, 2.5), (2, 1.5)]}
    curves.close()


def test_a_start_anew_replaces_the_epochs_that_follow(tmp_path, monkeypatch):
    first = Curves(tmp_path, 1)
    for epoch in (1, 2, 3):
        first.add({"loss": float(epoch)}, epoch)
    first.close()
    monkeypatch.setattr("os.getpid", lambda: 99999999)  # of a later process
    second = Curves(tmp_path, 2)
    second.add({"loss": 7.0}, 2)
    second.close()
    assert read(tmp_path) == {"loss": [(1, 1.0), (2, 7.0)]}


@pytest.mark.parametrize("size", [10, 200])
def test_a_full_disk_is_one_error_that_names_the_file(tmp_path, start_python, size):
    code = """
import sys, threading
from pathlib import Path
from vouch.base.errors import VouchError
from vouch.training.curves import Curves
try:
    curves = Curves(Path(sys.argv[1]), 1)
    for epoch in range(10):
        curves.add({"loss": 1.0}, epoch)
except VouchError as error:
    print(error, threading.active_count())
"""
    limit = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))}
    printed = start_python(code, tmp_path / "board", **limit).stdout.read()
    (file,) = (tmp_path / "board").iterdir()
    assert printed == f"{file}: File too large 1\n"
