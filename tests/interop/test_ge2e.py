"""Checkpoints of the GE2E code bases and of Resemblyzer."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from fill import fill
from foreign import embed, imported

from vouch.base.errors import VouchError
from vouch.features.compute import compute
from vouch.features.config import FrontEndConfig
from vouch.interop import import_checkpoint
from vouch.interop.resemblyzer import vouch_key
from vouch.models.lstm import GE2ELSTM

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/golden"
FEATURES = np.load(GOLDEN / "ge2e_features.npz")
ARRAYS = np.load(GOLDEN / "ge2e_lstm.npz")
SALT = json.loads((GOLDEN / "ge2e_lstm.json").read_text())["fill_rule_salt"]
SMALL = "small_40_64x2_32"
# Of Resemblyzer, and what the GE2E code bases call the same.
NAMES = {"lstm": "LSTM_stack", "linear": "projection"}


def shapes(bins=40, hidden=64, layers=2, dim=32):
    found = {}
    for layer in range(layers):
        found[f"LSTM_stack.weight_ih_l{layer}"] = (4 * hidden, hidden if layer else bins)
        found[f"LSTM_stack.weight_hh_l{layer}"] = (4 * hidden, hidden)
        found |= {f"LSTM_stack.bias_{kind}_l{layer}": (4 * hidden,) for kind in ("ih", "hh")}
    return found | {"projection.weight": (dim, hidden), "projection.bias": (dim,)}


def state(**sizes):
    return {key: fill(SALT, key, shape) for key, shape in shapes(**sizes).items()}


def resemblyzer_state(**sizes):
    turned = {new: old for old, new in NAMES.items()}
    return {f"{turned[key.split('.')[0]]}.{key.split('.')[1]}": value for key, value in state(**sizes).items()}


def front_end(name):
    return FrontEndConfig.from_dict(yaml.safe_load((ROOT / f"conf/features/{name}.yaml").read_text()))


@pytest.mark.parametrize(("padding", "reference"), [("reflect", "logmel_reflect"), ("zeros", "logmel_constant")])
def test_features_and_embeddings_are_the_originals(padding, reference, tmp_path):
    encoder = imported(tmp_path, state(), "ge2e", "best_epoch_3.model", padding=padding)
    features = compute(encoder.feature, FEATURES["wave"])
    np.testing.assert_allclose(features[FEATURES["frames"]].T, FEATURES[reference], rtol=0, atol=2e-5)
    with torch.inference_mode():
        embeddings = encoder(torch.from_numpy(ARRAYS[f"{SMALL}/x"]))
    np.testing.assert_allclose(embeddings, ARRAYS[f"{SMALL}/emb"], rtol=0, atol=1e-5)


def test_the_default_front_end(tmp_path):
    encoder = imported(tmp_path, state(hidden=8, layers=1, dim=4), "ge2e")
    assert encoder.config.front_end == front_end("ge2e40")
    assert encoder.config.normalization == "none"


def test_other_features(tmp_path):
    torch.save(state(bins=6, hidden=8, layers=1, dim=4), tmp_path / "pase.model")
    encoder, notes, _ = import_checkpoint(tmp_path / "pase.model", "ge2e")
    assert encoder.config.front_end is None
    assert "6 dimensions, not audio" in notes[0]
    configuration = tmp_path / "mine.yaml"
    configuration.write_text("type: logmel\nnum_mel_bins: 6\n")
    encoder = import_checkpoint(tmp_path / "pase.model", "ge2e", {"feature": str(configuration)}).encoder
    assert encoder.config.front_end.options["num_mel_bins"] == 6
    for options, message in [
        ({"feature": str(ROOT / "conf/features/ge2e40.yaml")}, "front end gives 40 dimensions, the features have 6"),
        ({"padding": "zeros"}, "has 40 dimensions"),
        ({"feature": str(tmp_path / "none.yaml")}, "none.yaml: No such file"),
    ]:
        with pytest.raises(VouchError, match=message):
            import_checkpoint(tmp_path / "pase.model", "ge2e", options)


def test_resemblyzer_clips_embeddings(tmp_path):
    extra = {"similarity_weight": torch.tensor([10.0]), "similarity_bias": torch.tensor([-5.0])}
    content = {"step": 1564501, "model_state": resemblyzer_state() | extra, "optimizer_state": {"state": {}}}
    torch.save(content, tmp_path / "encoder.pt")
    encoder, _, dropped = import_checkpoint(tmp_path / "encoder.pt", "resemblyzer")
    assert dropped == {"weights of the loss": 2}
    with torch.inference_mode():
        embeddings = encoder(torch.from_numpy(ARRAYS[f"{SMALL}/x"]))
    clipped = np.maximum(ARRAYS[f"{SMALL}/proj64"], 0)
    np.testing.assert_allclose(embeddings, clipped / np.linalg.norm(clipped, axis=1, keepdims=True), rtol=0, atol=1e-5)
    assert encoder.config.front_end == front_end("resemblyzer40")
    assert embed(encoder, FEATURES["wave"][None, :8000]).shape == (1, 32)


@pytest.mark.parametrize(("family", "make"), [("ge2e", state), ("resemblyzer", resemblyzer_state)])
def test_keys_that_do_not_fit(family, make, tmp_path):
    sizes = {"hidden": 8, "dim": 4}
    full = make(**sizes)
    last = list(full)[-1]
    with pytest.raises(VouchError, match=r"missing: 'projection.bias'"):
        imported(tmp_path, {key: value for key, value in full.items() if key != last}, family)
    with pytest.raises(VouchError, match=r"left over: 'extra.weight'"):
        imported(tmp_path, full | {"extra.weight": torch.zeros(1)}, family)
    with pytest.raises(VouchError, match=r"weight_hh_l1' is torch.float32 of shape \(3, 3\)"):
        key = next(key for key in full if key.endswith("weight_hh_l1"))
        imported(tmp_path, full | {key: torch.zeros(3, 3)}, family)


def test_keys_of_resemblyzer():
    state = GE2ELSTM(40, hidden_size=256, relu=True).state_dict()
    keys = [
        f"lstm.{kind}_{part}_l{layer}" for kind in ("weight", "bias") for part in ("ih", "hh") for layer in range(3)
    ]
    assert {vouch_key(key) for key in [*keys, "linear.weight", "linear.bias"]} == state.keys()
    assert vouch_key("similarity_weight") is None and vouch_key("similarity_bias") is None
