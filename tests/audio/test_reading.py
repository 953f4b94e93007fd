import io
import os
import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile

from vouch.audio.reading import count_samples, read_audio, read_span
from vouch.base.errors import VouchError

RATE = 16000
PCM = 1
FLOAT = 3
EXTENSIBLE = 0xFFFE


def sine(frequency, seconds=0.5, rate=RATE, amplitude=0.5, phase=0.3):
    time = np.arange(round(seconds * rate)) / rate
    return (amplitude * np.sin(2 * np.pi * frequency * time + phase)).astype(np.float32)


def chunk(name, content, size=None):
    length = len(content) if size is None else size
    return name + struct.pack("<I", length) + content + b"\0" * (len(content) % 2)


def wav(samples, *, rate=RATE, form=PCM, bits=16, before=b"", after=b"", data_size=None, riff_size=None):
    """A RIFF file byte by byte, so that every field of it can be wrong."""
    samples = np.asarray(samples)
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    align = channels * bits // 8
    header = struct.pack("<HHIIHH", form, channels, rate, rate * align % 2**32, align, bits)
    if form == EXTENSIBLE:
        header += struct.pack("<HHI", 22, bits, 0) + bytes.fromhex("0100000000001000800000aa00389b71")
    body = b"WAVE" + before + chunk(b"fmt ", header) + chunk(b"data", samples.tobytes(), data_size) + after
    return b"RIFF" + struct.pack("<I", len(body) if riff_size is None else riff_size) + body


def write(path, content):
    path.write_bytes(content)
    return str(path)


@pytest.fixture
def pcm():
    """Every int16 corner among noise."""
    noise = np.random.default_rng(0).integers(-32768, 32768, 4001).astype("<i2")
    noise[:4] = -32768, 32767, 0, -1
    return noise


def test_pcm16_is_scaled_by_two_to_the_fifteen(tmp_path, pcm):
    audio = read_audio(write(tmp_path / "x.wav", wav(pcm)))
    assert audio.samples.dtype == np.float32
    np.testing.assert_array_equal(audio.samples, [int(value) / 32768 for value in pcm])
    assert (audio.source_rate, audio.source_channels) == (RATE, 1)


@pytest.mark.parametrize(
    ("subtype", "tolerance"), [("PCM_16", 2**-15), ("PCM_24", 2**-23), ("PCM_U8", 2**-7), ("FLOAT", 0), ("DOUBLE", 0)]
)
def test_wav_encodings(tmp_path, subtype, tolerance):
    expected = sine(440)
    soundfile.write(tmp_path / "x.wav", expected, RATE, subtype=subtype)
    np.testing.assert_allclose(read_audio(str(tmp_path / "x.wav")).samples, expected, atol=tolerance)


@pytest.mark.parametrize(
    ("suffix", "tolerance"), [(".flac", 2**-15), (".ogg", 0.05), (".mp3", 0.05), (".aiff", 2**-15)]
)
def test_other_containers(tmp_path, suffix, tolerance):
    if suffix[1:].upper() not in soundfile.available_formats():
        pytest.skip(f"this libsndfile cannot write {suffix}")
    expected = sine(440)
    soundfile.write(tmp_path / f"x{suffix}", expected, RATE)
    samples = read_audio(str(tmp_path / f"x{suffix}")).samples
    assert len(samples) == len(expected)
    np.testing.assert_allclose(samples[800:-800], expected[800:-800], atol=tolerance)


@pytest.mark.parametrize("name", ["x.raw", "x[0:9]", "x", "x.txt"])
def test_the_name_of_a_file_says_nothing(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    content = io.BytesIO()
    soundfile.write(content, sine(440), RATE, format="FLAC")
    write(tmp_path / name, content.getvalue())
    np.testing.assert_allclose(read_audio(name).samples, sine(440), atol=2**-14)
    assert count_samples(name) == len(sine(440))
    np.testing.assert_allclose(read_span(name, 100, 300), sine(440)[100:300], atol=2**-14)
    write(tmp_path / name, bytes(range(256)) * 20)
    for read in (read_audio, count_samples, lambda path: read_span(path, 0, 10)):
        with pytest.raises(VouchError, match="not readable as audio"):
            read(name)


@pytest.mark.parametrize("form", ["WAV", "FLAC"])
def test_a_named_pipe_is_read_once(tmp_path, form):
    os.mkfifo(tmp_path / "pipe")
    content = io.BytesIO()
    soundfile.write(content, sine(440), RATE, format=form)
    with ThreadPoolExecutor(1) as writing:
        written = writing.submit((tmp_path / "pipe").write_bytes, content.getvalue())
        samples = read_audio(str(tmp_path / "pipe")).samples
        written.result()
    np.testing.assert_allclose(samples, sine(440), atol=2**-14)


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_channels_are_averaged(tmp_path, suffix):
    left, right = sine(300), sine(700, amplitude=0.3)
    soundfile.write(tmp_path / f"x{suffix}", np.stack([left, right], 1), RATE, subtype="PCM_16")
    audio = read_audio(str(tmp_path / f"x{suffix}"))
    np.testing.assert_allclose(audio.samples, (left + right) / 2, atol=2**-14)
    assert audio.source_channels == 2


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
def test_resampling_keeps_a_sine(tmp_path, rate):
    """A sine below both Nyquist frequencies is the same sine at another rate."""
    soundfile.write(tmp_path / "x.wav", sine(1234, rate=rate), rate, subtype="FLOAT")
    audio = read_audio(str(tmp_path / "x.wav"))
    expected = sine(1234)
    assert abs(len(audio.samples) - len(expected)) <= 1
    inner = slice(400, len(expected) - 400)
    np.testing.assert_allclose(audio.samples[inner], expected[inner], atol=2e-3)
    assert audio.source_rate == rate
    assert audio.samples.dtype == np.float32


def test_resampling_removes_what_would_alias(tmp_path):
    soundfile.write(tmp_path / "x.wav", sine(15000, rate=44100), 44100, subtype="FLOAT")
    samples = read_audio(str(tmp_path / "x.wav")).samples
    assert np.abs(samples[400:-400]).max() < 0.5e-2


def test_the_rate_that_is_asked_for(tmp_path, pcm):
    audio = read_audio(write(tmp_path / "x.wav", wav(pcm, rate=8000)), sample_rate=8000)
    np.testing.assert_array_equal(audio.samples, pcm / np.float32(32768))


@pytest.mark.parametrize("form", [PCM, EXTENSIBLE])
@pytest.mark.parametrize("before", [b"", chunk(b"LIST", b"odd"), chunk(b"JUNK", b"") + chunk(b"bext", bytes(602))])
def test_headers(tmp_path, pcm, form, before):
    path = write(tmp_path / "x.wav", wav(pcm, form=form, before=before, after=chunk(b"LIST", b"at the end")))
    np.testing.assert_array_equal(read_audio(path).samples, pcm / np.float32(32768))


@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0xFFFFFFFF])
@pytest.mark.parametrize("riff_size", [0, 0x7FFFF024, 0xFFFFFFFF])
def test_streamed_wavs_go_to_the_end_of_the_file(tmp_path, pcm, size, riff_size):
    path = write(tmp_path / "x.wav", wav(pcm, data_size=size, riff_size=riff_size)[:-1])
    # An odd byte at the end is half a sample.
    np.testing.assert_array_equal(read_audio(path).samples, pcm[:-1] / np.float32(32768))


@pytest.mark.parametrize("size", [0x7FFFF000, 0xFFFFFFFF])
def test_streamed_float_wavs(tmp_path, size):
    expected = sine(440)
    path = write(tmp_path / "x.wav", wav(expected, form=FLOAT, bits=32, data_size=size, riff_size=size))
    np.testing.assert_array_equal(read_audio(path).samples, expected)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_a_truncated_wav_is_refused(tmp_path, subtype):
    buffer = io.BytesIO()
    soundfile.write(buffer, sine(440), RATE, subtype=subtype, format="WAV")
    with pytest.raises(VouchError, match=r"x\.wav: truncated"):
        read_audio(write(tmp_path / "x.wav", buffer.getvalue()[:-100]))


def test_a_truncated_flac_is_refused(tmp_path):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 40000)
    buffer = io.BytesIO()
    soundfile.write(buffer, noise, RATE, format="FLAC")
    with pytest.raises(VouchError, match=r"x\.flac: "):
        read_audio(write(tmp_path / "x.flac", buffer.getvalue()[: len(buffer.getvalue()) // 2]))


def whole_recordings(pcm):
    """Files whose samples have to be looked for, by name."""
    sound = {}
    for name, options in {
        "x.flac": {"format": "FLAC"},
        "24.wav": {"format": "WAV", "subtype": "PCM_24"},
        "u.wav": {"format": "WAV", "subtype": "ULAW"},
        "x.aiff": {"format": "AIFF"},
        "adpcm.wav": {"format": "WAV", "subtype": "IMA_ADPCM"},
        "x.ogg": {"format": "OGG"},
    }.items():
        sound[name] = io.BytesIO()
        soundfile.write(sound[name], pcm, RATE, **options)
    junk = chunk(b"JUNK", b"odd") + chunk(b"bext", bytes(602))
    return {
        "plain.wav": wav(pcm),
        "stereo.wav": wav(pcm[:4000].reshape(-1, 2)),
        "junk.wav": wav(pcm, before=junk, after=chunk(b"LIST", b"at the end")),
        "streamed.wav": wav(pcm, data_size=0, riff_size=0)[:-1],
        "float.wav": wav(pcm / np.float32(32768), form=FLOAT, bits=32),
        "streamed_float.wav": wav(pcm / np.float32(32768), form=FLOAT, bits=32, data_size=0xFFFFFFFF),
        "extensible.wav": wav(pcm, form=EXTENSIBLE),
        "narrow.wav": wav(pcm, rate=8000),
        "wide.wav": wav(pcm, rate=44100),
        **{name: content.getvalue() for name, content in sound.items()},
    }


def test_a_span_is_that_part_of_the_whole(tmp_path, pcm):
    contents = whole_recordings(pcm)
    for name, content in contents.items():
        path = write(tmp_path / name, content)
        whole = read_audio(path).samples
        assert count_samples(path) == len(whole), name
        for first, last in ((0, None), (0, 1), (17, 1017), (1999, None), (3000, 99999), (5, 5), (99999, None)):
            span = read_span(path, first, last)
            assert span.dtype == np.float32
            np.testing.assert_array_equal(span, whole[first:last], err_msg=f"{name} {first} {last}")
    archive = write(tmp_path / "x.ark", b"utt1 " + contents["plain.wav"] + b"utt2 " + contents["float.wav"])
    for rxfilename in (f"{archive}:5", f"cat {archive} | tail -c +6 |"):
        assert count_samples(rxfilename) == len(pcm)
        np.testing.assert_array_equal(read_span(rxfilename, 7, 300), pcm[7:300] / np.float32(32768))
    # What looks like a place in an archive is one, whatever other file there is.
    write(tmp_path / "x.ark:5", contents["narrow.wav"])
    assert count_samples(f"{archive}:5") == len(pcm)


def test_a_span_of_a_truncated_file_is_refused(tmp_path, pcm):
    for name, content in {"x.wav": wav(pcm), "f.wav": wav(pcm.astype("<f4"), form=FLOAT, bits=32)}.items():
        path = write(tmp_path / name, content[:-100])
        for use in (lambda path=path: read_span(path, 0, 10), lambda path=path: count_samples(path)):
            with pytest.raises(VouchError, match=rf"{name}: truncated"):
                use()
    buffer = io.BytesIO()
    soundfile.write(buffer, np.random.default_rng(0).uniform(-0.5, 0.5, 40000), RATE, format="FLAC")
    path = write(tmp_path / "x.flac", buffer.getvalue()[: len(buffer.getvalue()) // 2])
    with pytest.raises(VouchError, match=r"x\.flac: "):
        read_span(path, 30000, 30010)


EMPTY = np.zeros(0, "<i2")
BROKEN = {
    "empty file": (b"", "no audio, 0 bytes"),
    "no samples": (wav(EMPTY), "no samples"),
    "riff only": (b"RIFF\4\0\0\0WAVE", "ends before its samples begin"),
    "half a header": (wav(EMPTY)[:30], "ends before its samples begin"),
    "no data chunk": (wav(EMPTY)[:36] + chunk(b"LIST", b"x"), "ends before its samples begin"),
    "text": (b"this is not audio\n" * 10, "not readable as audio"),
    "html": (b"<html><body>404 Not Found</body></html>", "not readable as audio"),
    "NaN": (wav(np.array([0, np.nan, 0], "<f4"), form=FLOAT, bits=32), "NaN or infinite"),
    "infinity": (wav(np.array([0, -np.inf, 0], "<f4"), form=FLOAT, bits=32), "NaN or infinite"),
    "no rate": (wav(np.zeros(10, "<i2"), rate=0), ""),
    "absurd rate": (wav(np.zeros(10, "<i2"), rate=0xFFFFFFF1), ""),
    "no channels": (wav(np.zeros((0, 0), "<i2")), ""),
    "unknown encoding": (wav(np.zeros(10, "<i2"), form=0x4242), "not readable as audio"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_give_one_clear_line(tmp_path, name):
    content, message = BROKEN[name]
    path = write(tmp_path / "x.wav", content)
    with pytest.raises(VouchError) as caught:
        read_audio(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    if "no samples" in name:
        assert len(read_span(path, 0, None)) == 0
    else:
        with pytest.raises(VouchError) as of_span:
            read_span(path, 0, None)
        assert str(of_span.value) == str(caught.value)
    if message != "NaN or infinite":  # which headers do not tell
        with pytest.raises(VouchError) as of_count:
            count_samples(path)
        assert str(of_count.value) == str(caught.value)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(VouchError, match=r"none\.wav: No such file"):
        read_audio(str(tmp_path / "none.wav"))
    with pytest.raises(VouchError, match="Is a directory"):
        read_audio(str(tmp_path))


@pytest.mark.parametrize(
    "name", ["a b.wav", "it's.wav", 'say "x".wav', "naïve 話者.wav", "$HOME;#.wav", "a|b.wav", "12:x", "x.tar.wav"]
)
def test_odd_file_names(tmp_path, pcm, name):
    assert len(read_audio(write(tmp_path / name, wav(pcm))).samples) == len(pcm)


def test_wavs_inside_an_archive(tmp_path, pcm):
    """Each by the offset of its first byte; a streamed one only where it is the last."""
    first, second = wav(pcm), wav(pcm[::-1], data_size=0, riff_size=0)
    archive = write(tmp_path / "wav:s.ark", b"utt1 " + first + b"utt2 " + second)
    offset = 5 + len(first) + 5
    np.testing.assert_array_equal(read_audio(f"{archive}:5").samples, pcm / np.float32(32768))
    np.testing.assert_array_equal(read_audio(f"{archive}:{offset}").samples, pcm[::-1] / np.float32(32768))
    with pytest.raises(VouchError, match=":6: not readable as audio"):
        read_audio(f"{archive}:6")
    with pytest.raises(VouchError, match=r":99999999: nothing there, the file has \d+ bytes; wrong offset"):
        read_audio(f"{archive}:99999999")


def test_a_wav_inside_an_archive_reads_no_further_than_its_end(tmp_path):
    """Float samples are decoded by libsndfile, which would take the next entry for more of them."""
    expected = sine(440)
    entry = wav(expected, form=FLOAT, bits=32)
    archive = write(tmp_path / "x.ark", b"utt1 " + entry + b"utt2 " + entry)
    np.testing.assert_array_equal(read_audio(f"{archive}:5").samples, expected)


def test_pipes(tmp_path, pcm):
    path = write(tmp_path / "it's a.wav", wav(pcm, data_size=0xFFFFFFFF))
    audio = read_audio(f'cat "{path}" | cat |  ')
    np.testing.assert_array_equal(audio.samples, pcm / np.float32(32768))


def test_a_failing_pipe_gives_its_last_words():
    with pytest.raises(VouchError, match=r"'.* \|' failed with status 3: no such tape$"):
        read_audio("echo noise >&2; echo no such tape >&2; exit 3 |")
    with pytest.raises(VouchError, match="failed with status 1: no message"):
        read_audio("false |")
    with pytest.raises(VouchError, match=r"status 127: .*no_such_program_here"):
        read_audio("no_such_program_here x.wav |")


def test_a_silent_pipe_is_no_audio():
    with pytest.raises(VouchError, match=r"true \|: no audio, 0 bytes"):
        read_audio("true |")


def test_a_missing_ffmpeg_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    path = write(tmp_path / "x.m4a", b"anything")
    with pytest.raises(VouchError, match=r"x\.m4a: reading \.m4a needs ffmpeg, which is not installed"):
        read_audio(path)


def test_ffmpeg_is_called_for_what_libsndfile_cannot_read(tmp_path, monkeypatch):
    """A stand-in for ffmpeg writes down its arguments and gives a stereo wav of another rate."""
    wave = np.stack([sine(440, rate=8000), np.zeros(4000, np.float32)], 1)
    write(tmp_path / "out.wav", wav((wave * 32768).astype("<i2"), rate=8000, data_size=0xFFFFFFFF))
    program = tmp_path / "ffmpeg"
    program.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" > {tmp_path}/arguments\ncat {tmp_path}/out.wav\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    path = write(tmp_path / "it's a $song.M4A", b"anything")
    audio = read_audio(path)
    assert f"file:{path}" in (tmp_path / "arguments").read_text().splitlines()
    assert (audio.source_rate, audio.source_channels) == (8000, 2)
    np.testing.assert_allclose(audio.samples[400:-400], sine(440)[400:-400] / 2, atol=2e-3)
    with pytest.raises(VouchError, match=r"none\.m4a: no such file"):
        read_audio(str(tmp_path / "none.m4a"))
