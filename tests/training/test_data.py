"""Training crops."""

import itertools
import threading

import numpy as np
import pytest
import soundfile
import torch
from corpus import read_features, write_features, write_recordings

from vouch.base.errors import VouchError
from vouch.features.config import FrontEndConfig
from vouch.kaldi.tables import read_table, write_table
from vouch.stores.features import FeatureStore
from vouch.training.data import QUEUED_BATCHES, TrainingSet, find_not_finite, prefetch

FRAMES = 33


@pytest.fixture
def data(tmp_path):
    write_features(tmp_path)
    return TrainingSet(tmp_path)


@pytest.fixture
def batches():
    return np.random.default_rng(0).permutation(24).reshape(6, 4)


def places(matrix, frames):
    """All crops of a matrix: its slices, or the one of its repetitions that begins at the start."""
    if len(matrix) <= frames:
        return [np.concatenate([matrix] * (frames // len(matrix) + 1))[:frames]]
    return [matrix[start : start + frames] for start in range(len(matrix) - frames + 1)]


def test_utterances_without_a_frame_are_left_out_and_counted(data, tmp_path):
    """One of a speaker among others, and all of another speaker, who is no class then."""
    table = read_table(tmp_path / "feats.scp")
    (tmp_path / "empty.ark").write_bytes(b"\0BFM \4\0\0\0\0\4\x08\0\0\0")
    empty = ["s1-2", *(name for name in table if name.startswith("s3-"))]
    write_table(tmp_path / "feats.scp", table | dict.fromkeys(empty, f"{tmp_path}/empty.ark:0"))
    assert data.left_out == ""
    found = TrainingSet(tmp_path)
    assert found.speakers == ["s0", "s1", "s2"]
    assert np.bincount(found.labels).tolist() == [6, 5, 6]
    assert (found.lengths > 0).all()
    assert [found.name(index) for index in range(17)] == [name for name in table if name not in empty]
    assert found.left_out == f"{tmp_path}/feats.scp: 7 utterances of 0 frames left out: s1-2"


def test_crops_that_are_not_finite_are_named(tmp_path):
    write_features(tmp_path)
    matrices = read_features(tmp_path / "feats.scp")
    for name, value in (("s1-3", np.nan), ("s2-0", -np.inf)):
        matrices[name][len(matrices[name]) // 2, 3] = value
        np.save(tmp_path / f"{name}.npy", matrices[name])
    table = read_table(tmp_path / "feats.scp")
    changed = {name: f"{tmp_path}/{name}.npy" for name in ("s1-3", "s2-0")}
    write_table(tmp_path / "feats.scp", table | changed)
    data, names = TrainingSet(tmp_path), list(table)
    batches = np.array([[0, 1], [names.index("s1-3"), 2], [3, names.index("s2-0")], [4, 5]])
    # Crops of 60 frames hold all of an utterance.
    assert find_not_finite(data, batches, 0, 4, 60, (5, 0)) == ["s1-3", "s2-0"]
    assert find_not_finite(data, batches, 2, 4, 60, (5, 0)) == ["s2-0"]
    assert find_not_finite(data, batches, 3, 4, 60, (5, 0)) == []
    # They are the crops that training had.
    for seed in range(20):
        bad = [not torch.isfinite(batch.inputs).all() for batch in prefetch(data, batches, 0, 8, (5, seed))]
        named = find_not_finite(data, batches, 0, 4, 8, (5, seed))
        assert named == [name for name, is_bad in (("s1-3", bad[1]), ("s2-0", bad[2])) if is_bad]


def test_crops_are_slices_and_every_place_is_drawn(data, tmp_path):
    features = read_features(tmp_path / "feats.scp")
    names = list(features)
    drawn = [set() for _ in names]
    for seed in range(400):
        batch = data.gather(np.arange(24), FRAMES, np.random.default_rng(seed))
        assert batch.inputs.shape == (24, FRAMES, 8)
        for row, name in enumerate(names):
            crop = batch.inputs[row].numpy()
            equal = [place for place, x in enumerate(places(features[name], FRAMES)) if np.array_equal(crop, x)]
            assert len(equal) == 1
            drawn[row].add(equal[0])
    assert drawn == [set(range(len(places(features[name], FRAMES)))) for name in names]


@pytest.mark.parametrize("frames", [1, 30, 48, 49, 100, 333])
def test_crops_of_any_length(data, tmp_path, frames):
    features = list(read_features(tmp_path / "feats.scp").values())
    crops = data.gather(np.arange(24), frames, np.random.default_rng(0)).inputs.numpy()
    for crop, matrix in zip(crops, features, strict=True):
        assert any(np.array_equal(crop, place) for place in places(matrix, frames))


def test_labels_are_positions_of_sorted_speakers(data, tmp_path):
    assert data.speakers == ["s0", "s1", "s2", "s3"]
    utt2spk = read_table(tmp_path / "utt2spk")
    assert [data.speakers[label] for label in data.labels] == [utt2spk[name] for name in data.store.utterances]
    batch = data.gather(np.array([23, 0, 7]), FRAMES, np.random.default_rng(0))
    assert (batch.labels.tolist(), batch.labels.dtype) == ([3, 0, 1], torch.int64)


def test_a_resumed_epoch_draws_what_it_would_have_drawn(data, batches):
    whole = list(prefetch(data, batches, 0, FRAMES, (3, 1)))
    assert len(whole) == 6
    for first in (1, 4, 6):
        rest = list(prefetch(data, batches, first, FRAMES, (3, 1)))
        assert len(rest) == 6 - first
        for found, expected in zip(rest, whole[first:], strict=True):
            assert torch.equal(found.inputs, expected.inputs)
            assert torch.equal(found.labels, expected.labels)


def test_seed_epoch_and_batch_each_change_the_draws(data):
    same = np.tile(np.arange(24), (2, 1))
    starts = [
        [batch.inputs.numpy().tobytes() for batch in prefetch(data, same, 0, FRAMES, seed)]
        for seed in ((0, 0), (0, 1), (1, 0))
    ]
    assert len(set(itertools.chain.from_iterable(starts))) == 6


def test_an_error_of_the_thread_reaches_the_consumer(data, batches, monkeypatch):
    read, count = FeatureStore.crop, itertools.count()

    def fail_at_the_tenth(store, index, first, out):
        if next(count) == 10:
            raise VouchError("the disk is gone")
        read(store, index, first, out)

    monkeypatch.setattr(FeatureStore, "crop", fail_at_the_tenth)
    got = []
    with pytest.raises(VouchError, match="the disk is gone"):
        got.extend(batch for batch in prefetch(data, batches, 0, FRAMES, (0, 0)))
    assert len(got) <= 2


def test_a_consumer_that_stops_leaves_no_thread_behind(data, batches):
    threads = threading.active_count()
    crops = prefetch(data, np.tile(batches, (50, 1)), 0, FRAMES, (0, 0))
    next(crops)
    assert threading.active_count() == threads + 1
    crops.close()
    assert threading.active_count() == threads


def test_only_a_few_batches_are_gathered_ahead(data, batches, monkeypatch):
    gather, gathered = TrainingSet.gather, []

    def counted(*arguments):
        gathered.append(1)
        return gather(*arguments)

    monkeypatch.setattr(TrainingSet, "gather", counted)
    crops = prefetch(data, np.tile(batches, (50, 1)), 0, FRAMES, (0, 0))
    next(crops)
    crops.close()
    assert len(gathered) <= QUEUED_BATCHES + 1


def test_sets_that_cannot_be_trained_on_are_refused(tmp_path):
    write_features(tmp_path / "one", speakers=[2])
    with pytest.raises(VouchError, match="one: training needs at least 2 speakers, there is 1"):
        TrainingSet(tmp_path / "one")
    write_features(tmp_path / "two")
    utt2spk = read_table(tmp_path / "two/utt2spk")
    del utt2spk["s1-3"]
    write_table(tmp_path / "two/utt2spk", utt2spk)
    with pytest.raises(VouchError, match=r"feats\.scp:10: utterance 's1-3' has no speaker"):
        TrainingSet(tmp_path / "two")
    with pytest.raises(VouchError, match="no such data directory"):
        TrainingSet(tmp_path / "none")


def test_a_share_of_the_speakers_is_the_first_by_name(tmp_path):
    write_features(tmp_path)
    whole, part = TrainingSet(tmp_path), TrainingSet(tmp_path, data_ratio=0.75)
    assert part.speakers == ["s0", "s1", "s2"]
    chosen = np.flatnonzero(whole.labels < 3)
    assert part.labels.tolist() == whole.labels[chosen].tolist()
    assert part.lengths.tolist() == whole.lengths[chosen].tolist()
    with pytest.raises(VouchError, match=r"at least 2 speakers, there is 1 left of 4 by train\.data_ratio"):
        TrainingSet(tmp_path, data_ratio=0.49)


def test_speakers_with_too_little_audio_are_left_out(tmp_path):
    write_features(tmp_path)
    whole = TrainingSet(tmp_path)
    totals = np.bincount(whole.labels, whole.lengths)
    shortest = int(totals.argmin())
    part = TrainingSet(
        tmp_path, min_speaker_seconds=(totals.min() + 1) / 50, feature=FrontEndConfig("fbank", {"frame_shift": 20})
    )
    assert part.speakers == [name for name in whole.speakers if name != f"s{shortest}"]
    assert np.bincount(part.labels).tolist() == np.delete(np.bincount(whole.labels), shortest).tolist()
    # The crops are still those of the utterances that the labels belong to.
    kept = np.flatnonzero(whole.labels != shortest)
    assert torch.equal(
        part.gather(np.arange(len(kept)), FRAMES, np.random.default_rng(0)).inputs,
        whole.gather(kept, FRAMES, np.random.default_rng(0)).inputs,
    )


WAVEFORM = FrontEndConfig("waveform")


def test_crops_of_waveforms_are_pieces_of_the_recordings(tmp_path):
    write_recordings(tmp_path / "data", speakers=2, utterances=3, seconds=0.1)
    data = TrainingSet(tmp_path / "data", feature=WAVEFORM)
    assert data.speakers == ["s0", "s1"]
    assert data.lengths.tolist() == [1600, 2400, 3200] * 2
    waves = [soundfile.read(wav, dtype="int16")[0] for wav in read_table(tmp_path / "data/wav.scp").values()]
    starts = set()
    for seed in range(20):
        batch = data.gather(np.arange(6), 2000, np.random.default_rng(seed))
        assert batch.inputs.shape == (6, 2000)
        for crop, wave in zip(batch.inputs.numpy(), waves, strict=True):
            if len(wave) < 2000:
                np.testing.assert_array_equal(crop, np.resize(wave, 2000))
                continue
            windows = np.lib.stride_tricks.sliding_window_view(wave, 2000)
            place = np.flatnonzero((windows[:, :3] == crop[:3]).all(axis=1))
            assert len(place) == 1
            np.testing.assert_array_equal(crop, windows[place[0]])
            starts.add(int(place[0]))
    assert min(starts) < 60 and max(starts) > 1100 and len(starts) > 60


def test_seconds_of_waveforms(tmp_path):
    write_recordings(tmp_path / "data", speakers=3)
    wavs = read_table(tmp_path / "data/wav.scp")
    write_table(tmp_path / "data/utt2dur", {name: "0.4" if name[:2] == "s1" else "0.5" for name in wavs})
    data = TrainingSet(tmp_path / "data", min_speaker_seconds=0.9, feature=WAVEFORM)
    assert (data.speakers, data.clock) == (["s0", "s2"], ("samples", 16000))
    crops = data.gather(np.arange(4), 8000, np.random.default_rng(0)).inputs.numpy()
    for crop, name in zip(crops, ("s0-0", "s0-1", "s2-0", "s2-1"), strict=True):
        wave = soundfile.read(wavs[name], dtype="int16")[0]
        np.testing.assert_array_equal(crop, wave[:8000])
