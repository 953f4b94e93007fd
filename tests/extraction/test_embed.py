"""Embeddings of whole utterances: neither batch, order nor length of the others may matter."""

import math
import os
from collections import Counter

import numpy as np
import pytest
import soundfile
import torch
from corpus import RATE, done, make_encoder, tiny_encoder, voice, write_features, write_recordings

from vouch.base.errors import VouchError
from vouch.deploy.folding import fold_batch_norm
from vouch.extraction import embed as embedding
from vouch.extraction.embed import batches_by_length, embed_matrices, embed_samples, embed_store
from vouch.features.compute import compute
from vouch.kaldi.datadirs.datadir import DataDir
from vouch.models import MODELS
from vouch.stores.features import FeatureStore
from vouch.stores.waves import WaveStore
from vouch.work.embeddings import AudioEmbedding, FeatureEmbedding

LENGTHS = [60, 3, 31, 1, 200, 32, 31, 14, 15, 75]
WAVEFORM_MODELS = [name for name in MODELS if MODELS[name].input_kind == "waveform"]


@pytest.fixture(params=MODELS)
def encoder(request):
    return tiny_encoder(request.param)


@pytest.fixture
def step(encoder):
    """What one of `LENGTHS` stands for, so that pieces of 30 are twice the network's minimum."""
    return -(-encoder.min_length // 15)


@pytest.fixture
def matrices(encoder, step):
    rng, shape = np.random.default_rng(0), encoder.step_shape
    return [(2 + rng.standard_normal((length * step, *shape))).astype(np.float32) for length in LENGTHS]


def assert_close(found, expected):
    """Equal up to rounding, of which logarithms of small filter outputs (RawNet3) make the most."""
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-4)


def embed_one(encoder, matrix):
    """The network itself on one utterance without padding."""
    with torch.inference_mode():
        return encoder(torch.from_numpy(matrix)[None])[0].numpy()


def test_neither_the_batch_nor_its_order_matters(encoder, matrices):
    together = embed_matrices(encoder, matrices)
    backwards = embed_matrices(encoder, matrices[::-1])[::-1]
    alone = np.concatenate([embed_matrices(encoder, [matrix]) for matrix in matrices])
    assert together.dtype == np.float32
    assert_close(together, alone)
    assert_close(together, backwards)
    for matrix, found in zip(matrices, together, strict=True):
        if len(matrix) >= encoder.min_length:
            assert_close(found, embed_one(encoder, matrix))


@pytest.mark.parametrize("budget", [1, 300, 2000])
def test_neither_batch_nor_order_matters_to_a_folded_encoder(budget, monkeypatch):
    encoder = make_encoder({"name": "resnetse34l", "channels": [16, 64, 64, 64], "embedding_dim": 8}, 20).eval()
    rng, folded = np.random.default_rng(0), fold_batch_norm(encoder)
    matrices = [rng.standard_normal((length, 20)).astype(np.float32) for length in LENGTHS]
    monkeypatch.setitem(embedding.BATCH_SECONDS, "cpu", budget / 100)
    found = embed_matrices(folded, matrices)
    expected = np.stack([embed_one(encoder, matrix) for matrix in matrices])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(embed_matrices(folded, matrices[::-1])[::-1], found, atol=1e-5)


@pytest.mark.parametrize("lengths", [[50], [64], [50, 50, 50], [30, 41], [48, 41, 30], [1]])
def test_batches_come_in_few_sizes(lengths, monkeypatch):
    """Padded to a multiple of 16, with the lengths; several of one length stay as they are."""
    encoder, seen = tiny_encoder("resnetse34l"), []
    rng = np.random.default_rng(0)
    matrices = [rng.standard_normal((length, 8)).astype(np.float32) for length in lengths]
    expected = np.array([embed_one(encoder, matrix) for matrix in matrices])
    forward = encoder.forward

    def record(features, lengths=None):
        seen.append((features.shape[1], None if lengths is None else lengths.tolist()))
        return forward(features, lengths)

    monkeypatch.setattr(encoder, "forward", record)
    assert_close(embed_matrices(encoder, matrices), expected)
    several_alike = len(lengths) > 1 and len(set(lengths)) == 1
    width = max(lengths) if several_alike else -(-max(lengths) // 16) * 16
    given = None if set(lengths) == {width} else sorted(lengths)
    assert seen == [(width, given)]


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("model", ["lstm", "xvector"])
def test_no_embedding_of_infinite_features(model, value):
    """The gates of an LSTM hide them."""
    encoder = make_encoder({"name": model, "embedding_dim": 8}, 8, normalization="none").eval()
    matrices = [np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32) for _ in range(3)]
    matrices[1][17, 3] = value
    found = embed_matrices(encoder, matrices)
    assert np.isnan(found[1]).all() and np.isfinite(found[[0, 2]]).all()


@pytest.mark.parametrize("shape", [(10, 1), (10, 9), (0, 8)])
def test_matrices_that_are_no_features_of_the_model(shape):
    matrices = [np.zeros((10, 8), np.float32), np.ones(shape, np.float32)]
    with pytest.raises(VouchError, match=r"the model takes \(frames, 8\)"):
        embed_matrices(tiny_encoder("resnetse34l"), matrices)


def test_short_utterances_are_repeated():
    encoder = tiny_encoder("xvector")
    assert encoder.min_length == 15
    short = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)
    repeated = np.concatenate([short] * 4)[:15]
    np.testing.assert_allclose(embed_matrices(encoder, [short])[0], embed_one(encoder, repeated), atol=1e-6)


@pytest.mark.parametrize("max_frames", [30, 31, 45, 199, 200])
def test_long_utterances_are_the_weighted_means_of_their_pieces(encoder, matrices, step, max_frames):
    max_frames *= step
    found = embed_matrices(encoder, matrices, encoder.clock.seconds(max_frames))
    for matrix, mean in zip(matrices, found, strict=True):
        if len(matrix) < encoder.min_length:
            continue
        count = -(-len(matrix) // max_frames)
        size, longer = divmod(len(matrix), count)
        ends = np.cumsum([size + (piece < longer) for piece in range(count)])
        total = np.zeros(mean.shape)
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            assert encoder.min_length <= end - start <= max_frames
            total += (end - start) * embed_one(encoder, matrix[start:end])
        assert_close(mean, total / len(matrix))


def test_pieces_that_the_network_cannot_take_are_refused():
    """16 frames in pieces of at most 15 would be two of 8."""
    encoder = tiny_encoder("xvector")
    with pytest.raises(VouchError, match=r"max_seconds 0\.29 must be from 0\.3, twice the network's"):
        embed_matrices(encoder, [np.zeros((16, 8), np.float32)], 0.29)
    for odd in (math.nan, math.inf, -math.inf, -1.0, 1e308):
        with pytest.raises(VouchError, match="must be from"):
            embed_matrices(encoder, [np.zeros((16, 8), np.float32)], odd)
    assert embed_matrices(encoder, [np.zeros((31, 8), np.float32)], 0.3).shape == (1, 8)


def test_the_pieces_of_a_long_recording_do_not_go_through_the_network_at_once(monkeypatch):
    monkeypatch.setitem(embedding.BATCH_SECONDS, "cpu", 1.0)
    encoder = tiny_encoder()
    seen = []
    encoder.model.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0].shape[:2].numel()))
    matrix = np.random.default_rng(0).standard_normal((1000, 8)).astype(np.float32)
    found = embed_matrices(encoder, [matrix], 0.3)
    assert max(seen) <= 100
    assert sum(seen) >= 1000
    monkeypatch.undo()
    np.testing.assert_allclose(found, embed_matrices(encoder, [matrix], 0.3), atol=1e-5)


@pytest.mark.parametrize("budget", [1, 31, 100, 1000, 10**9])
def test_batches_cover_all_once_within_the_budget(budget):
    rng = np.random.default_rng(0)
    for count in (0, 1, 2, 50):
        lengths = rng.integers(1, 120, count)
        batches = list(batches_by_length(lengths, budget))
        assert sorted(np.concatenate(batches).tolist() if batches else []) == list(range(count))
        for batch in batches:
            assert len(batch) == 1 or len(batch) * lengths[batch].max() <= budget
        if budget == 10**9:
            assert len(batches) == min(count, 1)


def make_store(path, encoder):
    """24 utterances as the network takes them."""
    if encoder.takes_waveforms:
        write_recordings(path, speakers=4, utterances=6, seconds=0.2)
        return WaveStore(DataDir.load(path, need=["wav.scp"]), RATE)
    write_features(path, dim=encoder.config.num_bins)
    return FeatureStore(path / "feats.scp")


def test_a_store_in_any_order_and_batch(tmp_path, encoder, monkeypatch):
    store = make_store(tmp_path / "data", encoder)
    everything = embed_store(encoder, store, np.arange(len(store)))
    for row in range(len(store)):
        assert_close(everything[row], embed_matrices(encoder, [store.matrix(row)])[0])
    monkeypatch.setitem(embedding.BATCH_SECONDS, "cpu", encoder.clock.seconds(130))
    some = np.array([20, 3, 3, 11, 0])
    assert_close(embed_store(encoder, store, some), everything[some])
    assert embed_store(encoder, store, np.array([], np.int64)).shape == (0, 8)


def test_waveforms_whose_lengths_were_planned_wrong(tmp_path):
    """The plan sorts utterances into batches; what is embedded is all of their samples."""
    encoder = tiny_encoder("sinctdnn")
    names = write_recordings(tmp_path / "data")
    data = DataDir.load(tmp_path / "data", need=["wav.scp"])
    (tmp_path / "data/utt2dur").write_text("".join(f"{name} 0.{row}\n" for row, name in enumerate(names)))
    found = embed_store(encoder, WaveStore(data, RATE), np.arange(len(names)))
    for row, name in enumerate(names):
        samples, _ = soundfile.read(data.wav_scp[name], dtype="float32")
        assert_close(found[row], embed_one(encoder, samples))


@pytest.mark.parametrize("model", ["xvector", *WAVEFORM_MODELS])
def test_what_goes_through_a_network_at_once_is_bounded(model, monkeypatch):
    """By `max_seconds` a piece, here 1 s, and by `BATCH_SECONDS`, here 0.5 s."""
    monkeypatch.setitem(embedding.BATCH_SECONDS, "cpu", 0.5)
    encoder, seen = tiny_encoder(model), []
    encoder.model.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0].shape[:2]))
    unit = 160 if model in WAVEFORM_MODELS else 1
    assert encoder.clock == (("samples", 16000.0) if model in WAVEFORM_MODELS else ("frames", 100.0))
    long, short = (np.random.default_rng(0).standard_normal((size * unit, *encoder.step_shape)) for size in (240, 20))
    embed_matrices(encoder, [long.astype(np.float32), *[short.astype(np.float32)] * 5], 1.0)
    assert max(rows * frames for rows, frames in seen) == 80 * unit  # a third of the long one, alone
    assert [rows for rows, _ in seen] == [2, 2, 1, 1, 1, 1]


def test_features_of_another_dimension_are_refused(tmp_path):
    write_features(tmp_path, dim=9)
    with pytest.raises(VouchError, match=r"feats\.scp: 9 dimensions, the model takes 8"):
        embed_store(tiny_encoder(), FeatureStore(tmp_path / "feats.scp"), np.arange(2))


@pytest.mark.parametrize("encoder", [name for name in MODELS if name not in WAVEFORM_MODELS], indirect=True)
def test_nan_features_fail_their_utterance_and_no_other(tmp_path, encoder, monkeypatch):
    write_features(tmp_path, dim=encoder.config.num_bins)
    data = DataDir.load(tmp_path, need=["feats.scp"])
    names = list(data.feats_scp)
    clean, failed = done(FeatureEmbedding(encoder, data, 100.0, True), names)
    assert list(clean) == names and not failed
    whole = FeatureStore.matrix

    def matrix_with_nan(store, index):
        matrix = whole(store, index)
        if store.utterances[index] == names[5]:
            matrix[7, 2] = np.nan
        return matrix

    monkeypatch.setattr(FeatureStore, "matrix", matrix_with_nan)
    spoilt, failed = done(FeatureEmbedding(encoder, data, 100.0, True), names)
    assert list(failed) == [names[5]]
    assert "NaN" in failed[names[5]]
    assert list(spoilt) == [name for name in names if name != names[5]]
    for name, vector in spoilt.items():
        np.testing.assert_array_equal(vector, clean[name])


def test_audio_goes_through_the_front_end_of_the_model(tmp_path):
    encoder = tiny_encoder(num_bins=20, feature={"type": "fbank", "num_mel_bins": 20})
    names = write_recordings(tmp_path / "data")
    data = DataDir.load(tmp_path / "data", need=["wav.scp"])
    soundfile.write(data.wav_scp[names[1]], voice(1, 1, rate=8000), 8000)
    os.truncate(data.wav_scp[names[2]], 0)
    embed = AudioEmbedding(encoder, data, 100.0, True)
    found, failed = done(embed, names)
    assert list(found) == [name for name in names if name != names[2]]
    assert "0 bytes" in failed[names[2]]
    assert sum((Counter(result.notes) for result in embed(names)), Counter()) == {
        "resampled from 8000 Hz": 1,
        "are shorter than 1 s": 5,
        "have nothing above 4 kHz, as telephone speech": 1,
    }
    samples, rate = soundfile.read(data.wav_scp[names[0]], dtype="float32")
    assert rate == RATE
    expected = embed_one(encoder, compute(encoder.feature, samples))
    np.testing.assert_allclose(found[names[0]], expected, atol=1e-6)


@pytest.mark.parametrize("model", WAVEFORM_MODELS)
def test_audio_of_a_network_that_takes_it(tmp_path, model):
    encoder = tiny_encoder(model)
    names = write_recordings(tmp_path / "data")
    data = DataDir.load(tmp_path / "data", need=["wav.scp"])
    soundfile.write(data.wav_scp[names[1]], np.array([0.1] * 8000 + [np.nan]), RATE, "FLOAT")
    embeddings, failed = done(AudioEmbedding(encoder, data, 100.0, True), names)
    assert list(failed) == [names[1]] and "NaN" in failed[names[1]]
    for name, found in embeddings.items():
        samples, _ = soundfile.read(data.wav_scp[name], dtype="float32")
        with torch.inference_mode():
            expected = encoder.model(torch.from_numpy(samples)[None])[0].numpy()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_arrays_of_other_kinds(encoder, matrices):
    """Another layout or precision gives the same; what may be meant otherwise is refused."""
    expected = embed_matrices(encoder, matrices)
    big_endian = [matrix.astype(">f4") for matrix in matrices]
    spread = [np.repeat(matrix, 2, axis=0)[::2] for matrix in matrices]
    backwards = [np.ascontiguousarray(matrix[::-1])[::-1] for matrix in matrices]
    fortran = [np.asfortranarray(matrix) for matrix in matrices]
    for others in (big_endian, spread, backwards, fortran, [matrix.astype(np.float64) for matrix in matrices]):
        np.testing.assert_array_equal(embed_matrices(encoder, others), expected)
    for odd in (matrices[0].astype(np.int16), matrices[0].tolist(), torch.from_numpy(matrices[0])):
        with pytest.raises(VouchError, match="the model takes floating-point numbers in an ndarray"):
            embed_matrices(encoder, [odd])


def test_samples_of_other_kinds():
    encoder = tiny_encoder(num_bins=20, feature={"type": "fbank", "num_mel_bins": 20})
    samples = voice(1, 1, 0.5).astype(np.float32)
    expected = embed_samples(encoder, samples)
    for other in (samples.astype(np.float64), samples[::-1].copy()[::-1], samples.astype(">f4")):
        np.testing.assert_array_equal(embed_samples(encoder, other), expected)
    for odd in (samples[:, None], (samples * 32767).astype(np.int16)):
        with pytest.raises(VouchError, match=r"expected are \(samples,\) float32"):
            embed_samples(encoder, odd)


def test_features_that_come_seldom():
    """Padding to a multiple of 0.16 s is to one frame at least."""
    feature = {"type": "fbank", "num_mel_bins": 8, "frame_length": 400, "frame_shift": 400}
    encoder = make_encoder({"name": "lstm", "embedding_dim": 8, "hidden_size": 8}, 8, feature=feature).eval()
    matrices = [np.random.default_rng(0).standard_normal((length, 8)).astype(np.float32) for length in (5, 9)]
    found = embed_matrices(encoder, matrices)
    assert_close(found, [embed_one(encoder, matrix) for matrix in matrices])


def test_audio_for_a_model_of_an_unknown_front_end_is_refused(tmp_path):
    write_recordings(tmp_path / "data")
    data = DataDir.load(tmp_path / "data", need=["wav.scp"])
    with pytest.raises(VouchError, match="give it features, not audio"):
        AudioEmbedding(tiny_encoder(), data, 100.0, True)
