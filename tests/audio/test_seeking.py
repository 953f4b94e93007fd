"""Excerpts of m4a files by seeking: those of the decoding of the whole file, which PyAV does here."""

import itertools
import os
import shutil
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile
from corpus import voice

from vouch.audio import seeking
from vouch.audio.reading import read_audio
from vouch.audio.seeking import read_seeking
from vouch.kaldi.datadirs.datadir import DataDir, write_data_dir
from vouch.stores.waves import WaveStore

RATE = 16000
# Without noise substitution, which the encoder of ffmpeg uses otherwise.
KINDS = {
    "aac": {"options": {"aac_pns": "0"}},
    "stereo": {"options": {"aac_pns": "0"}, "channels": 2},
    "alac": {"codec": "alac", "form": "s16p"},
}


def encode(path, samples, codec="aac", form="fltp", rate=RATE, channels=1, options=None, container_options=None):
    """Write (samples,) as the first channel of an m4a file, and as the last one backwards."""
    sides = np.stack([samples, samples[::-1]][:channels]).astype(float)
    width, scale = (np.int16, 32767) if form == "s16p" else (np.int32, 2**31 - 1)
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.layout, stream.format = ("mono", "stereo")[channels - 1], form
        size = stream.codec_context.frame_size or 1024
        for first in itertools.chain(range(0, len(samples), size), [None]):
            frame = None
            if first is not None:
                piece = sides[:, first : first + size]
                piece = piece.astype(np.float32) if form == "fltp" else (piece * scale).astype(width)
                frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece), form, stream.layout.name)
                frame.sample_rate, frame.pts, frame.time_base = rate, first, Fraction(1, rate)
            for packet in stream.encode(frame):
                container.mux(packet)
    return str(path)


def decode(path):
    """The whole file from its beginning, in 16 bits: (channels, samples)."""
    with av.open(f"file:{path}") as container:
        blocks = [frame.to_ndarray() for frame in container.decode(audio=0)]
    whole = np.concatenate(blocks, axis=1)
    return whole if whole.dtype == np.int16 else np.clip(np.round(whole * 32768.0), -32768, 32767).astype(np.int16)


def make_speech(samples=4 * RATE):
    """Syllables of different loudness, some of them with sudden starts, and as loud as can be."""
    speech = voice(3, 1, samples / RATE)
    speech *= np.repeat(np.random.default_rng(0).uniform(0, 1, samples // 1600 + 1), 1600)[:samples] ** 2
    return speech / np.abs(speech).max()


@pytest.fixture(params=KINDS)
def m4a(request, tmp_path, monkeypatch):
    path = encode(tmp_path / "a.m4a", make_speech(), **KINDS[request.param])
    # Relative, and like a URL.
    monkeypatch.chdir(tmp_path)
    os.rename(path, "a:ü 1.m4a")
    return "a:ü 1.m4a"


def test_excerpts_equal_the_whole_decoding(m4a):
    whole = decode(m4a)
    mixed = np.round(whole.astype(float).mean(axis=0))
    # The decoding is the recording, without the priming samples at its beginning.
    speech = make_speech()
    recorded = speech if len(whole) == 1 else speech + speech[::-1]
    assert np.corrcoef(mixed[:RATE], recorded[:RATE])[0, 1] > 0.98
    for first in (0, 1, 1000, 1023, 1024, 1025, 2047, 2048, 2049, 3072, 5000, 30_000, 4 * RATE - 2500):
        for count in (1, 1024, 2500):
            found = read_seeking(m4a, first, count, RATE)
            assert found.dtype == np.int16
            np.testing.assert_array_equal(found, mixed[first : first + count])
    np.testing.assert_array_equal(read_seeking(m4a, 0, 4 * RATE, RATE), mixed[: 4 * RATE])


def test_one_channel(tmp_path):
    path = encode(tmp_path / "a.m4a", make_speech(), **KINDS["stereo"])
    whole = decode(path)
    assert len(whole) == 2 and not np.array_equal(*whole)
    for channel in (0, 1):
        np.testing.assert_array_equal(read_seeking(path, 7000, 900, RATE, channel), whole[channel, 7000:7900])
    assert read_seeking(path, 7000, 900, RATE, 2) is None


def test_only_noise_differs_with_noise_substitution(tmp_path):
    noise = 0.05 * np.random.default_rng(0).standard_normal(4 * RATE)
    path = encode(tmp_path / "a.m4a", make_speech() * 0.5 + noise, options={"aac_pns": "1", "b": "24000"})
    whole = decode(path)[0]
    for first in (0, 10_000, 30_000):
        found, expected = read_seeking(path, first, RATE, RATE), whole[first : first + RATE].astype(float)
        np.testing.assert_array_equal(found, read_seeking(path, first, RATE, RATE))
        # Not more than two independent noises differ, and each band of 500 Hz that is coded is as loud.
        assert np.square(found - expected).mean() < 2 * np.square(noise * 32768).mean()
        powers = [
            np.square(np.abs(np.fft.rfft(samples)))[:-1].reshape(16, 500).sum(axis=1) for samples in (found, expected)
        ]
        np.testing.assert_allclose(10 * np.log10(powers[0] / powers[1])[:15], 0, atol=1)
    # From its beginning, the file is decoded with the same random numbers.
    np.testing.assert_array_equal(read_seeking(path, 0, 3 * RATE, RATE), whole[: 3 * RATE])


def test_what_cannot_be_read_by_seeking(tmp_path, monkeypatch):
    speech = make_speech(RATE)
    wide = encode(tmp_path / "wide.m4a", speech, rate=44100)
    deep = encode(tmp_path / "deep.m4a", speech, codec="alac", form="s32p")
    for path in (wide, deep, str(tmp_path / "none.m4a")):
        assert read_seeking(path, 0, 100, RATE) is None
    assert read_seeking(wide, 0, 100, 44100) is not None
    (tmp_path / "text.m4a").write_text("hello\n" * 100)
    assert read_seeking(str(tmp_path / "text.m4a"), 0, 100, RATE) is None
    for first, count in ((0, 2 * RATE), (RATE, 6), (10 * RATE, 1)):
        assert read_seeking(encode(tmp_path / "good.m4a", speech, **KINDS["aac"]), first, count, RATE) is None


def test_without_pyav(m4a, monkeypatch):
    assert read_seeking(m4a, 0, 100, RATE) is not None
    seeking._import_pyav.cache_clear()
    monkeypatch.setitem(sys.modules, "av", None)
    assert read_seeking(m4a, 0, 100, RATE) is None
    seeking._import_pyav.cache_clear()


def test_a_file_that_ends_before_its_table_does(tmp_path):
    """The table of packets stands in front of the samples, as in files for the web."""
    speech = make_speech()
    path = encode(tmp_path / "a.m4a", speech, **KINDS["aac"], container_options={"movflags": "faststart"})
    whole = decode(path)[0]
    os.truncate(path, os.path.getsize(path) // 2)
    np.testing.assert_array_equal(read_seeking(path, 9000, 5000, RATE), whole[9000:14_000])
    assert read_seeking(path, 3 * RATE, 5000, RATE) is None


def test_a_store_decodes_only_what_it_needs(tmp_path, monkeypatch):
    """A stand-in for ffmpeg, which decodes the whole, gives the samples of PyAV."""
    path = encode(tmp_path / "a.m4a", make_speech(), **KINDS["aac"])
    whole = decode(path)[0]
    soundfile.write(tmp_path / "whole.wav", whole, RATE)
    program = tmp_path / "ffmpeg"
    program.write_text(f"#!/bin/sh\necho >> {tmp_path}/calls\ncat {tmp_path}/whole.wav\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    write_data_dir(tmp_path / "data", {"s-a": path}, {"s-a": "s"})
    store = WaveStore(DataDir.load(tmp_path / "data", need=["wav.scp"]), RATE)
    (tmp_path / "calls").unlink()
    out = np.empty(2 * RATE, np.int16)
    store.crop16(0, 12_345, out)
    np.testing.assert_array_equal(out, whole[12_345 : 12_345 + 2 * RATE])
    assert not (tmp_path / "calls").exists()
    # A recording shorter than the crop is read whole, and repeated.
    out = np.empty(3 * len(whole), np.int16)
    store.crop16(0, 5, out)
    np.testing.assert_array_equal(out, np.roll(np.tile(whole, 3), -5))
    assert (tmp_path / "calls").exists()


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="takes ffmpeg")
def test_excerpts_equal_the_whole_decoding_by_ffmpeg(m4a):
    whole = np.round(read_audio(m4a, RATE).samples * 32768)
    for first in (0, 1000, 1025, 30_000):
        np.testing.assert_array_equal(read_seeking(m4a, first, 2500, RATE), whole[first : first + 2500])
