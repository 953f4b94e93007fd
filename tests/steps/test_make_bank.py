"""The first part of stage 2 as a user runs it."""

import json
import signal

import numpy as np
import pytest
import soundfile
from processes import fails, succeeds, wait_for

from vouch.augment.bank import read_bank

BANK, RATE = "steps/make_bank.py", 16000


@pytest.fixture
def folders(tmp_path):
    """A folder like MUSAN without music, and a room."""
    rng = np.random.default_rng(0)
    for name, shape in {
        "noise/a.wav": 5000,
        "noise/b.wav": (4000, 2),
        "noise/c.wav": 3000,
        "speech/a.wav": 900,
    }.items():
        path = tmp_path / "musan" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * rng.standard_normal(shape), RATE)
    (tmp_path / "musan/noise/._a.wav").write_bytes(b"\0\5\x16\7")
    (tmp_path / "rirs").mkdir()
    soundfile.write(tmp_path / "rirs/hall.wav", rng.standard_normal(2000) * np.exp(-np.arange(2000) / 300) / 9, RATE)
    return tmp_path


def test_noises_and_rooms_become_a_bank(scripts, folders):
    words = ("bank", "--musan", "musan", "--rirs", "rirs")
    done = succeeds(scripts.run(BANK, *words, cwd=folders))
    assert done.stdout == (
        "bank: 2 of 'noise' (0.0 min), 1 of 'speech' (0.0 min), 1 of 'room' (0.0 min); 2 files left out\n"
    )
    assert "left out, of several channels: 1 files: noise/b.wav\n" in done.stderr
    assert "left out, hidden, as macOS leaves them beside what it copies: 1 files: noise/._a.wav\n" in done.stderr
    listed = json.loads((folders / "bank/bank.json").read_text())["left_out"]
    assert listed["of several channels"] == {"noise/b.wav": "2 channels"}
    bank = read_bank(folders / "bank", RATE)
    assert {kind: list(places.length) for kind, places in bank.places.items()} == {
        "noise": [5000, 3000],
        "speech": [900],
        "room": [2000],
    }
    written = (folders / "bank/bank.raw").stat().st_mtime_ns
    done = succeeds(scripts.run(BANK, *words, cwd=folders))
    assert (done.stdout, done.stderr) == ("bank: is the bank of these recordings already\n", "")
    assert (folders / "bank/bank.raw").stat().st_mtime_ns == written
    (folders / "musan/noise/c.wav").unlink()
    assert "1 of 'noise'" in succeeds(scripts.run(BANK, *words, cwd=folders)).stdout


def test_what_is_held_back_makes_a_bank_of_its_own(scripts, folders):
    (folders / "held").write_text("c.wav\nhall.wav\n\n")
    words = ("--musan", "musan", "--rirs", "rirs", "--held-back", "held")
    (folders / "rirs/hall2.wav").write_bytes((folders / "rirs/hall.wav").read_bytes())
    succeeds(scripts.run(BANK, "bank", *words, cwd=folders))
    succeeds(scripts.run(BANK, "test_bank", *words, "--only-held-back", cwd=folders))
    training, test = read_bank(folders / "bank", RATE), read_bank(folders / "test_bank", RATE)
    assert {kind: places.names for kind, places in training.places.items()} == {
        "noise": ["a.wav"],
        "speech": ["a.wav"],
        "room": ["hall2.wav"],
    }
    assert {kind: places.names for kind, places in test.places.items()} == {"noise": ["c.wav"], "room": ["hall.wav"]}


def test_bad_input_is_one_line(scripts, folders):
    def refused(message, *words, status=1):
        fails(scripts.run(BANK, "out", *words, cwd=folders), message, status)

    (folders / "empty").mkdir()
    (folders / "hollow/noise").mkdir(parents=True)
    refused("needs --musan, --rirs or --simulate", status=2)
    refused("gone: no such folder", "--musan", "gone")
    refused("gone: No such file or directory", "--rirs", "gone")
    refused("empty: has none of the folders noise/, music/, speech/", "--musan", "empty")
    refused("hollow/noise: no audio files", "--musan", "hollow")
    refused("did you mean '--rirs'?", "--rir", "rirs", status=2)
    refused("must not be negative", "--rirs", "rirs", "--simulate", -1, status=2)
    refused("--only-held-back needs --held-back", "--rirs", "rirs", "--only-held-back", status=2)
    (folders / "held").write_text("\n")
    refused("held: names no files", "--rirs", "rirs", "--held-back", "held")
    (folders / "held").write_text("hal.wav\n")
    refused("'hal.wav', which is to be held back, is in no folder", "--rirs", "rirs", "--held-back", "held")
    refused("held: No such file", "--rirs", "rirs", "--held-back", "no/held")
    (folders / "rirs/hall.wav").write_bytes(b"RIFF")
    refused("no recording of 'room' is of use: 1 not readable (such as room/hall.wav)", "--rirs", "rirs")
    assert not (folders / "out/bank.json").exists()


def test_a_killed_run_leaves_no_bank_and_the_next_makes_it(scripts, folders):
    big = np.random.default_rng(1).standard_normal(RATE * 60).clip(-1, 1)
    soundfile.write(folders / "musan/noise/0.flac", big, RATE)
    for number in range(1, 40):
        (folders / f"musan/noise/{number}.flac").symlink_to("0.flac")
    process = scripts.start(BANK, "bank", "--musan", "musan", cwd=folders)
    wait_for(lambda: (folders / "bank/.bank.raw.partial").exists(), process)
    process.send(signal.SIGKILL)
    process.wait()
    assert not (folders / "bank/bank.json").exists()
    assert "42 of 'noise'" in succeeds(scripts.run(BANK, "bank", "--musan", "musan", cwd=folders)).stdout


def test_simulated_rooms(scripts, folders):
    pytest.importorskip("pyroomacoustics")
    succeeds(scripts.run(BANK, "bank", "--simulate", 2, "--seed", 5, cwd=folders))
    first = read_bank(folders / "bank", RATE)
    assert first.kind("room").names == ["simulated-5-1", "simulated-5-2"]
    succeeds(scripts.run(BANK, "again", "--simulate", 2, "--seed", 5, cwd=folders))
    assert read_bank(folders / "again", RATE).digest == first.digest
    succeeds(scripts.run(BANK, "again", "--simulate", 2, "--seed", 6, cwd=folders))
    assert read_bank(folders / "again", RATE).digest != first.digest


def test_a_full_disk(scripts, folders):
    fails(scripts.run(BANK, "bank", "--musan", "musan", cwd=folders, largest_file=5000), "File too large")
    assert not (folders / "bank/bank.json").exists() and not list(folders.glob("bank/.*partial"))
