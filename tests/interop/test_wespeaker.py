"""Checkpoints of WeSpeaker: networks under its names come back as they were."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from foreign import embed, imported, renamed_state

from vouch.encoder import Encoder
from vouch.errors import VouchError
from vouch.features import resolve_feature
from vouch.interop import import_checkpoint

ROOT = Path(__file__).parents[2]
FRONT_END = yaml.safe_load((ROOT / "conf/features/wespeaker80.yaml").read_text())
WAVE = (0.1 * np.random.default_rng(0).standard_normal((1, 8000))).astype(np.float32)
RESNET = {"name": "resnet34", "embedding_dim": 5, "channels": 4}
CLASSIFIER = {"projection.weight": torch.zeros(7, 5)}


def ecapa_key(key):
    """SE gates have another name there."""
    return re.sub(r"\.3\.fc\.([02])\.", lambda m: f".3.linear{1 + int(m[1]) // 2}.", key)


def xvector_key(key):
    key = re.sub(r"^frame(\d)\.", r"frame_\1.", key).replace(".conv.", ".conv_1d.")
    return key.replace("segment6.", "seg_1.")


def same(key):
    return key


CASES = {
    "resnet18": (RESNET | {"depth": 18}, same),
    "resnet34": (RESNET | {"depth": 34}, same),
    "resnet34 with two layers": (RESNET | {"depth": 34, "two_layers": True}, same),
    "resnet50": (RESNET | {"depth": 50, "channels": 2}, same),
    "resnet221": (RESNET | {"depth": 221, "channels": 2, "embedding_dim": 3}, same),
    "attention": (RESNET | {"depth": 18, "channels": 2, "pooling": "astp"}, same),
    "ecapa_tdnn": ({"name": "ecapa_tdnn", "embedding_dim": 5, "channels": 16, "aggregation_channels": 12}, ecapa_key),
    "campplus": (
        {"name": "campplus", "embedding_dim": 5, "growth": 4, "channels": 8, "head_channels": 2},
        same,
    ),
    "xvector": (
        {"name": "xvector", "embedding_dim": 5, "channels": [8, 7, 6, 5, 9], "pooling": "tstp"},
        xvector_key,
    ),
}


def source(name):
    torch.manual_seed(0)
    model, key = CASES[name]
    encoder = Encoder(model, 80, "mean", FRONT_END).eval()
    return encoder, renamed_state(encoder.model, key)


@pytest.mark.parametrize("name", CASES)
def test_networks(name, tmp_path):
    encoder, state = source(name)
    torch.save(state | CLASSIFIER, tmp_path / "avg_model.pt")
    found, notes, dropped = import_checkpoint(tmp_path / "avg_model.pt", "wespeaker")
    assert found.config == encoder.config
    assert found.config["feature"] == resolve_feature(FRONT_END)
    assert dropped == {"weights of the classifier": 1}
    assert notes[0] == f"network {CASES[name][0]['name']}"
    np.testing.assert_array_equal(embed(found, WAVE), embed(encoder, WAVE))


def test_layouts(tmp_path):
    encoder, state = source("xvector")
    parallel = {f"module.{key}": value for key, value in state.items()}
    for content in ({"state_dict": state}, parallel, {"state_dict": parallel}):
        np.testing.assert_array_equal(embed(imported(tmp_path, content, "wespeaker"), WAVE), embed(encoder, WAVE))


def test_the_second_layer_of_an_x_vector_network_is_left_out(tmp_path):
    _, state = source("xvector")
    second = {"seg_bn_1.running_mean": torch.zeros(5), "seg_2.weight": torch.zeros(5, 5), "seg_2.bias": torch.zeros(5)}
    torch.save(state | second, tmp_path / "avg_model.pt")
    assert import_checkpoint(tmp_path / "avg_model.pt", "wespeaker").dropped == {"weights of segment7": 3}


def test_bins(tmp_path):
    torch.manual_seed(0)
    for model in (RESNET | {"depth": 18}, CASES["campplus"][0]):
        state = renamed_state(Encoder(model, 40).model, same)
        assert imported(tmp_path, state, "wespeaker", num_bins=40).config["num_bins"] == 40
        with pytest.raises(VouchError, match="80 bins"):
            imported(tmp_path, state, "wespeaker")
    _, state = source("xvector")
    with pytest.raises(VouchError, match="the network takes 80 bins, not 40"):
        imported(tmp_path, state, "wespeaker", num_bins=40)


def test_networks_that_are_not_known(tmp_path):
    _, ecapa = source("ecapa_tdnn")
    with pytest.raises(VouchError, match="no GLOB in its name"):
        imported(tmp_path, ecapa | {"pool.linear1.weight": torch.zeros(128, 12, 1)}, "wespeaker")
    with pytest.raises(VouchError, match=r"left over: 'bn2.weight'"):
        imported(tmp_path, ecapa | {"bn2.weight": torch.zeros(5)}, "wespeaker")
    _, resnet = source("resnet18")
    shorter = {key: value for key, value in resnet.items() if not key.startswith("layer3.1.")}
    with pytest.raises(VouchError, match=r"stages of \(2, 2, 1, 2\) basic blocks; depths known here are 18, 34"):
        imported(tmp_path, shorter, "wespeaker")
    with pytest.raises(VouchError, match=r"missing: 'layer3.0.shortcut.0.weight'"):
        imported(tmp_path, {k: v for k, v in resnet.items() if k != "layer3.0.shortcut.0.weight"}, "wespeaker")
    with pytest.raises(VouchError, match="no network of WeSpeaker known here"):
        imported(tmp_path, {"stem.0.weight": torch.zeros(1)}, "wespeaker")
