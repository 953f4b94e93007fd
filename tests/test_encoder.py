"""Encoders: normalisation, and files."""

import itertools
import os
import pickle
import random

import numpy as np
import pytest
import torch
from corpus import TINY, TINY_BINS, make_encoder, tiny_encoder

from vouch.base.errors import VouchError
from vouch.base.torchfile import load_torch
from vouch.encoder import NORMALIZATIONS, load_encoder, save_encoder
from vouch.features.config import FrontEndConfig
from vouch.models import MODELS


def features(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_there_is_a_tiny_network_of_each_kind():
    assert all("tiny" in vars(network) for network in MODELS.values())


WAVEFORM_MODELS = [name for name in MODELS if MODELS[name].input_kind == "waveform"]


@pytest.mark.parametrize("model", MODELS)
def test_a_saved_encoder_gives_the_same_embeddings(model, tmp_path):
    front_end = {"type": "fbank", "num_mel_bins": TINY_BINS[model]}
    options = {} if model in WAVEFORM_MODELS else {"normalization": "meanvar", "feature": front_end}
    encoder = tiny_encoder(model, **options)
    save_encoder(encoder, tmp_path / "final.pt")
    loaded = load_encoder(tmp_path / "final.pt")
    x = features(3, encoder.min_length + 30, *encoder.step_shape)
    assert not loaded.training
    assert loaded.config == encoder.config
    with torch.inference_mode():
        assert torch.equal(loaded(x), encoder(x))
        waves = features(3, 4000)
        assert torch.equal(loaded.feature(waves), encoder.feature(waves))
    assert os.listdir(tmp_path) == ["final.pt"]


def test_the_configuration_holds_every_option():
    encoder = make_encoder({"name": "xvector"}, 30)
    options = {"embedding_dim": 512, "pooling": "stats", "channels": [512, 512, 512, 512, 1500], "two_layers": False}
    assert encoder.config.network.as_dict() == {"name": "xvector", **options}
    front_end = make_encoder({"name": "lstm"}, 80, feature={"type": "fbank"}).config.front_end
    assert (front_end.options["num_mel_bins"], front_end.options["frame_shift"]) == (80, 10.0)


def normalized(x, kind):
    """One utterance, (frames, bins) float64 ndarray, by the definition."""
    if kind == "none":
        return x
    if kind == "sliding":
        starts = [min(max(0, t - 150), max(0, len(x) - 300)) for t in range(len(x))]
        return np.stack([x[t] - x[start : start + 300].mean(axis=0) for t, start in enumerate(starts)])
    x = x - x.mean(axis=0)
    return x if kind == "mean" else x / np.sqrt((x**2).mean(axis=0) + 1e-5)


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (model, kind)
        for model, kind in itertools.product(MODELS, [*NORMALIZATIONS, "none"])
        if kind == "none" or model not in WAVEFORM_MODELS
    ],
)
def test_normalisation_over_real_frames_only(model, kind):
    """What the network is given, and what comes out, for padded utterances as for each alone."""
    encoder = tiny_encoder(model, normalization=kind)
    lengths = encoder.min_length + torch.tensor([40, 0, 21]) * (100 if model in WAVEFORM_MODELS else 1)
    x = 5 + 3 * features(3, int(lengths.max()), *encoder.step_shape)
    for row, length in enumerate(lengths):
        x[row, length:] = 1e4
    given = []
    encoder.model.register_forward_pre_hook(lambda module, arguments: given.append(arguments[0]))
    with torch.inference_mode():
        together = encoder(x, lengths)
        for row, length in enumerate(lengths.tolist()):
            expected = normalized(x[row, :length].double().numpy(), kind)
            np.testing.assert_allclose(given[0][row, :length].reshape(expected.shape), expected, atol=1e-4)
            alone = encoder(x[row : row + 1, :length])
            # Logarithms of small filter outputs, as RawNet3 takes them, are known to about four digits.
            torch.testing.assert_close(together[row], alone[0], atol=1e-5, rtol=1e-4 if model == "rawnet3" else 1e-5)


@pytest.mark.parametrize("model", WAVEFORM_MODELS)
def test_waveforms_bring_their_own_front_end(model):
    """The network gets `(batch, samples)`, the configuration says how to read audio for it."""
    encoder = tiny_encoder(model)
    assert encoder.config.front_end == FrontEndConfig("waveform", {"sample_rate": 16000})
    assert (encoder.config.num_bins, encoder.config.normalization) == (1, "none")
    assert encoder.min_length == encoder.model.min_length
    waves = features(2, encoder.min_length + 9)
    with torch.inference_mode():
        assert torch.equal(encoder(encoder.feature(waves)), encoder.model(waves))
    narrow = make_encoder({**TINY[model], "sample_rate": 8000}, 1)
    assert narrow.feature.sample_rate == 8000
    assert make_encoder(**narrow.config.as_dict()).config == narrow.config


@pytest.mark.parametrize("model", WAVEFORM_MODELS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"normalization": "mean"}, "normalization 'mean' is for features, and .* takes waveforms"),
        ({"normalization": "men"}, "unknown normalization 'men'"),
        ({"num_bins": 40}, "takes waveforms of 16000 Hz, not features of 40 dimensions"),
        ({"feature": {"type": "waveform", "sample_rate": 8000}}, "of 16000 Hz, not .* 'waveform' of 8000 Hz"),
        ({"feature": {"type": "fbank"}}, "not features of 1 dimensions from the front end 'fbank'"),
    ],
)
def test_what_waveforms_cannot_have_is_refused(model, options, message):
    with pytest.raises(VouchError, match=message):
        make_encoder(**{"model": TINY[model], "num_bins": 1, **options})


def test_constant_features_stay_finite():
    """Digital silence has no variance."""
    encoder = tiny_encoder(normalization="meanvar")
    with torch.inference_mode():
        assert encoder(torch.full((1, 30, 8), -15.9)).isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": {"name": "resnetse34ll"}}, r"unknown model 'resnetse34ll' \(did you mean 'resnetse34l'\?\)"),
        ({"model": {}}, "unknown model ''"),
        ({"model": {"name": "lstm", "hiden_size": 3}}, r"of model 'lstm' \(did you mean 'hidden_size'\?\)"),
        ({"model": {"name": "lstm", "num_bins": 3}}, "unknown option 'num_bins'"),
        ({"normalization": "meanvr"}, r"unknown normalization 'meanvr' \(did you mean 'meanvar'\?\)"),
        ({"feature": {"type": "fbank"}}, "the front end gives 80 dimensions, the features have 8"),
        ({"feature": {"type": "plp"}}, "unknown feature type 'plp'"),
    ],
)
def test_wrong_configurations_are_refused(options, message):
    with pytest.raises(VouchError, match=message):
        make_encoder(**{"model": TINY["lstm"], "num_bins": 8, **options})


class Bomb:
    """Runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_file_that_holds_code_is_refused_and_not_run(tmp_path):
    state = {**tiny_encoder().state(), "extra": Bomb(tmp_path / "boom")}
    torch.save(state, tmp_path / "bomb.pt")
    (tmp_path / "bomb.pkl").write_bytes(pickle.dumps(state))
    for name in ("bomb.pt", "bomb.pkl"):
        with pytest.raises(VouchError, match=rf"{name}: not readable as a checkpoint") as caught:
            load_encoder(tmp_path / name)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize(
    "content", [b"", b"weights", b"\x80", b"\x80\x02", b"PK\x03\x04", b"\0" * 100, b"[1, 2]\n", b"."]
)
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    with pytest.raises(VouchError, match=r"x\.pt: not ") as caught:
        load_encoder(path)
    assert "\n" not in str(caught.value)


def test_truncated_and_damaged_files_are_refused_or_unharmed(tmp_path):
    """Cut anywhere, and with bytes changed anywhere: an error of one line, or the same weights."""
    encoder, path = tiny_encoder("lstm"), tmp_path / "x.pt"
    save_encoder(encoder, path)
    whole = path.read_bytes()
    rng = random.Random(0)
    for cut in [*range(0, 300, 7), *(rng.randrange(len(whole)) for _ in range(50)), len(whole) - 1]:
        path.write_bytes(whole[:cut])
        with pytest.raises(VouchError, match=r"x\.pt: "):
            load_encoder(path)
    for _ in range(150):
        damaged = bytearray(whole)
        position = rng.randrange(len(whole))
        damaged[position] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            load_encoder(path)
        except VouchError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    "content",
    [
        {"epoch": 3},
        {"encoder": 5},
        {"encoder": {"format": "other"}},
        {"format": "vouch-encoder-1"},
        {"format": "vouch-encoder-1", "config": {"model": {"name": "lstm"}}, "weights": {}},
        {"format": "vouch-encoder-1", "config": {"model": {"name": "lstm"}, "bins": 3}, "weights": {}},
        {"format": "vouch-encoder-1", "config": {"model": {"name": "gone"}, "num_bins": 3}, "weights": {}},
        {"format": "vouch-encoder-1", "config": {"model": {"name": "lstm"}, "num_bins": 3}, "weights": {}},
        {"format": "vouch-encoder-1", "config": {"model": {"name": "lstm"}, "num_bins": 3}, "weights": 4},
        [1, 2],
        torch.zeros(3),
    ],
)
def test_other_contents_are_refused_with_the_file(tmp_path, content):
    path = tmp_path / "x.pt"
    torch.save(content, path)
    with pytest.raises(VouchError, match=r"x\.pt: ") as caught:
        load_encoder(path)
    assert "\n" not in str(caught.value)


def test_weights_of_another_size_are_refused(tmp_path):
    state = tiny_encoder("lstm").state()
    state["config"] = {**state["config"], "num_bins": 9}
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(VouchError, match=r"x\.pt: the weights do not fit the network: size mismatch"):
        load_encoder(tmp_path / "x.pt")


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(VouchError, match=r"x\.pt: no such file; stage 3"):
        load_torch(tmp_path / "x.pt")
    with pytest.raises(VouchError, match="a folder; give the file in it"):
        load_torch(tmp_path)


def test_an_encoder_inside_a_training_checkpoint(tmp_path):
    encoder = tiny_encoder()
    torch.save({"format": "vouch-training-1", "encoder": encoder.state()}, tmp_path / "last.pt")
    x = features(1, 30, 8)
    with torch.inference_mode():
        assert torch.equal(load_encoder(tmp_path / "last.pt")(x), encoder(x))
