"""A bank of recordings, and what tells whether it is the same as another."""

import hashlib
import json

import numpy as np
import pytest

from vouch.augment.bank import is_current, read_bank, write_bank
from vouch.base.errors import VouchError

RATE = 16000
TONE = (0.5 * np.sin(np.arange(100))).astype(np.float32)


def digest_of(folder, recordings, rate=RATE):
    write_bank(folder, recordings, rate)
    return read_bank(folder, rate).digest


def test_the_digest_follows_from_all_that_is_drawn_from(tmp_path):
    usual = {"noise": [("a.wav", TONE)], "room": [("b.wav", TONE[:50])]}
    digest = digest_of(tmp_path, usual)
    assert digest_of(tmp_path / "again", usual) == digest
    one_sample = TONE.copy()
    one_sample[7] += 1 / 32768
    others = [
        {"noise": [("a.wav", one_sample)], "room": [("b.wav", TONE[:50])]},
        {"noise": [("c.wav", TONE)], "room": [("b.wav", TONE[:50])]},
        {"music": [("a.wav", TONE)], "room": [("b.wav", TONE[:50])]},
        {"room": [("b.wav", TONE[:50])], "noise": [("a.wav", TONE)]},
        {"noise": [("a.wav", TONE[:99])], "room": [("b.wav", TONE[:50])]},
    ]
    found = [digest_of(tmp_path, other) for other in others]
    assert len({digest, digest_of(tmp_path / "slow", usual, 8000), *found}) == 2 + len(others)


def test_the_digest_is_a_hash_of_names_and_samples(tmp_path):
    digest = digest_of(tmp_path, {"noise": [("a.wav", TONE)]})
    samples = np.round(TONE * 32768).astype("<i2").tobytes()
    assert digest == hashlib.sha256(b"16000\nnoise 100 a.wav\n" + samples).hexdigest()


def test_a_bank_moves_to_a_device_with_its_digest(tmp_path):
    write_bank(tmp_path, {"noise": [("a.wav", TONE)]}, RATE)
    bank = read_bank(tmp_path, RATE)
    assert bank.to(bank.samples.device).digest == bank.digest


@pytest.mark.parametrize("missing", ["bank.raw", "bank.json"])
def test_what_a_bank_was_made_from_tells_whether_it_is_current(tmp_path, missing):
    write_bank(tmp_path, {"noise": [("a.wav", TONE)]}, RATE, made_from="x")
    assert is_current(tmp_path, "x") and not is_current(tmp_path, "y")
    (tmp_path / missing).unlink()
    assert not is_current(tmp_path, "x")


@pytest.mark.parametrize("count", [0, -3, 2.5])
def test_a_length_that_no_recording_has(tmp_path, count):
    write_bank(tmp_path, {"noise": [("a", np.ones(100, np.float32))]}, 16000)
    index = json.loads((tmp_path / "bank.json").read_text())
    index["recordings"]["noise"][0][1] = count
    (tmp_path / "bank.json").write_text(json.dumps(index))
    with pytest.raises(VouchError, match="a damaged bank"):
        read_bank(tmp_path, 16000)
