"""The first ResNetSE34 against reference vectors made by running voxceleb_trainer."""

import pytest
import torch
from slow_layers import assert_padding_changes_nothing
from voxceleb_trainer import FACTS, Case, check_keys, names

from vouch.base.errors import VouchError
from vouch.models.info import describe
from vouch.models.resnetse34 import ResNetSE34

SMALL = (8, 8, 16, 16)


@pytest.mark.parametrize("name", names("ResNetSE34"))
def test_evaluation_embeddings(name):
    case = Case(name, ResNetSE34)
    case.model.eval()
    features = case.features("wave_dense")
    with torch.no_grad():
        assert case.difference(case.model(features), "emb_eval") < 1e-5
        lengths = torch.full((len(features),), features.shape[1])
        assert case.difference(case.model(features, lengths), "emb_eval") < 1e-5
    check_keys("ResNetSE34_SAP_lin_n512", case.model)
    assert describe(case.model).parameters == case.facts["parameters"] == 1_437_078


def test_resolutions():
    case = Case("ResNetSE34_SAP_log_n512", ResNetSE34)
    shapes = FACTS["cases"][case.name]["shapes"]
    stages = {
        "conv1": case.model.conv1,
        "maxPool": case.model.maxpool,
        **{f"layer{n}": getattr(case.model, f"layer{n}")[-1] for n in range(1, 5)},
    }
    seen = {}
    for stage, module in stages.items():
        module.register_forward_hook(lambda module, inputs, output, stage=stage: seen.update({stage: output.shape}))
    with torch.no_grad():
        case.model.eval()(case.features("wave_dense"))
    assert {stage: list(shape) for stage, shape in seen.items()} == {stage: shapes[stage] for stage in stages}


def test_cost():
    assert describe(ResNetSE34(257)).macs == 976_629_184


@pytest.mark.parametrize("bins", [1, 13, 40])
def test_padded_batch(bins):
    torch.manual_seed(0)
    model = ResNetSE34(bins, embedding_dim=16, channels=SMALL)
    model(torch.randn(4, 30, bins))
    assert_padding_changes_nothing(model, [1, 2, 23, 24, 25, 31, 33])


def test_shortest_and_silent_input():
    model = ResNetSE34(13, embedding_dim=16, channels=SMALL).eval()
    assert model(torch.zeros(2, 1, 13)).isfinite().all()
    with pytest.raises(VouchError, match=r"0 frames.* at least 1"):
        model(torch.zeros(2, 0, 13))


def test_unusable_options():
    with pytest.raises(VouchError, match=r"unknown pooling 'spa'.*sap"):
        ResNetSE34(40, pooling="spa")
    with pytest.raises(VouchError, match="four multiples of 8"):
        ResNetSE34(40, channels=())
    with pytest.raises(VouchError, match="four multiples of 8"):
        ResNetSE34(40, channels=(16, 32, 64, 100))
