"""Folders of noises as other people leave them."""

import numpy as np
import pytest
import soundfile

from vouch.augment.bank import read_bank
from vouch.augment.collect import Collection, is_packed, pack
from vouch.base.errors import VouchError

RATE = 16000


def tone(seconds, rate, hertz=440.0):
    return 0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def response(*peaks, rate=RATE):
    """A response with a peak of each height, 100 ms apart."""
    samples = np.zeros(rate // 10 * len(peaks))
    samples[5 :: rate // 10] = peaks
    return samples


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "noise/deep/er").mkdir(parents=True)
    soundfile.write(tmp_path / "noise/a.wav", tone(1, RATE), RATE)
    soundfile.write(tmp_path / "noise/deep/b.flac", tone(0.5, 48000), 48000)
    soundfile.write(tmp_path / "noise/deep/er/loud.wav", 8 * tone(0.25, RATE), RATE, subtype="FLOAT")
    (tmp_path / "noise/._a.wav").write_bytes(b"\0\5\x16\7")
    (tmp_path / "noise/deep/._b.flac").write_bytes(b"\0\5\x16\7")
    (tmp_path / "noise/empty.wav").write_bytes(b"")
    (tmp_path / "noise/text.wav").write_text("not audio")
    (tmp_path / "noise/gone.wav").symlink_to("nowhere.wav")
    whole = (tmp_path / "noise/a.wav").read_bytes()
    (tmp_path / "noise/cut.wav").write_bytes(whole[:1000])
    soundfile.write(tmp_path / "noise/silent.wav", np.zeros(1000), RATE)
    soundfile.write(tmp_path / "noise/nothing.wav", np.zeros(0), RATE)
    soundfile.write(tmp_path / "noise/slow.wav", tone(1, 8000), 8000)
    soundfile.write(tmp_path / "noise/stereo.wav", np.stack([tone(1, RATE)] * 2, axis=1), RATE)
    (tmp_path / "noise/readme.txt").write_text("x")
    return tmp_path


def pack_into(target, sources, rate=RATE, **options):
    collection = Collection(sources, rate, **options)
    found = collection.find()
    pack(target, collection, found)
    return read_bank(target, rate), found.left_out


def samples_of(bank, kind, number):
    places = bank.kind(kind)
    first = places.first[number]
    return bank.samples[first : first + places.length[number]].numpy() / 32768


def test_what_is_of_use_is_packed_and_the_rest_named(folder):
    bank, left_out = pack_into(folder / "bank", {"noise": folder / "noise"})
    by_reason = {reason: sorted(files) for reason, files in left_out.items()}
    assert by_reason == {
        "hidden, as macOS leaves them beside what it copies": ["noise/._a.wav", "noise/deep/._b.flac"],
        "not readable": [
            "noise/cut.wav",
            "noise/empty.wav",
            "noise/gone.wav",
            "noise/nothing.wav",
            "noise/text.wav",
        ],
        "silent": ["noise/silent.wav"],
        "of a lower sampling rate than 16000 Hz": ["noise/slow.wav"],
        "of several channels": ["noise/stereo.wav"],
    }
    assert bank.kind("noise").names == ["a.wav", "deep/b.flac", "deep/er/loud.wav"]
    assert bank.kind("noise").length.tolist() == [16000, 8000, 4000]
    np.testing.assert_allclose(samples_of(bank, "noise", 1)[500:7500], tone(0.5, RATE)[500:7500], atol=2e-3)
    # What floating-point numbers hold beyond full scale is not clipped.
    loud = samples_of(bank, "noise", 2)
    np.testing.assert_allclose(loud, tone(0.25, RATE) / np.abs(tone(0.25, RATE)).max(), atol=1e-4)


def test_noises_of_a_telephone_suit_speech_of_a_telephone(folder):
    bank, left_out = pack_into(folder / "bank", {"noise": folder / "noise"}, rate=8000)
    assert "slow.wav" in bank.kind("noise").names
    assert not any("rate" in reason for reason in left_out)


def test_of_a_response_the_first_channel_counts_and_only_its_shape(tmp_path):
    rooms = tmp_path / "rooms"
    rooms.mkdir()
    ambisonic = np.stack([response(0.02, 0.01), response(0.5, 0.3), response(-0.02, 0), response(0, 0.1)], axis=1)
    soundfile.write(rooms / "s1_r1_b.flac", ambisonic, RATE)
    soundfile.write(rooms / "tiny.wav", 1e-3 * response(1, -0.25), RATE, subtype="FLOAT")
    soundfile.write(rooms / "studio.wav", response(0.5, 0.2, rate=48000), 48000)
    soundfile.write(rooms / "phone.wav", response(0.5, rate=8000), 8000)
    soundfile.write(rooms / "still.wav", response(0.0), RATE)
    bank, left_out = pack_into(tmp_path / "bank", {"room": rooms})
    assert bank.kind("room").names == ["s1_r1_b.flac", "studio.wav", "tiny.wav"]
    assert bank.kind("room").length.tolist() == [3200, 3200, 3200]
    np.testing.assert_allclose(samples_of(bank, "room", 0)[[5, 1605]], [1, 0.5], atol=2e-3)
    np.testing.assert_allclose(samples_of(bank, "room", 2)[[5, 1605]], [1, -0.25], atol=1e-4)
    assert np.abs(samples_of(bank, "room", 1)).max() > 0.999
    assert sorted(name for files in left_out.values() for name in files) == ["room/phone.wav", "room/still.wav"]


def test_noises_among_responses_are_told_by_their_list(tmp_path):
    """RIRS_NOISES: recorded rooms lie beside isotropic noises, and point sources have a folder of their own."""
    real, points = tmp_path / "RIRS_NOISES/real_rirs_isotropic_noises", tmp_path / "RIRS_NOISES/pointsource_noises"
    small = tmp_path / "RIRS_NOISES/simulated_rirs/smallroom/Room001"
    for path in (real / "air_booth.wav", real / "RVB2014_noise.wav", points / "noise-1.wav", small / "Room001-1.wav"):
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, response(0.5, 0.1), RATE)
    (real / "rir_list").write_text("--rir-id 1 --room-id air RIRS_NOISES/real_rirs_isotropic_noises/air_booth.wav\n")
    (real / "noise_list").write_text("--noise-id 1 --room-linkage air RVB2014_noise.wav\n")
    (points / "noise_list").write_text("--noise-id 1 RIRS_NOISES/pointsource_noises/noise-1.wav\n")
    (small.parent / "rir_list").write_text("--rir-id 1 --room-id 1 RIRS_NOISES/simulated_rirs/x/Room001-1.wav\n")
    bank, left_out = pack_into(tmp_path / "bank", {"room": tmp_path / "RIRS_NOISES"})
    assert bank.kind("room").names == [
        "real_rirs_isotropic_noises/air_booth.wav",
        "simulated_rirs/smallroom/Room001/Room001-1.wav",
    ]
    assert len(left_out["noises, not rooms"]) == 2


def test_what_is_held_back(folder):
    sources, held = {"noise": folder / "noise"}, frozenset({"deep/b.flac", "slow.wav"})
    bank, _ = pack_into(folder / "bank", sources, held_back=held)
    assert bank.kind("noise").names == ["a.wav", "deep/er/loud.wav"]
    bank, left_out = pack_into(folder / "bank", sources, held_back=held, only_held_back=True)
    assert bank.kind("noise").names == ["deep/b.flac"]
    assert "of a lower sampling rate than 16000 Hz" in left_out
    with pytest.raises(VouchError, match=r"'deep/c\.flac', which is to be held back.*did you mean 'deep/b\.flac'"):
        pack_into(folder / "bank", sources, held_back=frozenset({"deep/c.flac"}))


def test_simulated_rooms_join_the_recorded_ones(folder):
    (folder / "rooms").mkdir()
    soundfile.write(folder / "rooms/a.wav", response(0.5), RATE)
    simulated = [("simulated-1", np.array([0, 0.1, 0.05], np.float32))]
    collection = Collection({"room": folder / "rooms"}, RATE, simulated=1)
    pack(folder / "bank", collection, collection.find(), simulated)
    bank = read_bank(folder / "bank", RATE)
    assert bank.kind("room").names == ["a.wav", "simulated-1"]
    np.testing.assert_allclose(samples_of(bank, "room", 1), [0, 1, 0.5], atol=1e-4)


def test_a_failing_disk_ends_it(folder, monkeypatch):
    """Otherwise the bank would lack for ever what could not be read once."""

    def fail(path, *_):
        try:
            raise OSError(5, "Input/output error")
        except OSError:
            raise VouchError(f"{path}: Input/output error") from None

    monkeypatch.setattr("vouch.augment.collect.read_audio", fail)
    with pytest.raises(VouchError, match=r"a\.wav: Input/output error"):
        pack_into(folder / "bank", {"noise": folder / "noise"})


def test_nothing_of_use_leaves_the_old_bank(folder):
    pack_into(folder / "bank", {"noise": folder / "noise"})
    old = (folder / "bank/bank.json").read_bytes()
    (folder / "rooms").mkdir()
    with pytest.raises(VouchError, match="rooms: no audio files"):
        pack_into(folder / "bank", {"room": folder / "rooms"})
    soundfile.write(folder / "rooms/r.wav", np.zeros(50), RATE)
    with pytest.raises(VouchError, match=r"no recording of 'room' is of use: 1 silent \(such as room/r\.wav\)"):
        pack_into(folder / "bank", {"noise": folder / "noise", "room": folder / "rooms"})
    with pytest.raises(VouchError, match="gone: No such file"):
        pack_into(folder / "bank", {"room": folder / "gone"})
    assert (folder / "bank/bank.json").read_bytes() == old
    read_bank(folder / "bank", RATE)


def test_a_bank_is_current_until_a_file_or_an_option_changes(folder):
    sources = {"noise": folder / "noise"}
    pack_into(folder / "bank", sources)

    def is_current(sources=sources, rate=RATE, **options):
        collection = Collection(sources, rate, **options)
        return is_packed(folder / "bank", collection, collection.find())

    assert is_current()
    assert not is_current(rate=8000) and not is_current(held_back=frozenset({"a.wav"}))
    assert not is_current({"music": folder / "noise"}) and not is_current(simulated=1)
    (folder / "noise").rename(folder / "moved")
    assert is_current({"noise": folder / "moved"})
    whole = (folder / "bank/bank.raw").read_bytes()
    (folder / "bank/bank.raw").write_bytes(whole[:-2])
    assert not is_current({"noise": folder / "moved"})
    (folder / "bank/bank.raw").write_bytes(whole)
    soundfile.write(folder / "moved/a.wav", tone(1, RATE, 220), RATE)
    assert not is_current({"noise": folder / "moved"})
