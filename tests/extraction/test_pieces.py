"""Embeddings of crops and of windows: where they lie, what becomes of them, and voxceleb_trainer's own scores."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from corpus import done, make_encoder, read_features, tiny_encoder, write_features, write_recordings
from foreign import filled, imported

from vouch.base.errors import VouchError
from vouch.extraction.pieces import Crops, Windows, check_cut
from vouch.features.clock import Clock
from vouch.features.compute import compute
from vouch.kaldi.datadirs.datadir import DataDir, write_data_dir
from vouch.kaldi.matrices.writing import open_ark
from vouch.kaldi.tables import read_table
from vouch.scoring.distance import CropDistances, load_crops
from vouch.work.embeddings import AudioEmbedding, FeatureEmbedding

GOLDEN = Path(__file__).parents[1] / "golden"
FACTS = json.loads((GOLDEN / "voxceleb_trainer_scoring.json").read_text())


@pytest.mark.parametrize("facts", FACTS["crops"])
def test_crops_lie_where_voxceleb_trainer_puts_them(facts):
    crops = Crops(facts["num_eval"], facts["max_frames"] / 100).of_samples(np.arange(facts["n_samples"]), 16000)
    assert [crop[0] for crop in crops] == facts["first_source_index"]
    assert [crop[-1] for crop in crops] == facts["last_source_index"]
    assert {len(crop) for crop in crops} == {160 * facts["max_frames"] + 240}


def test_windows_cover_everything_once_the_end_is_reached():
    rows = np.arange(1000)[:, None]

    def starts(length, frames, step, scale=1):
        clock = Clock("frames", 100.0) if scale == 1 else Clock("samples", 100.0 * scale)
        windows = Windows(frames / 100, step, "mean").of_inputs(rows[:length], clock)
        assert all(len(window) == min(length, frames * scale) for window in windows)
        return [int(window[0, 0]) for window in windows]

    assert starts(160, 160, 0.5) == [0]
    assert starts(161, 160, 0.5) == [0, 1]
    assert starts(320, 160, 0.5) == [0, 80, 160]
    assert starts(333, 160, 0.25) == [0, 40, 80, 120, 160, 173]
    assert starts(25, 160, 0.25) == [0]
    assert starts(30, 10, 1.0) == [0, 10, 20]
    assert starts(50, 2, 0.5, scale=10) == [0, 10, 20, 30]
    assert starts(5, 3, 0.01) == [0, 1, 2]


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (33000, [0, 999]),
        (52000, [0, 8000, 15999, 19999]),
        (19000, [0]),
        (40000, [0, 8000]),
        (61000, [0, 8000, 15999, 24000, 28999]),
        (36000, [0, 3999]),
    ],
)
def test_windows_lie_where_pyannote_puts_them(samples, expected):
    """Starts observed in pyannote.audio, whose rounding of times falls a sample short here and there."""
    windows = Windows(2.0, 0.25, "mean").of_inputs(np.arange(samples), Clock("samples", 16000.0))
    assert [int(window[0]) for window in windows] == pytest.approx(expected, abs=1)


def network(encoder, piece):
    with torch.inference_mode():
        return encoder(torch.from_numpy(np.ascontiguousarray(piece))[None])[0].numpy()


@pytest.mark.parametrize("average", ["mean", "unit-mean"])
def test_windows_of_features_are_averaged(tmp_path, average):
    write_features(tmp_path)
    encoder, cut = tiny_encoder(), Windows(0.2, 0.25, average)
    data = DataDir.load(tmp_path, need=["feats.scp"])
    found, _ = done(FeatureEmbedding(encoder, data, 100.0, True, cut), list(data.feats_scp))
    for name, matrix in read_features(tmp_path / "feats.scp").items():
        starts = sorted({*range(0, len(matrix) - 19, 5), len(matrix) - 20})
        each = [network(encoder, matrix[start : start + 20]) for start in starts]
        if average == "unit-mean":
            each = [x / np.linalg.norm(x) for x in each]
        np.testing.assert_allclose(found[name], np.mean(each, axis=0), atol=1e-5)


@pytest.mark.parametrize("cut", [Crops(4, 0.25), Windows(0.2, 0.5, "mean")])
def test_neither_the_shard_nor_its_order_matters(tmp_path, cut):
    write_features(tmp_path)
    encoder = tiny_encoder("xvector")
    data = DataDir.load(tmp_path, need=["feats.scp"])
    names = list(data.feats_scp)
    embed = FeatureEmbedding(encoder, data, 100.0, True, cut)
    together, backwards = done(embed, names)[0], done(embed, names[::-1])[0]
    for name in names:
        np.testing.assert_array_equal(together[name], backwards[name])
        np.testing.assert_array_equal(together[name], done(embed, [name])[0][name])
        assert together[name].shape == ((4, encoder.embedding_dim) if isinstance(cut, Crops) else (8,))


def test_crops_of_audio_are_cut_before_the_front_end(tmp_path):
    encoder = tiny_encoder(num_bins=20, feature={"type": "fbank", "num_mel_bins": 20, "snip_edges": True})
    names = write_recordings(tmp_path / "data")
    data = DataDir.load(tmp_path / "data", need=["wav.scp"])
    found, _ = done(AudioEmbedding(encoder, data, 100.0, False, Crops(3, 0.2)), names)
    for name, wav in data.wav_scp.items():
        samples, _ = soundfile.read(wav, dtype="float32")
        for row, start in enumerate((0, (len(samples) - 3440) // 2, len(samples) - 3440)):
            features = compute(encoder.feature, samples[start : start + 3440])
            assert len(features) == 20
            np.testing.assert_allclose(found[name][row], network(encoder, features), atol=1e-5)


@pytest.mark.parametrize("model", ["sinctdnn", "rawnet3"])
def test_windows_of_waveforms(tmp_path, model):
    encoder = tiny_encoder(model)
    length = 160 * -(-encoder.min_length // 160)
    names = write_recordings(tmp_path / "data")
    data = DataDir.load(tmp_path / "data", need=["wav.scp"])
    cut = Windows(length / 16000, 1.0, "mean")
    check_cut(cut, encoder)
    found, _ = done(AudioEmbedding(encoder, data, 100.0, True, cut), names)
    samples, _ = soundfile.read(data.wav_scp[names[0]], dtype="float32")
    starts = sorted({*range(0, max(1, len(samples) - length + 1), length), max(0, len(samples) - length)})
    each = [network(encoder, samples[start : start + length]) for start in starts]
    np.testing.assert_allclose(found[names[0]], np.mean(each, axis=0), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        (Crops(0, 1.0), "0 crops of an utterance"),
        (Crops(10, 0.09), "pieces of 0.09 s are too short, the network needs at least 15 frames, 0.15 s"),
        (Windows(0.0, 0.5, "mean"), "pieces of 0.0 s: a length in seconds is above 0"),
        (Windows(-0.3, 0.5, "mean"), "pieces of -0.3 s"),
        (Windows(0.3, 0, "mean"), "a step of 0 windows"),
        (Windows(0.3, 1.5, "mean"), "a step of 1.5 windows"),
        (Windows(0.3, 0.5, "men"), "did you mean 'mean'"),
        (Crops(2, 100.01), r"pieces of 100.01 s: a length in seconds is above 0 and at most 100"),
        (Crops(2, math.nan), r"pieces of nan s: a length"),
        (Crops(2, -math.inf), r"pieces of -inf s: a length"),
        (Crops(10**9, 1.0), "1000000000 crops of an utterance: must be from 1 to 1000"),
    ],
)
def test_impossible_parts_are_refused(cut, message):
    with pytest.raises(VouchError, match=message):
        check_cut(cut, tiny_encoder("xvector"))


@pytest.mark.parametrize("shift", [10.0, 12.5, 20.0])
def test_parts_of_features_are_as_long_at_any_frame_shift(shift):
    feature = {"type": "fbank", "num_mel_bins": 8, "frame_shift": shift}
    encoder = make_encoder({"name": "xvector", "embedding_dim": 8}, 8, feature=feature)
    matrix = encoder.feature(torch.randn(1, 2 * 16000, generator=torch.Generator().manual_seed(0)))[0].numpy()
    for cut in (Windows(0.5, 0.5, "mean"), Crops(3, 0.5)):
        check_cut(cut, encoder)
        pieces = cut.of_inputs(matrix, encoder.clock)
        assert {len(piece) for piece in pieces} == {500 / shift}
        assert np.array_equal(pieces[-1], matrix[-len(pieces[-1]) :])


@pytest.mark.parametrize("model", ["xvector", "sinctdnn", "rawnet3"])
def test_the_least_that_a_message_tells_is_taken(model):
    encoder = tiny_encoder(model)
    for wrong in (Windows(1e-4, 0.5, "mean"), Crops(1, 1e-4)):
        with pytest.raises(VouchError) as raised:
            check_cut(wrong, encoder)
        least = float(re.search(r"([0-9.]+) s$", str(raised.value))[1])
        check_cut(wrong._replace(seconds=least), encoder)
        with pytest.raises(VouchError, match="too short"):
            check_cut(wrong._replace(seconds=least - 0.01), encoder)


def test_features_of_another_dimension_are_refused(tmp_path):
    write_features(tmp_path, dim=9)
    data = DataDir.load(tmp_path, need=["feats.scp"])
    embed = FeatureEmbedding(tiny_encoder(), data, 100.0, True, Crops(2, 0.2))
    with pytest.raises(VouchError, match="9 dimensions, the model takes 8"):
        done(embed, list(data.feats_scp))


@pytest.mark.parametrize("name", FACTS["scores"])
def test_scores_equal_those_of_voxceleb_trainer(tmp_path, name):
    """From recordings through crops, front end and network to the distances of the trials."""
    light = json.loads((GOLDEN / "resnetse34l.json").read_text())
    shapes = {**light["state_keys"], "fc.weight": [64, 128], "fc.bias": [64]}
    state = filled(light["salt"], shapes, "hamming")
    encoder = imported(tmp_path, {f"__S__.{key}": value for key, value in state.items()}, "voxceleb_trainer")
    wav_scp = {}
    for key, samples in np.load(GOLDEN / "voxceleb_trainer_scoring.npz").items():
        wav_scp[key.replace("/", "-")] = str(tmp_path / Path(key).name)
        soundfile.write(tmp_path / Path(key).name, samples, 16000)
    write_data_dir(tmp_path / "data", wav_scp, {key: key.split("-")[0] for key in wav_scp})
    data = DataDir.load(tmp_path / "data", need=["wav.scp"])
    with open_ark(tmp_path / "e.ark", tmp_path / "e.scp") as ark:
        cut = Crops(10, int(name.rpartition("eval")[2]) / 100)
        for result in AudioEmbedding(encoder, data, 100.0, True, cut)(list(wav_scp)):
            ark.write(result.item, result.value)
    assert list(read_table(tmp_path / "e.scp")) == sorted(wav_scp)
    names, crops = load_crops(tmp_path / "e.scp", normalize=not name.startswith("proto"))
    pairs = [[names.index(key.replace("/", "-")) for key in trial] for trial in FACTS["trials"]]
    found = CropDistances(crops, crops).pairs(*np.array(pairs).T)
    # Embeddings that are nearly the same: their distances magnify the rounding of the network.
    np.testing.assert_allclose(found, FACTS["scores"][name], atol=1e-3 * np.abs(FACTS["scores"][name]).max())
