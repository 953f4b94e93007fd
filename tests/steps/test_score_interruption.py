"""Stages 5 to 7, killed while they write, and then the same command again."""

import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from processes import succeeds

from vouch.kaldi.matrices.writing import open_ark

IDS = [f"s{number:03d}" for number in range(400)]


@pytest.fixture(scope="module")
def folder(scripts, tmp_path_factory):
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
    succeeds(scripts.run(*commands(path)[0], cwd=path))
    return path


def commands(path):
    scores = path / "scores/trials.txt"
    return [
        ("steps/score_trials.py", path / "trials", path / "test.scp", scores),
        (
            "steps/normalize_scores.py",
            scores,
            path / "test.scp",
            path / "cohort.scp",
            path / "scores/trials_asnorm.txt",
        ),
        ("steps/compute_metrics.py", path / "trials", scores, path / "results", "--draws", 10),
    ]


def outputs(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("stage", [5, 6, 7])
def test_a_killed_stage_leaves_nothing_half_written_and_runs_again(scripts, folder, stage, number):
    command = commands(folder)[stage - 5]
    out = folder / ("results" if stage == 7 else "scores")
    succeeds(scripts.run(*command, cwd=folder))
    whole = outputs(out)
    target = whole.keys() if stage == 7 else [Path(command[-1]).name]
    for name in target:
        (out / name).unlink()
    process = scripts.start(*command, cwd=folder)
    deadline = time.monotonic() + 60
    while not list(out.glob(".*.partial")) and process.is_running() and time.monotonic() < deadline:
        time.sleep(0.0005)
    process.send(number)
    done = process.wait()
    assert "Traceback" not in done.stderr
    # What is there is what an undisturbed run writes; the pictures of two runs differ in nothing either.
    assert outputs(out).items() <= whole.items()
    if done.returncode:
        assert done.returncode in (130, -signal.SIGKILL)
    succeeds(scripts.run(*command, cwd=folder))
    assert outputs(out) == whole
    assert not list(out.glob(".*.partial"))
    if stage == 7:
        assert json.loads(whole["trials.json"])["trials"] == 3 * 400 * 399 // 2
