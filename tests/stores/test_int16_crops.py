"""Crops of waveforms as 16-bit integers: from every kind of recording what the crops as floats are, rounded."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from corpus import voice
from threads import wrong_crops

from vouch.audio.pcm16 import OTHER, find_place
from vouch.base.errors import VouchError
from vouch.kaldi.datadirs.datadir import DataDir, write_data_dir
from vouch.kaldi.tables import read_table, write_table
from vouch.stores import waves
from vouch.stores.waves import WaveStore

RATE = 16000
# Kinds whose samples are copied from the file as they are.
PLACED = ["s-endless", "s-flac", "s-member", "s-wav"]


def load(path, channel="mean"):
    return WaveStore(DataDir.load(path, need=["wav.scp"]), RATE, channel)


def cut(store, index, first, samples):
    out = np.full(samples, 12345, np.int16)
    store.crop16(index, first, out)
    return out


def cut_float(store, index, first, samples):
    """The crop as floats, by the rule of 16-bit integers, in double precision."""
    out = np.empty(samples, np.float32)
    store.crop(index, first, out)
    return [max(-32768, min(32767, round(float(value) * 32768))) for value in out]


def write_mixed(folder):
    """One recording of each kind, all loud enough to touch the ends of the range."""
    kinds = {
        "wav": {"suffix": "wav"},
        "stereo": {"suffix": "wav", "channels": 2},
        "wav24": {"suffix": "wav", "subtype": "PCM_24"},
        "wav8": {"suffix": "wav", "subtype": "PCM_U8"},
        "ulaw": {"suffix": "wav", "subtype": "ULAW"},
        "float": {"suffix": "wav", "subtype": "FLOAT"},
        "extensible": {"suffix": "wav", "format": "WAVEX"},
        "big": {"suffix": "wav", "endian": "BIG"},
        "flac": {"suffix": "flac"},
        "flac24": {"suffix": "flac", "subtype": "PCM_24"},
        "flac_stereo": {"suffix": "flac", "channels": 2},
        "ogg": {"suffix": "ogg"},
        "narrow": {"suffix": "wav", "rate": 8000},
        "wide": {"suffix": "flac", "rate": 44100},
    }
    wav_scp = {}
    for number, (kind, made) in enumerate(kinds.items()):
        rate, path = made.pop("rate", RATE), folder / f"s-{kind} é.{made.pop('suffix')}"
        channels = [voice(3 + channel, number, 0.3 + 0.01 * number, rate) for channel in range(made.pop("channels", 1))]
        samples = np.stack(channels, axis=1)
        samples *= (1.2 if kind == "float" else 1.0) / np.abs(samples).max()
        samples[100], samples[101] = 1, -1
        soundfile.write(path, samples, rate, **made)
        wav_scp[f"s-{kind}"] = str(path)
    wav_scp["s-pipe"] = f"cat '{wav_scp['s-wav']}' |"
    parts = [Path(wav_scp[name]).read_bytes() for name in ("s-stereo", "s-wav")]
    (folder / "three.ark").write_bytes(parts[0] + parts[1] + parts[0])
    wav_scp["s-member"] = f"{folder}/three.ark:{len(parts[0])}"
    # A program that wrote to a pipe did not know the size, and what it wrote has chunks before the samples.
    chunk = b"LIST" + struct.pack("<I", 5) + b"abcde\0"
    endless = parts[1][:36] + chunk + b"data\xff\xff\xff\xff" + parts[1][44:]
    (folder / "endless.wav").write_bytes(endless)
    wav_scp["s-endless"] = str(folder / "endless.wav")
    write_data_dir(folder / "data", wav_scp, dict.fromkeys(wav_scp, "s"))
    return folder / "data"


@pytest.fixture
def mixed(tmp_path):
    return write_mixed(tmp_path)


def test_crops_are_the_crops_as_floats_rounded(mixed):
    store = load(mixed)
    for index, length in enumerate(store.lengths.tolist()):
        for first, samples in ((0, 1), (77, 3000), (90, 20), (length - 50, 50), (0, length), (5, 2 * length + 3)):
            assert cut(store, index, first, samples).tolist() == cut_float(store, index, first, samples)


def test_sixteen_bits_stay_as_they_are(mixed):
    store, paths = load(mixed), read_table(mixed / "wav.scp")
    for kind in ("wav", "flac", "extensible", "ulaw"):
        samples, _ = soundfile.read(paths[f"s-{kind}"], dtype="int16")
        assert samples[100:102].max() > 32000 and samples.min() < -32000
        index = store.utterances.index(f"s-{kind}")
        np.testing.assert_array_equal(cut(store, index, 0, len(samples)), samples)
        np.testing.assert_array_equal(
            cut(store, index, 7, 3 * len(samples)), np.resize(np.roll(samples, -7), 3 * len(samples))
        )


def test_plain_files_are_not_decoded(mixed, monkeypatch):
    entries = read_table(mixed / "wav.scp").items()
    assert [name for name, entry in entries if find_place(entry, RATE).kind != OTHER] == PLACED
    store = load(mixed)
    monkeypatch.setattr(waves, "read_span", lambda *arguments: pytest.fail("a decoder was opened"))
    for name in PLACED:
        assert cut(store, store.utterances.index(name), 40, 500).any()


@pytest.mark.parametrize("channel", [0, "mean"])
def test_the_channel_is_chosen_as_for_floats(mixed, channel):
    store = load(mixed, channel)
    for name in ("s-wav", "s-stereo", "s-flac_stereo"):
        index = store.utterances.index(name)
        assert cut(store, index, 9, 500).tolist() == cut_float(store, index, 9, 500)


def test_a_channel_that_is_not_there(mixed):
    store = load(mixed, 1)
    with pytest.raises(VouchError, match=r"'s-wav': .*there is no channel 1, it has 1"):
        cut(store, store.utterances.index("s-wav"), 0, 100)


def test_segments(mixed):
    segments = {
        "s-a": "s-flac 0.05 0.151",
        "s-b": "s-stereo 0.0123456 0.13",
        "s-c": "s-narrow 0.05 -1",
        "s-d": "s-wav 0.1 -1",
        "s-e": "s-wav 0.1 0.6",  # a rounding error beyond the end
        "s-f": "s-member 0.05 0.15",
    }
    write_table(mixed / "segments", segments)
    write_table(mixed / "utt2spk", dict.fromkeys(segments, "s"))
    store = load(mixed)
    member, _ = soundfile.read(read_table(mixed / "wav.scp")["s-wav"], dtype="int16")
    np.testing.assert_array_equal(cut(store, 5, 33, 400), member[833:1233])
    np.testing.assert_array_equal(cut(store, 5, 33, 1600), np.roll(member[800:2400], -33))
    for index in range(len(segments)):
        for first, samples in ((33, 400), (7, 9000)):
            assert cut(store, index, first, samples).tolist() == cut_float(store, index, first, samples)
    # The last samples of the longest plan are not there.
    np.testing.assert_array_equal(cut(store, 4, 7900, 100), member[-100:])


def test_a_recording_shorter_or_longer_than_planned(mixed):
    names = list(read_table(mixed / "wav.scp"))
    for planned in (100, 4805, 100_000):
        write_table(mixed / "utt2num_samples", dict.fromkeys(names, str(planned)))
        store = load(mixed)
        for index in range(len(store)):
            whole = np.round(store.matrix(index).clip(-1, 1 - 2**-15) * 32768)
            for first in (0, (planned - 90) // 2, planned - 90):
                begin = min(first, len(whole) - 90)
                np.testing.assert_array_equal(cut(store, index, first, 90), whole[begin : begin + 90])
            np.testing.assert_array_equal(cut(store, index, 0, 9000), np.resize(whole, 9000))


@pytest.mark.parametrize("is_member", [False, True])
def test_a_file_that_changes_is_read_as_it_is_now(mixed, is_member):
    paths = read_table(mixed / "wav.scp")
    store = load(mixed)
    index = store.utterances.index("s-member" if is_member else "s-wav")
    before = cut(store, index, 10, 2000)
    path = Path(paths["s-wav"])
    samples, _ = soundfile.read(path, dtype="int16")
    content = path.read_bytes()
    # As many bytes, of which fewer are samples; and as many samples, behind a longer header.
    for chunks, count in ((b"LIST\x10\0\0\0" + b"b" * 16, 24), (b"LIST\x02\0\0\0ab", 0)):
        size = struct.pack("<I", 2 * len(samples) - count)
        new = content[:36] + chunks + b"data" + size + (-samples - 1).tobytes()[: len(samples) * 2 - count]
        if is_member:
            place = int(paths["s-member"].rpartition(":")[2])
            archive = Path(paths["s-member"].rpartition(":")[0])
            new = archive.read_bytes()[:place] + new
            path = archive
        path.write_bytes(new)
        os.utime(path, (0, 1_000_000_000 + count))
        for _ in range(2):
            np.testing.assert_array_equal(cut(store, index, 10, 2000), -1 - before)
    path.write_bytes(new[:-1])
    with pytest.raises(VouchError, match=r"wav\.scp: 's-.*': .*truncated wav"):
        cut(store, index, 10, 2000)
    path.unlink()
    with pytest.raises(VouchError, match=r"wav\.scp: 's-.*': .*No such file"):
        cut(store, index, 10, 2000)


def test_flac_that_changes_is_read_as_it_is_now(mixed):
    path, store = Path(read_table(mixed / "wav.scp")["s-flac"]), load(mixed)
    index = store.utterances.index("s-flac")
    before = cut(store, index, 10, 2000)
    samples, _ = soundfile.read(path, dtype="int16")
    soundfile.write(path, -1 - samples, RATE)
    os.utime(path, (0, 1_000_000_000))
    for _ in range(2):
        np.testing.assert_array_equal(cut(store, index, 10, 2000), -1 - before)
    soundfile.write(path, np.stack([samples, samples], axis=1)[:-500], RATE)
    np.testing.assert_array_equal(cut(store, index, 10, 2000), before)
    # What the file holds no more is replaced by what comes before it.
    np.testing.assert_array_equal(cut(store, index, len(samples) - 600, 600), samples[-1100:-500])
    soundfile.write(path, samples, RATE)
    cut(store, index, 10, 2000)
    os.truncate(path, 3000)
    with pytest.raises(VouchError, match=r"wav\.scp: 's-flac': .*(truncated|not readable)"):
        cut(store, index, 10, 4000)


def test_bad_recordings_are_named(mixed):
    paths = read_table(mixed / "wav.scp")
    soundfile.write(paths["s-float"], np.array([0.1] * 4000 + [np.nan] + [0.1] * 4000), RATE, "FLOAT")
    os.truncate(paths["s-wav"], os.path.getsize(paths["s-wav"]) - 100)
    soundfile.write(paths["s-extensible"], np.zeros(0), RATE, format="WAVEX")
    Path(paths["s-big"]).unlink()
    write_table(mixed / "wav.scp", {**paths, "s-pipe": "echo gone >&2; false |"})
    write_table(mixed / "utt2dur", dict.fromkeys(paths, "0.5"))
    store = load(mixed)
    errors = {
        "s-float": "NaN or infinite samples",
        "s-wav": "truncated wav",
        "s-extensible": "no samples",
        "s-big": "No such file",
        "s-pipe": "failed with status 1: gone",
    }
    for name, reason in errors.items():
        with pytest.raises(VouchError, match=rf"wav\.scp: '{name}': .*{reason}"):
            cut(store, store.utterances.index(name), 3990, 20)


def test_a_named_pipe_is_not_emptied_by_looking(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    assert find_place(str(tmp_path / "fifo"), RATE).kind == OTHER


def test_threads_may_share_a_store(mixed):
    store = load(mixed)
    wholes = [np.round(store.matrix(index).clip(-1, 1 - 2**-15) * 32768) for index in range(len(store))]
    assert not wrong_crops(store, wholes, cut)
