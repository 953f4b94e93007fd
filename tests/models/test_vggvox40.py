"""VGGVox40 against reference vectors made by running voxceleb_trainer."""

import pytest
import torch
from slow_layers import assert_padding_changes_nothing
from voxceleb_trainer import Case, check_keys, names

from vouch.base.errors import VouchError
from vouch.interop.voxceleb_trainer import vouch_key
from vouch.models.info import describe
from vouch.models.vggvox40 import VGGVox40

SMALL = (6, 7, 8, 9, 10, 11)


@pytest.mark.parametrize("name", names("VGGVox"))
def test_evaluation_embeddings(name):
    case = Case(name, VGGVox40)
    case.model.eval()
    with torch.no_grad():
        if case.facts["log"]:
            assert case.difference(case.model(case.stored_features()), "emb_eval") < 1e-5
        assert case.difference(case.model(case.features("wave_odd")), "emb_eval_odd") < 1e-5
    assert describe(case.model).parameters == case.facts["parameters"]


@pytest.mark.parametrize("name", ["VGGVox_SAP_log_n512", "VGGVox_MAX_log_n512"])
def test_keys_and_training_step(name):
    case = Case(name, VGGVox40)
    check_keys(name, case.model)
    case.check_training_step()


def test_stages():
    case = Case("VGGVox_SAP_log_n512", VGGVox40)
    stages = {stage: case.model.get_submodule(vouch_key(stage)) for stage in case.facts["stages"]}
    case.check_stages(stages)


def test_cost():
    assert describe(VGGVox40(40)).macs == 529_925_888


@pytest.mark.parametrize("pooling", ["tap", "sap", "max"])
def test_padded_batch(pooling):
    torch.manual_seed(0)
    model = VGGVox40(40, embedding_dim=16, pooling=pooling, channels=SMALL)
    model(torch.randn(4, 130, 40))
    # One, two and three frames are left, and every remainder of the first two halvings.
    assert_padding_changes_nothing(model, [63, 64, 94, 95, 96, 97, 98, 126, 127, 130])


def test_frames_that_are_left():
    model = VGGVox40(40, embedding_dim=16, channels=SMALL).eval()
    seen = []
    model.netcnn[-1].register_forward_hook(lambda module, inputs, output: seen.append(output.shape[2:]))
    lengths = range(63, 163)
    with torch.no_grad():
        for frames in lengths:
            model(torch.randn(1, frames, 40))
    assert seen == [(1, (frames - 31) // 32) for frames in lengths]


def test_shortest_and_silent_input():
    model = VGGVox40(40, embedding_dim=16, channels=SMALL)
    embeddings = model(torch.zeros(2, 63, 40))
    embeddings.sum().backward()
    assert embeddings.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    with pytest.raises(VouchError, match=r"62 frames.* at least 63"):
        model(torch.zeros(2, 62, 40))
    with pytest.raises(VouchError, match=r"62 frames.* at least 63"):
        model(torch.zeros(2, 80, 40), torch.tensor([80, 62]))


def test_unusable_options():
    with pytest.raises(VouchError, match="takes 40 bins, not 64"):
        VGGVox40(64)
    with pytest.raises(VouchError, match=r"unknown pooling 'spa'.*sap"):
        VGGVox40(40, pooling="spa")
    with pytest.raises(VouchError, match="six positive numbers"):
        VGGVox40(40, channels=(96, 256))
