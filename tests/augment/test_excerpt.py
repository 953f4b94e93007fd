"""Excerpts of recordings, read without decoding the rest."""

import numpy as np
import pytest
import soundfile

from vouch.audio.reading import read_audio, read_excerpt
from vouch.base.errors import VouchError

RATE = 16000


@pytest.fixture
def recording(tmp_path):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 5000).astype(np.float32)
    path = tmp_path / "x.wav"
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    return str(path), samples


@pytest.mark.parametrize(("position", "first"), [(0.0, 0), (0.5, 2000), (0.99999, 3999), (1.0, 4000)])
def test_an_excerpt_is_a_slice(recording, position, first):
    path, samples = recording
    np.testing.assert_array_equal(read_excerpt(path, 1000, RATE, position), samples[first : first + 1000])


def test_a_short_recording_is_repeated(recording):
    path, samples = recording
    found = read_excerpt(path, 12000, RATE, 0.7)
    np.testing.assert_array_equal(found, np.concatenate([samples, samples, samples[:2000]]))
    assert found.dtype == np.float32


@pytest.mark.parametrize("rate", [8000, 11025, 44100])
@pytest.mark.parametrize("samples", [1, 999, 1000, 16001])
def test_other_rates_are_resampled_to_the_length_asked_for(tmp_path, rate, samples):
    """A sine keeps its frequency."""
    time = np.arange(2 * rate) / rate
    soundfile.write(tmp_path / "x.wav", np.sin(2 * np.pi * 500 * time), rate, subtype="FLOAT")
    found = read_excerpt(str(tmp_path / "x.wav"), samples, RATE, 0.0)
    assert found.shape == (samples,)
    inner = slice(200, samples - 200)
    np.testing.assert_allclose(found[inner], np.sin(2 * np.pi * 500 * np.arange(samples) / RATE)[inner], atol=0.01)


def test_channels_are_averaged(tmp_path):
    left, right = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 4000)).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", np.stack([left, right], axis=1), RATE, subtype="FLOAT")
    found = read_excerpt(str(tmp_path / "x.wav"), 4000, RATE, 0.3)
    np.testing.assert_allclose(found, (left + right) / 2, atol=1e-7)


def test_all_of_a_recording_is_what_read_audio_gives(tmp_path):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (3000, 2))
    soundfile.write(tmp_path / "x.flac", samples, 8000)
    whole = read_audio(str(tmp_path / "x.flac")).samples
    np.testing.assert_array_equal(read_excerpt(str(tmp_path / "x.flac"), 6000, RATE, 0.0), whole)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "no audio, 0 bytes"), (b"text\n" * 50, "not readable as audio"), (None, "No such file")],
)
def test_unreadable_files_are_named(tmp_path, content, reason):
    path = tmp_path / "x.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(VouchError, match=rf"x\.wav: {reason}") as caught:
        read_excerpt(str(path), 100, RATE, 0.0)
    assert "\n" not in str(caught.value)


def test_files_without_samples_or_with_nan_are_refused(tmp_path):
    path = str(tmp_path / "x.wav")
    soundfile.write(path, np.zeros(0), RATE)
    with pytest.raises(VouchError, match=r"x\.wav: no samples"):
        read_excerpt(path, 100, RATE, 0.0)
    soundfile.write(path, np.array([0.0, np.nan, 0.0]), RATE, subtype="FLOAT")
    with pytest.raises(VouchError, match=r"x\.wav: NaN or infinite"):
        read_excerpt(path, 100, RATE, 0.0)
