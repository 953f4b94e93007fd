"""SpeechBrain's ECAPA-TDNN: its keys, each in its place. There are no reference embeddings."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from foreign import embed, imported

from vouch.base.errors import VouchError
from vouch.features.config import FrontEndConfig
from vouch.interop.speechbrain import vouch_weight
from vouch.models.ecapa_tdnn import EcapaTDNN

ROOT = Path(__file__).parents[2]
BINS, CHANNELS, AGGREGATED, DIM = 80, 16, 24, 5
WAVE = (0.1 * np.random.default_rng(0).standard_normal((1, 4000))).astype(np.float32)


def layers():
    """Convolutions by name with (out, in, kernel), and batch normalisations with their size."""
    convs = {
        "blocks.0.conv": (CHANNELS, BINS, 5),
        "mfa.conv": (AGGREGATED, 3 * CHANNELS, 1),
        "asp.tdnn.conv": (128, 3 * AGGREGATED, 1),
        "asp.conv": (AGGREGATED, 128, 1),
        "fc": (DIM, 2 * AGGREGATED, 1),
    }
    norms = {"blocks.0.norm": CHANNELS, "mfa.norm": AGGREGATED, "asp.tdnn.norm": 128, "asp_bn": 2 * AGGREGATED}
    for block in (1, 2, 3):
        for layer in ("tdnn1", "tdnn2"):
            convs[f"blocks.{block}.{layer}.conv"] = (CHANNELS, CHANNELS, 1)
            norms[f"blocks.{block}.{layer}.norm"] = CHANNELS
        for group in range(7):
            convs[f"blocks.{block}.res2net_block.blocks.{group}.conv"] = (CHANNELS // 8, CHANNELS // 8, 3)
            norms[f"blocks.{block}.res2net_block.blocks.{group}.norm"] = CHANNELS // 8
        convs[f"blocks.{block}.se_block.conv1"] = (128, CHANNELS, 1)
        convs[f"blocks.{block}.se_block.conv2"] = (CHANNELS, 128, 1)
    return convs, norms


def state():
    torch.manual_seed(0)
    convs, norms = layers()
    found = {}
    for name, shape in convs.items():
        found[f"{name}.conv.weight"] = torch.randn(shape) / (shape[1] * shape[2]) ** 0.5
        found[f"{name}.conv.bias"] = 0.1 * torch.randn(shape[0])
    for name, size in norms.items():
        found |= {f"{name}.norm.weight": 1 + 0.1 * torch.randn(size), f"{name}.norm.bias": 0.1 * torch.randn(size)}
        found |= {f"{name}.norm.running_mean": torch.randn(size), f"{name}.norm.running_var": 0.5 + torch.rand(size)}
        found[f"{name}.norm.num_batches_tracked"] = torch.tensor(3)
    return found


def test_network_and_front_end(tmp_path):
    encoder = imported(tmp_path, state(), "speechbrain", "embedding_model.ckpt")
    model = EcapaTDNN(BINS, DIM, CHANNELS, "speechbrain", AGGREGATED)
    model.load_state_dict(dict(vouch_weight(key, value) for key, value in state().items()))
    features = encoder.feature(torch.from_numpy(WAVE))
    with torch.inference_mode():
        expected = model.eval()(features - features.mean(dim=1, keepdim=True))
    np.testing.assert_allclose(embed(encoder, WAVE), expected, rtol=0, atol=1e-5)
    front_end = yaml.safe_load((ROOT / "conf/features/speechbrain80.yaml").read_text())
    assert encoder.config.front_end == FrontEndConfig.from_dict(front_end)
    assert encoder.config.normalization == "mean"


def test_keys_that_do_not_fit(tmp_path):
    weights = state()
    with pytest.raises(VouchError, match=r"has a key 'mfa.conv.conv.weight'"):
        imported(tmp_path, {"emb.weight": torch.zeros(1)}, "speechbrain")
    with pytest.raises(VouchError, match=r"'blocks.2.tdnn2.conv.conv.weight' is torch.float32 of shape \(3, 3, 1\)"):
        imported(tmp_path, weights | {"blocks.2.tdnn2.conv.conv.weight": torch.zeros(3, 3, 1)}, "speechbrain")
    with pytest.raises(VouchError, match=r"left over: 'blocks.4.tdnn1.conv.conv.bias'"):
        imported(tmp_path, weights | {"blocks.4.tdnn1.conv.conv.bias": torch.zeros(3)}, "speechbrain")
    del weights["fc.conv.bias"]
    with pytest.raises(VouchError, match=r"missing: 'linear.bias'"):
        imported(tmp_path, weights, "speechbrain")
