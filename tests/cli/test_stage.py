"""What the scripts of the heavy stages share."""

import argparse
import sys

import numpy as np
import pytest
import torch

import vouch.cli.stage as stage
from vouch.base.errors import VouchError
from vouch.jobs.results import Result
from vouch.jobs.shards import Shards
from vouch.kaldi.tables import read_table


@pytest.fixture
def threads():
    """Two threads, as on a machine with two cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def run(folder, used, threads=1, job="", listed_too=None, **options):
    args = argparse.Namespace(**{"nj": 1, "cmd": "", "max_failed": 0.05, "job": job, **options})

    def work(items):
        used.append(torch.get_num_threads())
        yield from write(items)

    shards = Shards(folder / "x", ["a", "c"], "f", size=1)
    return stage.run_shards(args, shards, folder / "x.scp", lambda: work, listed_too=listed_too or {}, threads=threads)


def write(items):
    for item in items:
        yield Result(item, np.ones((2, 3)))


@pytest.mark.parametrize(("asked", "job", "expected"), [(1, "", 1), (0, "", 2), (0, "2/2", 1), (1, "1/2", 1)])
def test_threads(tmp_path, threads, asked, job, expected):
    """A job shares the machine with others, whatever a single process may take."""
    used = []
    outcome = run(tmp_path, used, asked, job)
    assert set(used) == {expected}
    assert (outcome is None) == bool(job)
    assert (tmp_path / "x.scp").exists() == (not job)


def test_other_lines_of_the_table(tmp_path):
    run(tmp_path, [], listed_too={"b": "elsewhere.ark:5"})
    table = read_table(tmp_path / "x.scp")
    assert list(table) == ["a", "b", "c"]
    assert table["b"] == "elsewhere.ark:5"


def test_jobs_are_started_as_the_script_was(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(stage, "launch", lambda *words: given.append(words))
    monkeypatch.setattr(sys, "argv", ["steps/work.py", "data", "--nj", "3"])
    with pytest.raises(VouchError, match="shard 1 of 2 is missing"):
        run(tmp_path, [], nj=3, cmd="utils/slurm.py --mem 4G")
    (cmd, jobs, log_dir, stem, command, _), *_ = given
    assert (cmd, jobs, log_dir, stem) == ("utils/slurm.py --mem 4G", 3, tmp_path / "log", "work")
    assert command[2:] == ["data", "--nj", "3"]


def test_without_a_terminal_a_line_a_minute_says_how_far_it_is(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(stage.time, "monotonic", lambda: now[0])
    with stage.ProgressBar("batches") as bar:
        for done in range(1, 8):
            now[0] += 25
            bar.show(f"epoch 1, loss {done}", done, 7)
    assert capsys.readouterr().err.splitlines() == [
        "epoch 1, loss 3, 3 of 7 batches done",
        "epoch 1, loss 6, 6 of 7 batches done",
    ]
    with stage.ProgressBar("utt", 100, done=40) as bar:
        bar.update(10)
        now[0] += 61
        bar.update(10)
    assert capsys.readouterr().err == "60 of 100 utt done\n"


def test_whoever_waits_for_jobs_is_told_how_far_they_are(tmp_path, monkeypatch, capsys):
    """Two jobs of three shards each: one has finished all, the other one shard and two utterances of the next."""
    monkeypatch.setattr(stage, "SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setattr(sys, "argv", ["steps/work.py"])
    items = [f"utt{number}" for number in range(16)]
    shards = Shards(tmp_path / "x", items, "f", size=3)  # six, the last of one item

    def pretend(cmd, jobs, log_dir, stem, command, look):
        log_dir.mkdir()
        logs = [log_dir / f"{stem}.{job}.log" for job in (1, 2)]
        look(logs)
        shards.run(write, 1, 2)
        shards._run_shard(1, write)
        logs[1].write_text("# work.py\n3 of 7 utt done\nwarning: 9 of 9 utt\n5 of 7 utt done\nx: warning\n")
        look(logs)
        raise VouchError("enough")

    monkeypatch.setattr(stage, "launch", pretend)
    args = argparse.Namespace(nj=2, cmd="", max_failed=0.05, job="")
    with pytest.raises(VouchError, match="enough"):
        stage.run_shards(args, shards, tmp_path / "x.scp", lambda: write)
    assert capsys.readouterr().err.splitlines() == [
        "0 of 2 jobs done, 0 of 16 utt done",
        "1 of 2 jobs done, 14 of 16 utt done",
    ]


def test_a_job_writes_into_its_log_how_far_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(stage, "SECONDS_BETWEEN_LINES", 0.0)
    assert run(tmp_path, [], job="2/2") is None
    assert capsys.readouterr().err == "1 of 1 utt done\n"


def test_short_memory_is_one_line_with_advice():
    for error in (MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")):
        words = r"more memory is needed than there is.*; take less"
        with pytest.raises(VouchError, match=words), stage.memory_advice("take less"):
            raise error
    with pytest.raises(RuntimeError, match="a bug"), stage.memory_advice("take less"):
        raise RuntimeError("a bug")
