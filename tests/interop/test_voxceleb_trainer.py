"""Checkpoints of voxceleb_trainer: the same audio gives what the original gives, in every layout of the file."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from foreign import constant, embed, filled, imported, renamed_state

from vouch.base.errors import VouchError
from vouch.features.config import FrontEndConfig
from vouch.interop import import_checkpoint
from vouch.models.resnetse34l import ResNetSE34L

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/golden"
KEYS = json.loads((GOLDEN / "voxceleb_trainer_networks.json").read_text())["state_keys"]
SALT = json.loads((GOLDEN / "resnetse34l.json").read_text())["salt"]
LIGHT = json.loads((GOLDEN / "resnetse34l.json").read_text())["state_keys"]
RAWNET3 = json.loads((GOLDEN / "rawnet3.json").read_text())
ARRAYS = np.load(GOLDEN / "voxceleb_trainer_networks.npz")
# Embeddings of `wave_odd` by ResNetSE34L.
LIGHT_ARRAYS = np.load(GOLDEN / "import_voxceleb_trainer.npz")

ASP64 = {**LIGHT, "torchfb.mel_scale.fb": [257, 64], "fc.weight": [512, 256]}
HALF = "ResNetSE34Half_ASP_log_n512"
SPECTROGRAM = KEYS["ResNetSE34_SAP_lin_n512"]
# Keys and shapes, window, options and configuration of the front end of each case.
CASES = {
    "ResNetSE34L_SAP_mel40_log_n512": (LIGHT, "hamming", {}, "voxceleb_trainer40"),
    "ResNetSE34L_ASP_mel64_log_n512": (ASP64, "hamming", {}, None),
    "ResNetSE34L_SAP_mel40_lin_n512": (LIGHT, "hamming", {"log_input": False}, None),
    "ResNetSE34V2_ASP_mel64_log_n512": (None, "hamming", {}, "voxceleb_trainer64"),
    "ResNetSE34V2_SAP_mel40_log_n512": (None, "hamming", {"model": "ResNetSE34V2"}, None),
    "VGGVox_SAP_log_n512": (None, "hann", {}, "vggvox40"),
    "VGGVox_MAX_log_n512": (None, "hann", {"pooling": "max"}, None),
    "VGGVox_TAP_log_n512": (KEYS["VGGVox_MAX_log_n512"], "hann", {"pooling": "tap"}, None),
    "ResNetSE34_SAP_lin_n512": (None, "hann", {"input_scale": 1.0}, "resnetse34_257"),
    "ResNetSE34_SAP_log_n512": (SPECTROGRAM, "hann", {"input_scale": 1.0, "log_input": True}, None),
    HALF: (None, "hamming", {"input_scale": 1.0}, None),
}


def tiny_state(window="hamming"):
    """A narrow ResNetSE34L in the original's keys, without prefixes."""
    torch.manual_seed(0)
    model = ResNetSE34L(40, embedding_dim=6, channels=(8, 8, 8, 8))
    state = renamed_state(model, lambda key: key.removeprefix("pooling."))
    shapes = {"torchfb.spectrogram.window": [400], "torchfb.mel_scale.fb": [257, 40]}
    return state | {key: constant(key, shape, window) for key, shape in shapes.items()}


def prefixed(state, prefix="__S__."):
    return {prefix + key: value for key, value in state.items()}


WAVE = (0.1 * np.random.default_rng(0).standard_normal((1, 4000))).astype(np.float32)
LOSS = {"__L__.softmax.fc.weight": torch.zeros(9, 6), "__L__.angleproto.w": torch.tensor(10.0)}


@pytest.mark.parametrize("name", CASES)
def test_the_same_waveform_gives_the_same_embedding(name, tmp_path):
    shapes, window, options, configuration = CASES[name]
    state = filled(SALT, KEYS[name] if shapes is None else shapes, window)
    encoder = imported(tmp_path, prefixed(state), "voxceleb_trainer", **options)
    # The historic networks were run on other waveforms.
    historic = name.startswith(("ResNetSE34_", "ResNetSE34Half"))
    waves = ARRAYS["wave_dense"][:1] if historic else ARRAYS["wave_odd"]
    arrays = LIGHT_ARRAYS if name.startswith("ResNetSE34L") else ARRAYS
    expected = arrays[f"{name}/emb_eval" if historic else f"{name}/emb_eval_odd"][:1]
    np.testing.assert_allclose(embed(encoder, waves), expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    assert encoder.config.normalization == "meanvar"
    if configuration:
        front_end = yaml.safe_load((ROOT / f"conf/features/{configuration}.yaml").read_text())
        ours = encoder.config.front_end
        # Without a logarithm nothing is added before it.
        assert ours == FrontEndConfig.from_dict({"log_offset": ours.options["log_offset"], **front_end})


def test_rawnet3(tmp_path):
    """In the layout that it was published in; the unused layers are counted."""
    name = "RawNet3_ECA_n256"
    state = filled(RAWNET3["salt"], RAWNET3["models"][name]["state_keys"])
    torch.save({"model": state}, tmp_path / "model.pt")
    encoder, _, dropped = import_checkpoint(tmp_path / "model.pt", "voxceleb_trainer")
    expected = np.load(GOLDEN / "rawnet3.npz")[f"{name}/emb_eval"][:1]
    found = embed(encoder, ARRAYS["wave_dense"][:1])
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-3 * np.abs(expected).max())
    assert dropped == {"layers that RawNet3 never uses": 10}

    # Only the keys and shapes count from here on.
    state = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    state["attention.3.weight"], state["attention.3.bias"] = torch.zeros(1, 128, 1), torch.zeros(1)
    asp = imported(tmp_path, {"model": state}, "voxceleb_trainer", sinc_stride=16)
    assert (asp.config.network.options["pooling"], asp.config.network.options["sinc_stride"]) == ("asp", 16)
    with pytest.raises(VouchError, match="RawNet3 has no input-scale"):
        imported(tmp_path, {"model": state}, "voxceleb_trainer", input_scale=1.0)
    damaged = state | {"conv1.filterbank.window_": torch.ones(125)}
    with pytest.raises(VouchError, match="the window of the sinc filters is not what RawNet3 has"):
        imported(tmp_path, {"model": damaged}, "voxceleb_trainer")
    damaged = state | {"preprocess.0.flipped_filter": torch.tensor([[[-0.9, 1.0]]])}
    with pytest.raises(VouchError, match=r"RawNet3 has the pre-emphasis 0.97, not 0.9$"):
        imported(tmp_path, {"model": damaged}, "voxceleb_trainer")


LAYOUTS = {
    "old": lambda state: prefixed(state) | LOSS,
    "bare": lambda state: state,
    "bare under model": lambda state: {"model": state},
    "new": lambda state: {"model_state_dict": prefixed(state) | LOSS, "optimizer_state_dict": {}, "epoch": 3},
    "parallel": lambda state: {f"module.{key}": value for key, value in (prefixed(state) | LOSS).items()},
    "parallel inside": lambda state: prefixed(state, "__S__.module."),
    "before counters": lambda state: prefixed({k: v for k, v in state.items() if "num_batches" not in k}),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout, tmp_path):
    state = tiny_state()
    content = LAYOUTS[layout](state)
    torch.save(content, tmp_path / "x.model")
    encoder, notes, dropped = import_checkpoint(tmp_path / "x.model", "voxceleb_trainer")
    assert dropped == ({"weights of the loss": 2} if layout in ("old", "new", "parallel") else {})
    assert notes[0] == "network ResNetSE34L"
    ours = encoder.model.state_dict()
    assert all(torch.equal(ours[k.replace("sap_", "pooling.sap_")], v) for k, v in state.items() if "bn1.weight" in k)
    assert torch.equal(ours["pooling.attention"], state["attention"])
    np.testing.assert_array_equal(embed(encoder, WAVE), embed(imported(tmp_path, state, "voxceleb_trainer"), WAVE))


@pytest.mark.parametrize(
    ("window", "name", "options", "scale", "note"),
    [
        ("hamming", "mine.model", {}, 1.0, "the file does not tell"),
        ("hamming", "baseline_v2_ap.model", {}, 32768.0, "16-bit integers"),
        ("hann", "mine.model", {}, 32768.0, "16-bit integers"),
        ("hann", "mine.model", {"input_scale": 1.0}, 1.0, "as asked"),
        ("hamming", "mine.model", {"input_scale": 32768.0}, 32768.0, "as asked"),
    ],
)
def test_input_amplitude(window, name, options, scale, note, tmp_path):
    torch.save(prefixed(tiny_state(window)), tmp_path / name)
    encoder, notes, _ = import_checkpoint(tmp_path / name, "voxceleb_trainer", options)
    assert encoder.config.front_end.options["input_scale"] == scale
    assert encoder.config.front_end.options["window_type"] == window
    assert note in notes[1]


def test_the_half_network_is_of_2020(tmp_path):
    encoder = imported(tmp_path, filled(SALT, KEYS[HALF]), "voxceleb_trainer")
    assert encoder.config.front_end.options["input_scale"] == 32768.0


def broken(changes):
    state = prefixed(tiny_state())
    for key, value in changes.items():
        if value is None:
            del state[key]
        else:
            state[key] = value
    return state


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"__S__.fc.bias": None}, "missing: 'fc.bias'"),
        ({"__S__.fc.weight": None}, "'fc.weight' is missing"),
        ({"__S__.layer9.weight": torch.zeros(2)}, "left over: 'layer9.weight'"),
        ({"stray": torch.zeros(2)}, "left over: 'stray'"),
        ({"__S__.fc.bias": torch.zeros(7)}, r"'fc.bias' is torch.float32 of shape \(7,\); for 'fc.bias' the network"),
        ({"__S__.bn1.weight": torch.zeros(8, dtype=torch.int64)}, "'bn1.weight' is torch.int64 of shape"),
        ({"__S__.fc.weight": torch.zeros(6, 9)}, r"takes 9 values; pooling gives 8 \(SAP\) or 16 \(ASP\)"),
        ({"__S__.fc.weight": torch.zeros(6)}, "should have 2 axes"),
        ({"__S__.torchfb.spectrogram.window": torch.ones(400)}, "the window of 400 samples is no periodic"),
        ({"__S__.torchfb.mel_scale.fb": torch.ones(257, 40)}, "the mel matrix of 40 bands is none of"),
        ({"__S__.torchfb.mel_scale.fb": torch.ones(3)}, "no window and mel matrix"),
        ({"fc.bias": torch.zeros(6)}, "'fc.bias' is there twice, once as '__S__.fc.bias'"),
        ({"__S__.layer1.0.conv1.weight": None}, "no network of voxceleb_trainer"),
    ],
)
def test_keys_that_do_not_fit(changes, message, tmp_path):
    with pytest.raises(VouchError, match=f"foreign.pt: .*{message}"):
        imported(tmp_path, broken(changes), "voxceleb_trainer")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "ResNetSE34"}, "left over: 'torchfb.spectrogram.window', 'torchfb.mel_scale.fb'"),
        ({"model": "RawNet3"}, "'conv1.filterbank.window_' is missing"),
        ({"model": "ResNetSE34I"}, r"did you mean 'ResNetSE34'\?|did you mean 'ResNetSE34L'\?"),
        ({"pooling": "tap"}, "ResNetSE34L has no pooling"),
        ({"sinc_stride": 5}, "ResNetSE34L has no sinc-stride"),
        ({"input_scale": 0.0}, "input_scale must be positive"),
        ({"input": 1}, r"unknown option 'input' of voxceleb_trainer checkpoints \(did you mean"),
        ({"padding": "zeros"}, "unknown option 'padding' of voxceleb_trainer checkpoints"),
    ],
)
def test_options_that_do_not_fit(options, message, tmp_path):
    with pytest.raises(VouchError, match=message):
        imported(tmp_path, prefixed(tiny_state()), "voxceleb_trainer", **options)


def test_vggvox_without_attention_needs_its_pooling(tmp_path):
    state = filled(SALT, KEYS["VGGVox_MAX_log_n512"], "hann")
    with pytest.raises(VouchError, match="give tap or max"):
        imported(tmp_path, state, "voxceleb_trainer")
    with pytest.raises(VouchError, match="VGGVox with attention has no pooling"):
        imported(tmp_path, state | {"sap_linear.weight": torch.zeros(2, 2)}, "voxceleb_trainer", pooling="max")
