"""Archives of wav files."""

import io

import numpy as np
import pytest
import soundfile

from vouch.audio.reading import read_audio, read_span
from vouch.base.errors import VouchError
from vouch.kaldi.wavark import WavWriter


def test_each_recording_is_a_whole_wav_file_behind_its_key(tmp_path):
    rng = np.random.default_rng(0)
    waves = {f"s-{row}": rng.uniform(-1, 1, 400 + row).astype(np.float32) for row in range(5)}
    path = tmp_path / "a.ark"
    with open(path, "wb") as file:
        writer = WavWriter(file, str(path), 8000)
        places = {key: writer.write(key, samples) for key, samples in waves.items()}
    content = path.read_bytes()
    for key, place in places.items():
        position = int(place.rpartition(":")[2])
        assert content[position - len(key) - 1 : position] == f"{key} ".encode()
        # Another reader, of the bytes from there on.
        info = soundfile.info(io.BytesIO(content[position:]))
        assert (info.samplerate, info.channels, info.subtype) == (8000, 1, "PCM_16")
        np.testing.assert_allclose(read_audio(place, 8000).samples, waves[key], atol=1 / 32768)
        np.testing.assert_allclose(read_span(place, 100, 300, 8000), waves[key][100:300], atol=1 / 32768)


@pytest.mark.parametrize(("samples", "message"), [([], "no samples"), ([0.0, np.nan], "NaN or infinite samples")])
def test_what_is_no_recording_is_not_written(samples, message):
    file = io.BytesIO()
    with pytest.raises(VouchError, match=f"'x': {message} are not written"):
        WavWriter(file, "a.ark", 8000).write("x", np.array(samples, np.float32))
    assert not file.getvalue()
