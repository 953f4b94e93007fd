"""Stages 5 to 7, killed while they write, and then the same command again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from vouch.kaldi.matrices.writing import open_ark

STEPS = Path(__file__).parents[2] / "steps"
IDS = [f"s{number:03d}" for number in range(400)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Embeddings, and so many trials that writing their scores takes a while."""
    path = tmp_path_factory.mktemp("scores")
    rng = np.random.default_rng(0)
    for part in ("test", "cohort"):
        with open_ark(path / f"{part}.ark", path / f"{part}.scp") as ark:
            for name in IDS:
                ark.write(f"{part[0]}{name}", rng.standard_normal(8))
    label = {True: "target", False: "nontarget"}
    lines = [f"t{a} t{b} {label[(i + j) % 7 == 0]}\n" for i, a in enumerate(IDS) for j, b in enumerate(IDS) if i < j]
    (path / "trials").write_text("".join(lines * 3))
    run(path, *commands(path)[0])
    return path


def commands(path):
    scores = path / "scores/trials.txt"
    return [
        ("score_trials", path / "trials", path / "test.scp", scores),
        ("normalize_scores", scores, path / "test.scp", path / "cohort.scp", path / "scores/trials_asnorm.txt"),
        ("compute_metrics", path / "trials", scores, path / "results", "--draws", 10),
    ]


def start(path, name, *words):
    command = [sys.executable, str(STEPS / f"{name}.py"), *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def run(path, name, *words):
    process = start(path, name, *words)
    _, errors = process.communicate()
    assert process.returncode == 0, errors


def outputs(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("stage", [5, 6, 7])
def test_a_killed_stage_leaves_nothing_half_written_and_runs_again(folder, stage, number):
    command = commands(folder)[stage - 5]
    out = folder / ("results" if stage == 7 else "scores")
    run(folder, *command)
    whole = outputs(out)
    target = whole.keys() if stage == 7 else [Path(command[-1]).name]
    for name in target:
        (out / name).unlink()
    process = start(folder, *command)
    deadline = time.monotonic() + 60
    while not list(out.glob(".*.partial")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.0005)
    process.send_signal(number)
    _, errors = process.communicate()
    assert b"Traceback" not in errors
    # What is there is what an undisturbed run writes; the pictures of two runs differ in nothing either.
    assert outputs(out).items() <= whole.items()
    if process.returncode:
        assert process.returncode in (130, -signal.SIGKILL)
    run(folder, *command)
    assert outputs(out) == whole
    assert not list(out.glob(".*.partial"))
    if stage == 7:
        assert json.loads(whole["trials.json"])["trials"] == 3 * 400 * 399 // 2
