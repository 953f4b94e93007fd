"""Folders of noises as other people leave them."""

import numpy as np
import pytest
import soundfile

from vouch.augment.bank import read_bank
from vouch.augment.collect import pack
from vouch.base.errors import VouchError

RATE = 16000


def tone(seconds, rate, hertz=440.0):
    return 0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "noise/deep/er").mkdir(parents=True)
    soundfile.write(tmp_path / "noise/a.wav", tone(1, RATE), RATE)
    soundfile.write(tmp_path / "noise/deep/b.flac", tone(0.5, 8000), 8000)
    soundfile.write(tmp_path / "noise/deep/er/c.wav", np.stack([tone(0.25, RATE), np.zeros(4000)], axis=1), RATE)
    (tmp_path / "noise/._a.wav").write_bytes(b"\0\5\x16\7")
    (tmp_path / "noise/empty.wav").write_bytes(b"")
    (tmp_path / "noise/text.wav").write_text("not audio")
    soundfile.write(tmp_path / "noise/silent.wav", np.zeros(1000), RATE)
    soundfile.write(tmp_path / "noise/nothing.wav", np.zeros(0), RATE)
    (tmp_path / "noise/readme.txt").write_text("x")
    return tmp_path


def test_what_is_of_use_is_packed_and_the_rest_named(folder):
    left_out = pack(folder / "bank", {"noise": folder / "noise"}, RATE)
    assert sorted(path.rpartition("/")[2] for path in left_out) == [
        "empty.wav",
        "nothing.wav",
        "silent.wav",
        "text.wav",
    ]
    assert left_out[str(folder / "noise/silent.wav")].endswith(": silence")
    bank = read_bank(folder / "bank", RATE)
    places = bank.kind("noise")
    assert places.names == ["a.wav", "deep/b.flac", "deep/er/c.wav"]
    assert places.length.tolist() == [16000, 8000, 4000]
    first = places.first[1]
    middle = bank.samples[first + 500 : first + 7500].numpy() / 32768
    np.testing.assert_allclose(middle, tone(0.5, RATE)[500:7500], atol=2e-3)
    halved = bank.samples[places.first[2] :].numpy() / 32768
    np.testing.assert_allclose(halved, tone(0.25, RATE) / 2, atol=1e-4)


def test_what_is_held_back_is_not_packed(folder):
    pack(folder / "bank", {"noise": folder / "noise"}, RATE, frozenset({"deep/b.flac"}))
    assert read_bank(folder / "bank", RATE).kind("noise").names == ["a.wav", "deep/er/c.wav"]


def test_nothing_of_use(folder):
    (folder / "rooms").mkdir()
    with pytest.raises(VouchError, match="rooms: no recording of 'room' is of use, of 0"):
        pack(folder / "bank", {"noise": folder / "noise", "room": folder / "rooms"}, RATE)
    assert not (folder / "bank/bank.json").exists() and not (folder / "bank/bank.raw").exists()
    soundfile.write(folder / "rooms/r.wav", np.zeros(50), RATE)
    with pytest.raises(VouchError, match=r"of 1 \(.*r\.wav: silence\)"):
        pack(folder / "bank", {"room": folder / "rooms"}, RATE)
    with pytest.raises(VouchError, match="gone: No such file"):
        pack(folder / "bank", {"room": folder / "gone"}, RATE)
