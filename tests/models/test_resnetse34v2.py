"""ResNetSE34V2 against reference vectors made by running voxceleb_trainer."""

import pytest
import torch
from slow_layers import assert_padding_changes_nothing
from voxceleb_trainer import Case, check_keys, names

from vouch.base.errors import VouchError
from vouch.models.info import describe
from vouch.models.resnetse34v2 import CHANNEL_POOLINGS, ResNetSE34V2

SMALL = (8, 8, 16, 16)


@pytest.mark.parametrize("name", names("ResNetSE34V2"))
def test_evaluation_embeddings(name):
    case = Case(name, ResNetSE34V2)
    case.model.eval()
    with torch.no_grad():
        if case.facts["log"]:
            assert case.difference(case.model(case.stored_features()), "emb_eval") < 1e-5
        assert case.difference(case.model(case.features("wave_odd")), "emb_eval_odd") < 1e-5
    assert describe(case.model).parameters == case.facts["parameters"]


@pytest.mark.parametrize("name", ["ResNetSE34V2_SAP_mel40_log_n512", "ResNetSE34V2_ASP_mel64_log_n512"])
def test_keys_and_training_step(name):
    case = Case(name, ResNetSE34V2)
    check_keys(name, case.model)
    # The recorded step of ASP was rounded: weights that differ by 3e-7 of themselves move its norms by 0.2 to 0.6 %.
    case.check_training_step(5e-3 if "ASP" in name else 1e-3)


def test_stages():
    case = Case("ResNetSE34V2_SAP_mel40_log_n512", ResNetSE34V2)
    model = case.model
    # The original's attention ends in the softmax.
    model.pooling.attention.append(torch.nn.Softmax(dim=2))
    layers = {f"layer{n}": getattr(model, f"layer{n}")[-1] for n in range(1, 5)}
    case.check_stages({"conv1": model.conv1, "bn1": model.bn1, **layers, "attention": model.pooling.attention})


def test_cost():
    assert describe(ResNetSE34V2(80)).parameters == 8_684_364
    assert describe(ResNetSE34V2(64)).macs == 3_636_556_544


@pytest.mark.parametrize("pooling", CHANNEL_POOLINGS)
def test_padded_batch(pooling):
    torch.manual_seed(0)
    model = ResNetSE34V2(16, embedding_dim=16, pooling=pooling, channels=SMALL)
    model(torch.randn(4, 30, 16))
    assert_padding_changes_nothing(model, [1, 2, 23, 24, 25, 31, 33])


@pytest.mark.parametrize("pooling", CHANNEL_POOLINGS)
@pytest.mark.parametrize("frames", [1, 9])
def test_a_silent_utterance_trains(pooling, frames):
    torch.manual_seed(0)
    model = ResNetSE34V2(8, embedding_dim=16, pooling=pooling, channels=SMALL)
    features = torch.randn(3, frames, 8)
    features[1] = 0
    embeddings = model(features)
    embeddings.sum().backward()
    assert embeddings.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_unusable_options():
    with pytest.raises(VouchError, match="multiple of 8 bins, not 60"):
        ResNetSE34V2(60)
    with pytest.raises(VouchError, match=r"0 frames.* at least 1"):
        ResNetSE34V2(16, channels=SMALL)(torch.zeros(2, 0, 16))
    with pytest.raises(VouchError, match=r"unknown pooling 'tap'.*sap"):
        ResNetSE34V2(40, pooling="tap")
    with pytest.raises(VouchError, match="four multiples of 8"):
        ResNetSE34V2(40, channels=())
