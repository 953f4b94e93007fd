"""Files that say nothing, too much or too little of their length; counting, reading all and reading a part agree."""

import io
import struct

import numpy as np
import pytest
import soundfile

from vouch.audio.decoder import open_decoder
from vouch.audio.reading import count_samples, read_audio, read_length, read_span
from vouch.base.errors import VouchError

RATE = 16000
# Format and encoding of what is as long as it says, in samples that come back as they were.
PROMISING = [
    ("WAV", "PCM_24"),
    ("RF64", "PCM_16"),
    ("RF64", "FLOAT"),
    ("W64", "PCM_16"),
    ("AIFF", "PCM_16"),
    ("AU", "PCM_16"),
    ("CAF", "PCM_16"),
    ("NIST", "PCM_16"),
    ("NIST", "ULAW"),
    ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
]


def noise(samples=48000, seed=0):
    return (np.random.default_rng(seed).standard_normal(samples) * 3000).astype("<i2")


def encode(samples, form, subtype, **options):
    content = io.BytesIO()
    soundfile.write(content, samples, RATE, format=form, subtype=subtype, **options)
    return content.getvalue()


def write(path, content):
    path.write_bytes(content)
    return str(path)


def readers(path):
    yield lambda: read_audio(path)
    yield lambda: count_samples(path)
    yield lambda: read_span(path, 47_900, 48_000)


def lengths(path):
    """The number of samples by counting, by reading all, and by reading parts."""
    whole = read_audio(path).samples
    np.testing.assert_array_equal(read_span(path, 100, 700), whole[100:700])
    np.testing.assert_array_equal(read_span(path, len(whole) - 10, None), whole[-10:])
    return {count_samples(path), len(whole), read_length(path)[0]}


def mpeg_frames(content):
    """The frames of a stream of layer III at 16 kHz (MPEG 2), by walking from header to header."""
    kilobits = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160]
    frames, at = [], 0
    while at + 4 <= len(content):
        assert content[at] == 255 and content[at + 1] & 0xFE == 0xF2 and content[at + 2] >> 2 & 3 == 2
        size = 72 * kilobits[content[at + 2] >> 4] * 1000 // RATE + (content[at + 2] >> 1 & 1)
        frames.append(content[at : at + size])
        at += size
    return frames


def variable():
    """An mp3 stream whose first frames, of silence, are far shorter than the others; with the tag that counts."""
    samples = np.concatenate([np.zeros(RATE), np.random.default_rng(0).uniform(-0.5, 0.5, 5 * RATE)])
    return encode(samples, "MP3", "MPEG_LAYER_III", bitrate_mode="VARIABLE", compression_level=0.2)


@pytest.mark.parametrize("before", [b"", b"ID3\4\0\0\0\0\0\x14" + bytes(20)])
@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_mp3_without_a_count_is_read_to_its_end(tmp_path, before, order):
    frames = mpeg_frames(variable())[1:]
    assert max(map(len, frames)) > 3 * min(map(len, frames))
    path = write(tmp_path / "x.mp3", before + b"".join(frames[order]))
    assert lengths(path) == {576 * len(frames)}


def test_mp3_with_a_count_has_neither_delay_nor_padding(tmp_path):
    assert lengths(write(tmp_path / "x.mp3", variable())) == {6 * RATE}
    assert lengths(write(tmp_path / "y.mp3", b"ID3\4\0\0\0\0\0\x14" + bytes(20) + variable())) == {6 * RATE}


def test_mp3_files_put_together_are_read_to_the_end_of_the_last(tmp_path):
    """What the second begins with is then a frame like any other."""
    first, second = variable(), encode(noise(), "MP3", "MPEG_LAYER_III")
    path = write(tmp_path / "x.mp3", first + second)
    assert lengths(path) == {576 * (len(mpeg_frames(first)) - 1 + len(mpeg_frames(second)))}


def test_mp3_that_counts_more_frames_than_fit_is_refused(tmp_path):
    content = bytearray(variable())
    at = max(content.find(b"Xing"), content.find(b"Info"))
    content[at + 8 : at + 12] = b"\x7f\xff\xff\xff"
    for read in readers(write(tmp_path / "x.mp3", content)):
        with pytest.raises(VouchError, match=r"x\.mp3: damaged mp3, its tag counts 2147483647 frames in \d+ bytes$"):
            read()


@pytest.mark.parametrize("there", ["._", "._ of another program", ".AppleDouble"])
def test_mp3_whatever_macos_left_in_the_current_directory(tmp_path, monkeypatch, there):
    """libsndfile takes these for the half of a file of Sound Designer II that has its header."""
    stream, id3 = variable(), b"ID3\4\0\0\0\0\0\x14" + bytes(20)
    untagged = b"".join(mpeg_frames(stream)[1:])
    contents = [stream, untagged, id3 + stream, id3 + untagged, stream + stream, id3 + stream + stream]
    names = [write(tmp_path / f"{number}.mp3", content) for number, content in enumerate(contents)]
    names.append(f"{write(tmp_path / 'x.ark', b'utt ' + stream + b'rest')}:4")
    expected = [read_audio(name).samples for name in names]
    current = tmp_path / "current"
    current.mkdir()
    if there == ".AppleDouble":
        (current / there).mkdir()
    else:
        double = struct.pack(">II16sHIII", 0x51607, 0x20000, b"Mac OS X", 1, 2, 38, 0)
        (current / "._").write_bytes(double if there == "._" else stream)
    monkeypatch.chdir(current)
    for name, samples in zip(names, expected, strict=True):
        np.testing.assert_array_equal(read_audio(name).samples, samples)
        assert count_samples(name) == len(samples)
    with pytest.raises(VouchError, match=r"y\.mp3: truncated mp3"):
        read_audio(write(tmp_path / "y.mp3", stream[:-1000]))


def with_count(flac, count):
    """A FLAC file whose STREAMINFO says that it has `count` samples: the lower 36 bits of its bytes 10 to 17."""
    content = bytearray(flac)
    field = int.from_bytes(content[18:26], "big")
    content[18:26] = (field >> 36 << 36 | count).to_bytes(8, "big")
    return bytes(content)


@pytest.mark.parametrize("channels", [1, 2])
def test_flac_without_a_count_is_read_to_its_end(tmp_path, channels):
    samples = noise(100_000).reshape(-1, channels)
    path = write(tmp_path / "x.flac", with_count(encode(samples, "FLAC", "PCM_16"), 0))
    assert lengths(path) == {len(samples)}
    np.testing.assert_allclose(read_audio(path).samples, samples.mean(1) / 32768, atol=1e-6)


def test_flac_of_several_blocks_is_read_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr("vouch.audio.decoder._BLOCK", 1000)
    for count in (0, 48000):
        path = write(tmp_path / "x.flac", with_count(encode(noise(), "FLAC", "PCM_16"), count))
        np.testing.assert_array_equal(read_audio(path).samples, noise() / np.float32(32768))


@pytest.mark.parametrize("count", [48001, 2**33, 2**36 - 1])
def test_flac_that_promises_more_than_it_has_is_refused(tmp_path, count):
    path = write(tmp_path / "x.flac", with_count(encode(noise(), "FLAC", "PCM_16"), count))
    with pytest.raises(VouchError, match=rf"x\.flac: truncated, it promises {count} samples and holds 48000$"):
        read_audio(path)
    with pytest.raises(VouchError, match=rf"x\.flac: truncated, it promises {count} samples and holds less$"):
        count_samples(path)
    with pytest.raises(VouchError, match=r"x\.flac: "):
        read_span(path, count - 100, count)


@pytest.mark.parametrize(("form", "subtype"), PROMISING)
def test_whole_files_have_the_samples_they_promise(tmp_path, form, subtype):
    assert lengths(write(tmp_path / "x", encode(noise(), form, subtype))) == {48000}


@pytest.mark.parametrize("share", [0.6, 0.95])
@pytest.mark.parametrize(("form", "subtype"), PROMISING)
def test_truncated_files_are_refused_by_all_that_read(tmp_path, form, subtype, share):
    content = encode(noise(), form, subtype)
    for read in readers(write(tmp_path / "x", content[: int(share * len(content))])):
        with pytest.raises(VouchError, match=r"x: (truncated|not readable)") as caught:
            read()
        assert "\n" not in str(caught.value)


# What libsndfile reads and does not hold to its header, or what has none that says a length.
UNTOLD = ["AVR", "SVX", "MAT4", "MAT5", "MPC2K", "PAF", "PVF", "SDS", "IRCAM", "VOC", "WVE", "XI"]


@pytest.mark.parametrize("share", [0.6, 1])
@pytest.mark.parametrize("form", UNTOLD)
def test_formats_that_hide_where_they_end_are_refused(tmp_path, form, share):
    subtype = soundfile.default_subtype(form) or next(iter(soundfile.available_subtypes(form)))
    content = encode(noise(), form, subtype)
    path = write(tmp_path / f"x.{form.lower()}", content[: int(len(content) * share)])
    for read in readers(path):
        with pytest.raises(VouchError, match=r"such a file is whole cannot be told; convert it to wav or flac$"):
            read()


# Raw samples have no header, and Sound Designer II keeps it in another file.
@pytest.mark.parametrize("form", sorted({*soundfile.available_formats()} - {"RAW", "SD2"}))
def test_no_truncated_file_of_any_format_is_read(tmp_path, form):
    for subtype in soundfile.available_subtypes(form):
        try:
            content = encode(noise(), form, subtype)
        except soundfile.LibsndfileError:
            continue  # read only, or this encoding does not exist
        for read in readers(write(tmp_path / f"{subtype}.cut", content[: int(len(content) * 0.6)])):
            with pytest.raises(VouchError, match=rf"{subtype}\.cut: "):
                read()


def padded(form, content):
    return content + b"TAG" + bytes(125) if form == "MP3" else content + b"\0" * 100


@pytest.mark.parametrize(("form", "subtype"), PROMISING)
def test_what_follows_a_recording_is_not_missing(tmp_path, form, subtype):
    assert lengths(write(tmp_path / "x", padded(form, encode(noise(), form, subtype)))) == {48000}


def test_ogg_streams_that_follow_each_other_are_walked_over(tmp_path):
    first, second = (encode(noise(20000, seed), "OGG", "VORBIS") for seed in (0, 1))
    with pytest.raises(VouchError, match="truncated ogg"):
        read_audio(write(tmp_path / "x.ogg", first + second[:-10]))
    assert len(read_audio(write(tmp_path / "x.ogg", first + second)).samples) >= 20000


def wav(samples, width, size, riff_size, channels=1):
    """A wav of PCM whose header has these sizes; as sox writes it, 24 bits in the extensible form."""
    align = width * channels
    form = struct.pack("<HHIIHH", 1, channels, RATE, RATE * align, align, 8 * width)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", size) + samples
    return b"RIFF" + struct.pack("<I", riff_size) + body


@pytest.mark.parametrize("width", [2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2, 5, 6])
def test_sizes_made_up_for_a_pipe_are_no_promise(tmp_path, width, channels):
    align = width * channels
    count = 1000
    samples = np.random.default_rng(0).integers(0, 256, count * align).astype("u1").tobytes()
    # sox: whole samples within 0x7FFFF000; ffmpeg; less the header; arecord; opusdec.
    sizes = [0x7FFFF000 // align * align, 0xFFFFFFFF, 0xFFFFFFFF - 44, 0x80000000, 0x7FFFFFFF // align * align]
    for size in sizes:
        for riff_size in (0, 36, (size + 36) % 2**32, 0xFFFFFFFF):
            path = write(tmp_path / "x.wav", wav(samples, width, size, riff_size, channels))
            assert lengths(path) == {count}


def test_an_empty_wav_has_no_samples_though_a_chunk_follows(tmp_path):
    chunk = b"LIST" + struct.pack("<I", 100) + bytes(100)
    path = write(tmp_path / "x.wav", wav(b"", 2, 0, 36 + len(chunk)) + chunk)
    with pytest.raises(VouchError, match="no samples"):
        read_audio(path)


def test_a_large_size_that_is_not_made_up_is_a_promise(tmp_path):
    path = write(tmp_path / "x.wav", wav(bytes(1000), 2, 0x60000000, 0x60000024))
    with pytest.raises(VouchError, match="truncated wav, its header promises 1610612736 bytes"):
        read_audio(path)


@pytest.mark.parametrize(("form", "subtype"), PROMISING)
def test_recordings_inside_an_archive_end_where_they_end(tmp_path, form, subtype):
    contents = [encode(noise(20000 + 5000 * seed, seed), form, subtype) for seed in range(3)]
    path, offset = tmp_path / "x.ark", 0
    write(path, b"".join(b"utt%d " % row + content for row, content in enumerate(contents)))
    for row, content in enumerate(contents):
        offset += 5
        alone = read_audio(write(tmp_path / "alone", content)).samples
        np.testing.assert_array_equal(read_audio(f"{path}:{offset}").samples, alone)
        assert count_samples(f"{path}:{offset}") == len(alone) == 20000 + 5000 * row
        np.testing.assert_array_equal(read_span(f"{path}:{offset}", 30, 500), alone[30:500])
        offset += len(content)


class Counting(io.BytesIO):
    """Notes how many bytes were read."""

    read_bytes = 0

    def read(self, size=-1, /):
        content = super().read(size)
        self.read_bytes += len(content)
        return content


@pytest.mark.parametrize(("form", "subtype"), PROMISING)
def test_reading_one_of_an_archive_costs_what_it_is_long(form, subtype):
    content = encode(noise(), form, subtype)
    archive = b"".join(b"utt%02d " % row + content for row in range(40))
    file = Counting(archive)
    with open_decoder(file, len(archive), "x", 6) as decoder:
        assert len(decoder.read()) == 48000
    assert file.read_bytes < 2 * len(content) + 100_000


def test_inside_an_archive_a_recording_must_say_where_it_ends(tmp_path):
    flac, mp3 = encode(noise(), "FLAC", "PCM_16"), b"".join(mpeg_frames(variable())[1:])
    for content in (with_count(flac, 0), mp3):
        path = write(tmp_path / "x.ark", b"utt1 " + content + b"utt2 " + content)
        for read in (read_audio, count_samples):
            with pytest.raises(VouchError, match=r"x\.ark:5: it does not say where it ends"):
                read(f"{path}:5")


def test_a_recording_without_end_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("vouch.audio.decoder.MAX_SAMPLES", 40000)
    for count in (0, 48000):
        path = write(tmp_path / "x.flac", with_count(encode(noise(), "FLAC", "PCM_16"), count))
        with pytest.raises(VouchError, match=r"x\.flac: more than 40000 samples; cut it into several files"):
            read_audio(path)


def test_opus_needs_no_other_program(tmp_path, monkeypatch):
    if "OPUS" not in soundfile.available_subtypes("OGG"):
        pytest.skip("this libsndfile cannot write opus")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert lengths(write(tmp_path / "x.opus", encode(noise(), "OGG", "OPUS"))) == {48000}


@pytest.mark.parametrize("name", ["x.wav:²", "x.wav:٣", "x.wav:" + "9" * 30, "x.wav:999999999999999999"])
def test_offsets_that_no_file_has(tmp_path, name):
    write(tmp_path / "x.wav", encode(noise(), "WAV", "PCM_16"))
    complaint = r"x\.wav:.*: (No such file or directory|nothing there, .* wrong offset)$|larger than any file"
    for read in (read_audio, count_samples, lambda path: read_span(path, 0, 10)):
        with pytest.raises(VouchError, match=complaint):
            read(f"{tmp_path}/{name}")
