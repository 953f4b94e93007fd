"""Checkpoints of WeSpeaker: networks under its names come back as they were."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from corpus import make_encoder
from foreign import embed, imported, renamed_state

from vouch.base.errors import VouchError
from vouch.features.config import FrontEndConfig
from vouch.interop import import_checkpoint

ROOT = Path(__file__).parents[2]
FRONT_END = yaml.safe_load((ROOT / "conf/features/wespeaker80.yaml").read_text())
WAVE = (0.1 * np.random.default_rng(0).standard_normal((1, 8000))).astype(np.float32)
RESNET = {"name": "resnet34", "embedding_dim": 5, "channels": 4}
XVECTOR = {"name": "xvector", "embedding_dim": 5, "channels": [8, 7, 6, 5, 9], "pooling": "tstp", "two_layers": True}
CLASSIFIER = {"projection.weight": torch.zeros(7, 5)}


def ecapa_key(key):
    """SE gates have another name there."""
    return re.sub(r"\.3\.fc\.([02])\.", lambda m: f".3.linear{1 + int(m[1]) // 2}.", key)


def xvector_key(key):
    key = re.sub(r"^frame(\d)\.", r"frame_\1.", key).replace(".conv.", ".conv_1d.")
    for ours, theirs in [("segment6.", "seg_1."), ("segment6_bn.", "seg_bn_1."), ("segment7.", "seg_2.")]:
        key = key.replace(ours, theirs)
    return key.replace("pooling.", "pool.")


def same(key):
    return key


CASES = {
    "resnet18": (RESNET | {"depth": 18}, same),
    "resnet34": (RESNET | {"depth": 34}, same),
    "resnet34 with two layers": (RESNET | {"depth": 34, "two_layers": True}, same),
    "resnet50": (RESNET | {"depth": 50, "channels": 2}, same),
    "resnet221": (RESNET | {"depth": 221, "channels": 2, "embedding_dim": 3}, same),
    "attention": (RESNET | {"depth": 18, "channels": 2, "pooling": "local_astp"}, same),
    "attention with context": (RESNET | {"depth": 18, "channels": 2, "pooling": "astp"}, same),
    "ecapa_tdnn": ({"name": "ecapa_tdnn", "embedding_dim": 5, "channels": 16, "aggregation_channels": 12}, ecapa_key),
    "campplus": (
        {"name": "campplus", "embedding_dim": 5, "growth": 4, "channels": 8, "head_channels": 2},
        same,
    ),
    "xvector": (XVECTOR, xvector_key),
    "xvector with attention": (XVECTOR | {"pooling": "local_astp"}, xvector_key),
}


def source(name):
    torch.manual_seed(0)
    model, key = CASES[name]
    encoder = make_encoder(model, 80, "mean", FRONT_END).eval()
    return encoder, renamed_state(encoder.model, key)


@pytest.mark.parametrize("name", CASES)
def test_networks(name, tmp_path):
    encoder, state = source(name)
    torch.save(state | CLASSIFIER, tmp_path / "avg_model.pt")
    found, notes, dropped = import_checkpoint(tmp_path / "avg_model.pt", "wespeaker")
    assert found.config == encoder.config
    assert found.config.front_end == FrontEndConfig.from_dict(FRONT_END)
    assert dropped == {"weights of the classifier": 1}
    assert notes[0] == f"network {CASES[name][0]['name']}"
    np.testing.assert_array_equal(embed(found, WAVE), embed(encoder, WAVE))


def test_layouts(tmp_path):
    encoder, state = source("xvector")
    parallel = {f"module.{key}": value for key, value in state.items()}
    for content in ({"state_dict": state}, parallel, {"state_dict": parallel}):
        np.testing.assert_array_equal(embed(imported(tmp_path, content, "wespeaker"), WAVE), embed(encoder, WAVE))


def batch_norm(state, name, x):
    return (x - state[f"{name}.running_mean"]) / np.sqrt(state[f"{name}.running_var"] + 1e-5)


def test_the_embedding_of_an_x_vector_network_is_its_second_output(tmp_path):
    """WeSpeaker's module as it is written, on the keys of the file: its programs take the last of what it returns."""
    _, state = source("xvector")
    state |= {"seg_bn_1.running_mean": torch.randn(5), "seg_bn_1.running_var": torch.rand(5) + 0.5}
    found = imported(tmp_path, state, "wespeaker")
    features = np.random.default_rng(1).standard_normal((3, 60, 80)).astype(np.float32)
    arrays = {key: value.double().numpy() for key, value in state.items()}
    expected = []
    for x in (features - features.mean(axis=1, keepdims=True)).astype(np.float64):
        for layer, dilation in enumerate((1, 2, 3, 1, 1), start=1):
            weight = arrays[f"frame_{layer}.conv_1d.weight"]
            reach = (weight.shape[2] - 1) * dilation
            taps = [x[k * dilation : len(x) - reach + k * dilation] @ weight[:, :, k].T for k in range(weight.shape[2])]
            affine = np.sum(taps, axis=0) + arrays[f"frame_{layer}.conv_1d.bias"]
            x = batch_norm(arrays, f"frame_{layer}.bn", np.maximum(affine, 0))
        statistics = np.concatenate([x.mean(axis=0), np.sqrt(x.var(axis=0, ddof=1) + 1e-7)])
        first = arrays["seg_1.weight"] @ statistics + arrays["seg_1.bias"]
        second = batch_norm(arrays, "seg_bn_1", np.maximum(first, 0))
        expected.append(arrays["seg_2.weight"] @ second + arrays["seg_2.bias"])
    with torch.inference_mode():
        embeddings = found(torch.from_numpy(features).contiguous()).numpy()
    np.testing.assert_allclose(embeddings, expected, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet34", "campplus", "xvector"])
@pytest.mark.parametrize(("network", "classifier"), [("model.", ""), ("resnet.", "resnet."), ("model.encoder.", "")])
def test_networks_inside_a_lightning_module(name, network, classifier, tmp_path):
    encoder, state = source(name)
    content = {f"{network}{key}": value for key, value in state.items()}
    content |= {f"{classifier}{key}": value for key, value in CLASSIFIER.items()}
    checkpoint = {"epoch": 3, "pytorch-lightning_version": "2.0", "state_dict": content}
    np.testing.assert_array_equal(embed(imported(tmp_path, checkpoint, "wespeaker"), WAVE), embed(encoder, WAVE))


def test_bins(tmp_path):
    torch.manual_seed(0)
    for model in (RESNET | {"depth": 18}, CASES["campplus"][0]):
        state = renamed_state(make_encoder(model, 40).model, same)
        assert imported(tmp_path, state, "wespeaker", num_bins=40).config.num_bins == 40
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
    _, attentive = source("attention")
    heads = {f"pool.heads_att_trans.0.{key}": torch.zeros(1) for key in ("weight", "bias")}
    with pytest.raises(VouchError, match=r"several heads of attention \(MHASTP\)"):
        imported(tmp_path, {k: v for k, v in attentive.items() if not k.startswith("pool.")} | heads, "wespeaker")
    means = resnet | {"seg_1.weight": resnet["seg_1.weight"][:, ::2].contiguous()}
    with pytest.raises(VouchError, match=r"takes 320 values; .*: .*means or deviations alone \(TAP, TSDP"):
        imported(tmp_path, means, "wespeaker")
    for key, network in [
        ("fuse_mode12.local_att.0.weight", "ERes2Net"),
        ("layer1_downsample.weight", "ERes2Net"),
        ("fuse34.local_att.0.weight", "ERes2NetV2"),
        ("layer1.0.convs.0.weight", "Res2Net"),
        ("front.layer1.0.conv1.weight", "SimAM-ResNet"),
        ("backbone.stage0.0.weight", "ReDimNet"),
    ]:
        for prefix, family in [("", "wespeaker"), ("", "3dspeaker"), ("module.", "wespeaker")]:
            content = {f"{prefix}{name}": value for name, value in (resnet | {key: torch.zeros(1)}).items()}
            with pytest.raises(VouchError, match=f"an {network}, as its key '{key}' tells: Vouch has no such network"):
                imported(tmp_path, content, family)
    with pytest.raises(VouchError, match="no network of WeSpeaker known here"):
        imported(tmp_path, {"stem.0.weight": torch.zeros(1)}, "wespeaker")
