"""Res2NetSE34 against the description of its parts, convolved tap by tap."""

import numpy as np
import pytest
import torch
from fill import fill_state
from slow_layers import SlowLayers, assert_like, assert_padding_changes_nothing, relu, sigmoid, softmax

from vouch.base.errors import VouchError
from vouch.models.info import describe
from vouch.models.res2netse34 import Res2NetSE34

SMALL = (8, 8, 16, 24)
BLOCKS, STRIDES = (3, 4, 6, 3), (1, 2, 2, 2)


class Slow(SlowLayers):
    """The network for one utterance."""

    def res2(self, name, x, scale):
        *splits, last = np.split(x, scale)
        outputs = []
        for index, split in enumerate(splits):
            convolved = self.conv(f"{name}.convs.{index}", split + outputs[-1] if outputs else split)
            outputs.append(relu(self.norm(f"{name}.bns.{index}", convolved)))
        return np.concatenate([*outputs, last])

    def block(self, name, x, stride, scale):
        out = relu(self.norm(f"{name}.bn1", self.conv(f"{name}.conv1", x, stride)))
        out = self.norm(f"{name}.bn3", self.conv(f"{name}.conv3", self.res2(f"{name}.res2", out, scale)))
        hidden = relu(self.affine(f"{name}.se.fc.0", out.mean(axis=(1, 2))))
        gate = sigmoid(self.affine(f"{name}.se.fc.2", hidden))
        if f"{name}.downsample.0.weight" in self.state:
            x = self.norm(f"{name}.downsample.1", self.conv(f"{name}.downsample.0", x, stride))
        return relu(out * gate[:, None, None] + x)

    def embed(self, features, pooling, scale):
        """Embed `features : (frames, bins)`."""
        x = self.norm("bn1", relu(self.conv("conv1", features.T[None])))
        for stage, (blocks, stride) in enumerate(zip(BLOCKS, STRIDES, strict=True), start=1):
            for index in range(blocks):
                x = self.block(f"layer{stage}.{index}", x, stride if index == 0 else 1, scale)
        x = np.stack([band for channel in x for band in channel])
        hidden = self.norm("pooling.attention.2", relu(self.conv("pooling.attention.0", x)))
        weights = softmax(self.conv("pooling.attention.3", hidden))
        pooled = (weights * x).sum(axis=1)
        if pooling == "asp":
            variance = np.maximum((weights * x**2).sum(axis=1) - pooled**2, 1e-5)
            pooled = np.concatenate([pooled, np.sqrt(variance)])
        return self.affine("fc", pooled)


@pytest.mark.parametrize(("pooling", "scale", "frames"), [("asp", 4, 18), ("sap", 2, 9), ("asp", 8, 1)])
def test_against_the_description(pooling, scale, frames):
    torch.manual_seed(0)
    model = Res2NetSE34(16, embedding_dim=12, pooling=pooling, channels=SMALL, scale=scale)
    fill_state(model, "res2netse34")
    slow = Slow(model.state_dict())
    assert_like(model, lambda features: slow.embed(features, pooling, scale), torch.randn(2, frames, 16))


def test_cost():
    info = describe(Res2NetSE34(64))
    assert (info.parameters, info.macs) == (4_220_060, 949_580_544)


def test_padded_batch():
    torch.manual_seed(0)
    model = Res2NetSE34(16, embedding_dim=16, channels=SMALL)
    model(torch.randn(4, 30, 16))
    assert_padding_changes_nothing(model, [1, 2, 23, 24, 25, 31, 33])


@pytest.mark.parametrize("frames", [1, 9])
def test_a_silent_utterance_trains(frames):
    torch.manual_seed(0)
    model = Res2NetSE34(8, embedding_dim=16, channels=SMALL)
    features = torch.randn(3, frames, 8)
    features[1] = 0
    embeddings = model(features)
    embeddings.sum().backward()
    assert embeddings.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_unusable_options():
    with pytest.raises(VouchError, match="multiple of 8 bins, not 60"):
        Res2NetSE34(60)
    with pytest.raises(VouchError, match=r"0 frames.* at least 1"):
        Res2NetSE34(16, channels=SMALL)(torch.zeros(2, 0, 16))
    with pytest.raises(VouchError, match=r"unknown pooling 'tap'.*sap"):
        Res2NetSE34(40, pooling="tap")
    with pytest.raises(VouchError, match="8 channels cannot be split into 3"):
        Res2NetSE34(40, channels=SMALL, scale=3)
