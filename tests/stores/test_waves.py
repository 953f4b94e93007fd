"""Waveforms as features: crops and whole utterances straight from the audio files."""

import contextlib
import itertools
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from corpus import voice, write_features, write_recordings
from threads import wrong_crops

from vouch.audio import reading as audio
from vouch.audio.decoder import open_decoder
from vouch.audio.reading import read_audio
from vouch.base.errors import VouchError
from vouch.features.config import FrontEndConfig
from vouch.kaldi.datadirs.datadir import DataDir, write_data_dir
from vouch.kaldi.tables import read_table, write_table
from vouch.stores import waves as wavestore
from vouch.stores.features import FeatureStore
from vouch.stores.reader import WaveReader
from vouch.stores.waves import WaveStore, open_store

RATE = 16000


def load(path):
    return WaveStore(DataDir.load(path, need=["wav.scp"]), RATE)


def cut(store, index, first, samples):
    out = np.full(samples, np.nan, np.float32)
    store.crop(index, first, out)
    return out


@pytest.fixture
def mixed(tmp_path):
    """One recording of each kind, all of different length."""
    kinds = {
        "wav": {"suffix": "wav"},
        "stereo": {"suffix": "wav", "channels": 2},
        "wav24": {"suffix": "wav", "subtype": "PCM_24"},
        "float": {"suffix": "wav", "subtype": "FLOAT"},
        "flac": {"suffix": "flac"},
        "flac_stereo": {"suffix": "flac", "channels": 2},
        "ogg": {"suffix": "ogg"},
        "narrow": {"suffix": "wav", "rate": 8000},
        "wide": {"suffix": "flac", "rate": 44100},
    }
    wav_scp = {}
    for number, (kind, made) in enumerate(kinds.items()):
        rate, path = made.get("rate", RATE), tmp_path / f"s-{kind} é.{made['suffix']}"
        channels = [voice(3 + channel, number, 0.2 + 0.01 * number, rate) for channel in range(made.get("channels", 1))]
        soundfile.write(path, np.stack(channels, axis=1), rate, made.get("subtype"))
        wav_scp[f"s-{kind}"] = str(path)
    wav_scp["s-pipe"] = f"cat '{wav_scp['s-wav']}' |"
    two = [Path(wav_scp[name]).read_bytes() for name in ("s-stereo", "s-wav")]
    (tmp_path / "two.ark").write_bytes(b"".join(two))
    wav_scp["s-member"] = f"{tmp_path}/two.ark:{len(two[0])}"
    write_data_dir(tmp_path / "data", wav_scp, dict.fromkeys(wav_scp, "s"))
    return tmp_path / "data"


def test_shapes(mixed):
    store, names = load(mixed), list(read_table(mixed / "wav.scp"))
    assert store.utterances == names
    assert len(store) == len(names) == 11
    assert (store.dim, store.step_shape, store.path) == (1, (), mixed / "wav.scp")
    assert store.lengths.dtype == np.int64
    expected = [len(read_audio(rxfilename, RATE).samples) for rxfilename in read_table(mixed / "wav.scp").values()]
    assert store.lengths.tolist() == expected


def test_whole_utterances_and_crops_are_what_reading_everything_gives(mixed):
    store = load(mixed)
    for index, rxfilename in enumerate(read_table(mixed / "wav.scp").values()):
        whole = read_audio(rxfilename, RATE).samples
        matrix = store.matrix(index)
        assert (matrix.shape, matrix.dtype) == (whole.shape, np.float32)
        np.testing.assert_array_equal(matrix, whole)
        for samples, first in itertools.product((1, 100, 3000), (0, 1, 77)):
            np.testing.assert_array_equal(cut(store, index, first, samples), whole[first : first + samples])
        np.testing.assert_array_equal(cut(store, index, len(whole) - 50, 50), whole[-50:])
        np.testing.assert_array_equal(cut(store, index, 0, len(whole)), whole)


@pytest.mark.parametrize("first", [0, 5, 3000])
def test_crops_longer_than_the_utterance_begin_again(mixed, first):
    store = load(mixed)
    for index in range(len(store)):
        whole = store.matrix(index)
        samples = 2 * len(whole) + 3
        expected = [whole[(first + row) % len(whole)] for row in range(samples)]
        np.testing.assert_array_equal(cut(store, index, first, samples), expected)


def test_crops_may_be_written_into_a_part_of_a_batch(mixed):
    store, batch = load(mixed), np.zeros((3, 60), np.float32)
    store.crop(1, 17, batch[1])
    np.testing.assert_array_equal(batch[1], store.matrix(1)[17:77])
    assert not batch[0].any() and not batch[2].any()


def test_only_lossy_formats_and_other_rates_are_decoded_whole(mixed, monkeypatch):
    store, read = load(mixed), []

    @contextlib.contextmanager
    def noted(file, length, where, offset):
        with open_decoder(file, length, where, offset) as decoder:
            whole = decoder.read
            decoder.read = lambda: read.append(where) or whole()
            yield decoder

    monkeypatch.setattr(audio, "open_decoder", noted)
    for index in range(len(store)):
        cut(store, index, 40, 500)
    table = read_table(mixed / "wav.scp")
    expected = {table[f"s-{kind}"] for kind in ("ogg", "narrow", "wide")}
    assert len(read) == 3 and set(read) == expected


def test_segments(mixed):
    wavs = read_table(mixed / "wav.scp")
    segments = {
        "s-a": "s-flac 0.05 0.151",
        "s-b": "s-flac_stereo 0.0123456 0.13",
        "s-c": "s-narrow 0.05 -1",
        "s-d": "s-wav 0 -1",
        "s-e": "s-wav 0.1 0.6",  # a rounding error beyond the end
        "s-f": "s-pipe 0.05 0.15",
    }
    write_table(mixed / "segments", segments)
    write_table(mixed / "utt2spk", dict.fromkeys(segments, "s"))
    data = DataDir.load(mixed, need=["wav.scp"])
    store, reader = WaveStore(data, RATE), WaveReader(data, RATE)
    assert store.utterances == list(segments)
    wav, narrow = (len(read_audio(wavs[name], RATE).samples) for name in ("s-wav", "s-narrow"))
    assert store.lengths.tolist() == [1616, 1882, narrow - 800, wav, 8000, 1600]
    for index, utterance in enumerate(segments):
        whole = reader.read(utterance)
        np.testing.assert_array_equal(store.matrix(index), whole)
        np.testing.assert_array_equal(cut(store, index, 33, 400), whole[33:433])
        longer = [whole[(7 + row) % len(whole)] for row in range(9000)]
        np.testing.assert_array_equal(cut(store, index, 7, 9000), longer)
    # The last samples of the longest plan are not there.
    np.testing.assert_array_equal(cut(store, 4, 7900, 100), reader.read("s-e")[-100:])


@pytest.mark.parametrize("bounds", ["0.1 0.8", "0.3 0.4", "0.3 -1"])
def test_a_segment_outside_its_recording_is_refused(mixed, bounds):
    write_table(mixed / "segments", {"s-a": "s-flac 0 0.1", "s-b": f"s-wav {bounds}"})
    write_table(mixed / "utt2spk", {"s-a": "s", "s-b": "s"})
    store = load(mixed)
    for use in (lambda: store.matrix(1), lambda: cut(store, 1, 0, 10_000)):
        with pytest.raises(VouchError, match=r"wav\.scp: 's-b': segment .* is outside recording 's-wav' of 0\.2 s"):
            use()


def test_lengths_from_tables_open_no_file(mixed, monkeypatch):
    monkeypatch.setattr(wavestore, "count_samples", lambda *arguments: pytest.fail("a header was read"))
    names = list(read_table(mixed / "wav.scp"))
    write_table(mixed / "utt2dur", {name: f"{0.2 + 0.0101 * row:.3f}" for row, name in enumerate(names)})
    expected = [int(round(0.2 + 0.0101 * row, 3) * RATE + 0.5) for row in range(len(names))]
    assert load(mixed).lengths.tolist() == expected
    write_table(mixed / "utt2num_samples", {name: str(100 + row) for row, name in enumerate(names)})
    assert load(mixed).lengths.tolist() == list(range(100, 111))


def test_a_recording_shorter_or_longer_than_planned(mixed):
    names = list(read_table(mixed / "wav.scp"))
    for planned in (100, 3000, 3205, 100_000):
        write_table(mixed / "utt2num_samples", dict.fromkeys(names, str(planned)))
        store = load(mixed)
        for index in range(len(store)):
            whole = store.matrix(index)
            assert len(whole) in range(3200, 5000)
            # Wherever a crop is planned to begin, it is a piece of the recording.
            for first in (0, (planned - 90) // 2, planned - 90):
                begin = min(first, len(whole) - 90)
                np.testing.assert_array_equal(cut(store, index, first, 90), whole[begin : begin + 90])
            # What is longer than the plan is repeated only after its true end, what is shorter already there.
            np.testing.assert_array_equal(cut(store, index, 0, 5000), np.resize(whole, 5000))


@pytest.mark.parametrize("table", ["utt2dur", "utt2num_samples"])
@pytest.mark.parametrize("value", ["nan", "-1", "inf", "two", "1e30", "0.1 0.2"])
def test_malformed_lengths(mixed, table, value):
    lengths = dict.fromkeys(read_table(mixed / "wav.scp"), "3")
    write_table(mixed / table, {**lengths, "s-narrow": value})
    with pytest.raises(VouchError, match=rf"{table}: 's-narrow {value}' is not a length"):
        load(mixed)
    del lengths["s-ogg"]
    write_table(mixed / table, lengths)
    with pytest.raises(VouchError, match=rf"{table}: no line for 's-ogg'; make the table again, or remove it"):
        load(mixed)


def truncate(path):
    os.truncate(path, os.path.getsize(path) - 100)


def empty(path):
    os.truncate(path, 0)


def no_samples(path):
    soundfile.write(path, np.zeros(0), RATE)


def no_audio(path):
    with open(path, "w") as file:
        file.write("hello\n" * 100)


BAD = {
    os.unlink: "No such file",
    truncate: "truncated wav",
    empty: "0 bytes",
    no_samples: "no samples",
    no_audio: "not readable as audio",
}


@pytest.mark.parametrize("spoil", BAD)
def test_a_bad_file_is_one_line_that_names_the_utterance(tmp_path, spoil):
    names = write_recordings(tmp_path / "data")
    spoil(read_table(tmp_path / "data/wav.scp")[names[3]])
    message = rf"data/wav\.scp: '{names[3]}': .*{BAD[spoil]}"
    with pytest.raises(VouchError, match=message):
        load(tmp_path / "data")
    write_table(tmp_path / "data/utt2dur", dict.fromkeys(names, "0.5"))
    store = load(tmp_path / "data")
    for use in (lambda: store.matrix(3), lambda: cut(store, 3, 0, 100), lambda: cut(store, 3, 0, 10_000)):
        with pytest.raises(VouchError, match=message) as caught:
            use()
        assert "\n" not in str(caught.value)
    assert len(store.matrix(2)) == 8000


def test_nan_samples_and_failing_pipes_are_named(mixed):
    wavs = read_table(mixed / "wav.scp")
    soundfile.write(wavs["s-float"], np.array([0.1] * 4000 + [np.nan] + [0.1] * 4000), RATE, "FLOAT")
    write_table(mixed / "wav.scp", {**wavs, "s-pipe": "echo gone >&2; false |"})
    write_table(mixed / "utt2dur", dict.fromkeys(wavs, "0.5"))
    store = load(mixed)
    index = store.utterances.index
    with pytest.raises(VouchError, match=r"wav\.scp: 's-float': .*NaN or infinite samples"):
        cut(store, index("s-float"), 3990, 20)
    with pytest.raises(VouchError, match=r"wav\.scp: 's-pipe': .*failed with status 1: gone"):
        cut(store, index("s-pipe"), 0, 20)


def test_after_a_bad_header_the_others_are_not_waited_for(tmp_path):
    names = [f"s-{number:03d}" for number in range(1000)]
    write_data_dir(tmp_path, {name: f"touch '{tmp_path}/{name}'; false |" for name in names}, dict.fromkeys(names, "s"))
    with pytest.raises(VouchError, match=r"'s-000': .*failed with status 1"):
        load(tmp_path)
    assert len(list(tmp_path.glob("s-*"))) < 1000


def test_threads_may_share_a_store(mixed):
    store = load(mixed)
    wholes = [store.matrix(index) for index in range(len(store))]
    assert not wrong_crops(store, wholes, cut)


def test_the_front_end_says_what_is_opened(tmp_path):
    write_recordings(tmp_path / "data")
    data, store = open_store(tmp_path / "data", FrontEndConfig("waveform", {"sample_rate": 8000}))
    assert isinstance(store, WaveStore) and store.lengths.tolist()[:2] == [4000, 4400]
    assert list(data.utt2spk) == store.utterances
    with pytest.raises(VouchError, match=r"feats\.scp: no such file; run stage 1"):
        open_store(tmp_path / "data", None)
    write_features(tmp_path / "feats")
    for feature in (None, FrontEndConfig("fbank")):
        assert isinstance(open_store(tmp_path / "feats", feature)[1], FeatureStore)
    with pytest.raises(VouchError, match=r"wav\.scp: no such file"):
        open_store(tmp_path / "feats", FrontEndConfig("waveform", {"sample_rate": 8000}))
