"""CAM++ of 3D-Speaker: WeSpeaker's keys, but another front end and another deviation."""

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

FRONT_END = yaml.safe_load((Path(__file__).parents[2] / "conf/features/3dspeaker80.yaml").read_text())
MODEL = {"name": "campplus", "embedding_dim": 6, "growth": 4, "channels": 8, "head_channels": 2}
RNG = np.random.default_rng(0)
# Speech-like: loud and nearly silent stretches, whose quiet bands rest on the floor under the logarithm.
WAVES = (RNG.standard_normal((2, 16000)) * np.repeat([0.2, 1e-4, 0.05, 1e-6], 4000)).astype(np.float32)


def source():
    torch.manual_seed(0)
    encoder = make_encoder(MODEL | {"pooling": "stats"}, 80, "mean", FRONT_END).eval()
    return encoder, renamed_state(encoder.model, lambda key: key)


def test_front_end_and_statistics_are_its_own(tmp_path):
    encoder, state = source()
    torch.save(state, tmp_path / "campplus.bin")
    found, notes, dropped = import_checkpoint(tmp_path / "campplus.bin", "3dspeaker")
    assert found.config == encoder.config
    assert found.config.front_end == FrontEndConfig.from_dict(FRONT_END)
    assert found.config.network.options["pooling"] == "stats"
    assert not dropped
    assert "needs --from wespeaker" in notes[1]
    np.testing.assert_array_equal(embed(found, WAVES), embed(encoder, WAVES))
    other, notes, _ = import_checkpoint(tmp_path / "campplus.bin", "wespeaker")
    assert "needs --from 3dspeaker" in notes[1]
    ours, theirs = embed(found, WAVES), embed(other, WAVES)
    cosines = (ours * theirs).sum(axis=1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    assert cosines.max() < 0.999


def test_bins_and_prefixes(tmp_path):
    torch.manual_seed(0)
    narrow = renamed_state(make_encoder(MODEL | {"pooling": "stats"}, 40).model, lambda key: key)
    assert imported(tmp_path, narrow, "3dspeaker", num_bins=40).config.num_bins == 40
    with pytest.raises(VouchError, match="80 bins"):
        imported(tmp_path, narrow, "3dspeaker")
    encoder, state = source()
    held = {f"embedding_model.{key}": value for key, value in state.items()}
    np.testing.assert_array_equal(embed(imported(tmp_path, held, "3dspeaker"), WAVES), embed(encoder, WAVES))


def test_other_networks_are_refused_by_name(tmp_path):
    torch.manual_seed(0)
    resnet = renamed_state(make_encoder({"name": "resnet34", "channels": 2, "depth": 18}, 80).model, lambda key: key)
    with pytest.raises(VouchError, match=r"only its CAM.. is known here, which has a key 'xvector.tdnn.linear.weight'"):
        imported(tmp_path, resnet, "3dspeaker")
    with pytest.raises(VouchError, match=r"an ERes2NetV2, as its key 'fuse34.local_att.0.weight' tells"):
        imported(tmp_path, resnet | {"fuse34.local_att.0.weight": torch.zeros(1)}, "3dspeaker")
