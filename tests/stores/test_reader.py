"""Utterances read one after the other, from plain and from coded recordings."""

import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
from corpus import RATE, write_recordings

from vouch.base.errors import VouchError
from vouch.kaldi.datadirs.datadir import DataDir
from vouch.kaldi.tables import read_table, write_table
from vouch.stores.reader import WaveReader


@pytest.fixture
def data(tmp_path):
    write_recordings(tmp_path / "data", utterances=3, seconds=0.4)
    return tmp_path / "data"


def to_flac(data):
    wavs = {name: Path(wav) for name, wav in read_table(data / "wav.scp").items()}
    for wav in wavs.values():
        soundfile.write(wav.with_suffix(".flac"), soundfile.read(wav, dtype="int16")[0], RATE)
    write_table(data / "wav.scp", {name: str(wav.with_suffix(".flac")) for name, wav in wavs.items()})


def to_pipes(data):
    write_table(data / "wav.scp", {name: f"cat {wav} |" for name, wav in read_table(data / "wav.scp").items()})


@pytest.mark.parametrize("change", [lambda data: None, to_flac, to_pipes])
def test_each_utterance_with_its_samples_or_the_reason(data, change):
    change(data)
    names = list(read_table(data / "wav.scp"))
    table = read_table(data / "wav.scp")
    table[names[4]] = table[names[4]].replace("s1-1", "none")
    write_table(data / "wav.scp", table)
    loaded = DataDir.load(data, need=["wav.scp"])
    got = {utterance: samples for utterance, samples, _ in WaveReader(loaded, RATE).read_each(names)}
    assert list(got) == names
    for name, samples in got.items():
        if name == names[4]:
            assert isinstance(samples, VouchError) and "o such file" in str(samples)
        else:
            np.testing.assert_array_equal(samples, WaveReader(loaded, RATE).read(name))
    assert list(WaveReader(loaded, RATE).read_each([])) == []


def test_reading_goes_on_while_an_utterance_is_in_use_and_no_further(data):
    to_pipes(data)
    names = list(read_table(data / "wav.scp"))
    before = threading.active_count()
    reader = WaveReader(DataDir.load(data, need=["wav.scp"]), RATE)
    started = [threading.Event() for _ in names]
    read = reader.read

    def noted(utterance):
        started[names.index(utterance)].set()
        return read(utterance)

    reader.read = noted
    utterances = reader.read_each(names)
    next(utterances)
    assert started[1].wait(10)
    assert not started[2].is_set()
    utterances.close()
    assert not any(event.is_set() for event in started[2:])
    assert threading.active_count() == before


def test_segments_of_a_coded_recording(data):
    to_flac(data)
    recording = next(iter(read_table(data / "wav.scp")))
    (data / "segments").write_text(f"s0-0 {recording} 0 0.15\ns0-1 {recording} 0.15 0.27\ns0-2 {recording} 5 6\n")
    write_table(data / "utt2spk", {f"s0-{row}": "s0" for row in range(3)})
    reader = WaveReader(DataDir.load(data, need=["wav.scp"]), RATE)
    got = {utterance: samples for utterance, samples, _ in reader.read_each(["s0-0", "s0-1", "s0-2"])}
    whole = soundfile.read(read_table(data / "wav.scp")[recording], dtype="float32")[0]
    np.testing.assert_array_equal(got["s0-0"], whole[:2400])
    np.testing.assert_array_equal(got["s0-1"], whole[2400:4320])
    assert "outside recording" in str(got["s0-2"])


@pytest.mark.parametrize("end", ["1e308", "1e18", "1e9"])
def test_segments_of_absurd_times_are_named(data, end):
    recording = next(iter(read_table(data / "wav.scp")))
    (data / "segments").write_text(f"s0-0 {recording} 0 {end}\ns0-1 {recording} 0 0.15\ns0-2 {recording} 1e300 {end}\n")
    if end != "1e308":
        (data / "segments").write_text(f"s0-0 {recording} 0 {end}\ns0-1 {recording} 0 0.15\n")
    names = list(read_table(data / "segments"))
    write_table(data / "utt2spk", dict.fromkeys(names, "s0"))
    reader = WaveReader(DataDir.load(data, need=["wav.scp"]), RATE)
    got = {utterance: samples for utterance, samples, _ in reader.read_each(names)}
    assert len(got.pop("s0-1")) == 2400
    for reason in got.values():
        assert isinstance(reason, VouchError) and "is outside recording" in str(reason)


@pytest.mark.parametrize("change", [lambda data: None, to_flac, to_pipes])
def test_each_recording_is_noted_with_the_utterance_that_it_was_read_for(data, change):
    wavs = read_table(data / "wav.scp")
    names = list(wavs)
    for name, channels, rate in ((names[1], 2, RATE), (names[3], 1, 8000), (names[4], 2, 8000)):
        samples, _ = soundfile.read(wavs[name], dtype="int16")
        soundfile.write(wavs[name], np.stack([samples] * channels, axis=1), rate)
    if change is to_flac:
        for wav in wavs.values():
            soundfile.write(Path(wav).with_suffix(".flac"), *soundfile.read(wav, dtype="int16"))
        write_table(data / "wav.scp", {name: str(Path(wav).with_suffix(".flac")) for name, wav in wavs.items()})
    else:
        change(data)
    reader = WaveReader(DataDir.load(data, need=["wav.scp"]), RATE)
    noted = {utterance: notes for utterance, _, notes in reader.read_each(names)}
    resampled, averaged = {"resampled from 8000 Hz": 1}, {"averaged over 2 channels": 1}
    expected = {names[1]: averaged, names[3]: resampled, names[4]: resampled | averaged}
    assert noted == {name: expected.get(name, {}) for name in names}
