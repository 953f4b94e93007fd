"""Configurations of networks, losses, front ends and encoders: what files hold of them, and that they do not change."""

import copy
import dataclasses
import inspect
import pickle

import pytest
import torch
import yaml
from corpus import TINY, TINY_BINS

from vouch.base.errors import VouchError
from vouch.encoder import EncoderConfig
from vouch.features import FEATURES
from vouch.features.config import FrontEndConfig
from vouch.losses import LOSSES
from vouch.losses.config import LossConfig, LossPart
from vouch.models import MODELS
from vouch.models.config import NetworkConfig

LOSS_PAIR = LossConfig((LossPart("softmax"), LossPart("triplet", {}, 0.5)))
CONFIGS = {
    **{f"network {name}": NetworkConfig(name) for name in MODELS},
    **{f"loss {name}": LossConfig((LossPart(name),)) for name in LOSSES},
    "sum of losses": LOSS_PAIR,
    **{f"front end {name}": FrontEndConfig(name, {}, 1) for name in FEATURES},
    **{
        f"encoder {name}": EncoderConfig.from_dict({"model": TINY[name], "num_bins": TINY_BINS[name]})
        for name in MODELS
    },
}


@pytest.fixture(params=CONFIGS)
def config(request):
    return CONFIGS[request.param]


def test_files_hold_plain_values_and_give_the_same_back(config, tmp_path):
    plain = config.as_dict()
    torch.save(plain, tmp_path / "config.pt")
    for read in (
        yaml.safe_load(yaml.safe_dump(plain, sort_keys=False)),
        torch.load(tmp_path / "config.pt", weights_only=True),
    ):
        assert (read, list(read)) == (plain, list(plain))
        assert type(config).from_dict(read) == config
        assert type(config).from_dict(read).as_dict() == plain


def test_the_format_of_files():
    """It is older than these classes, and every model and every experiment on a disk has it."""
    assert LOSS_PAIR.as_dict() == {
        "name": "softmax+triplet",
        "softmax": {"weight": 1.0},
        "triplet": {"weight": 0.5, **LossConfig((LossPart("triplet"),)).parts[0].options},
    }
    front_end = FrontEndConfig("waveform", {"sample_rate": 8000})
    assert front_end.as_dict() == {"type": "waveform", "sample_rate": 8000, "channel": "mean"}
    network = {"name": "xvector", "embedding_dim": 8, "pooling": "stats", "channels": [8] * 5, "two_layers": False}
    encoder = EncoderConfig(NetworkConfig("xvector", {"embedding_dim": 8, "channels": [8] * 5}), 8, "mean")
    expected = {"model": network, "num_bins": 8, "normalization": "mean", "feature": None}
    assert (encoder.as_dict(), list(encoder.as_dict())) == (expected, list(expected))
    assert list(encoder.as_dict()["model"]) == list(network)


@pytest.mark.parametrize(("table", "make"), [(MODELS, NetworkConfig), (LOSSES, LossPart), (FEATURES, FrontEndConfig)])
def test_every_option_has_the_default_of_the_constructor(table, make):
    for name, built in table.items():
        parameters = inspect.signature(built).parameters
        given = ("num_bins", "embedding_dim", "num_speakers") if table is LOSSES else ("num_bins",)
        defaults = {option: value.default for option, value in parameters.items() if option not in given}
        assert dict(make(name).options) == defaults


def test_they_do_not_change(config):
    for field in dataclasses.fields(config):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(config, field.name, None)
    for again in (copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
        assert again == config
    channels = [8, 8, 8, 8, 16]
    network = NetworkConfig("xvector", {"channels": channels})
    channels[0] = 9
    network.as_dict()["channels"].append(3)
    assert network.options["channels"] == (8, 8, 8, 8, 16)
    with pytest.raises(TypeError):
        network.options["channels"] = ()


def test_another_key_of_an_encoder_is_refused_by_name():
    with pytest.raises(VouchError, match=r"unknown key 'normalisation' .*did you mean 'normalization'\?"):
        EncoderConfig.from_dict({"model": {"name": "lstm"}, "num_bins": 8, "normalisation": "none"})
