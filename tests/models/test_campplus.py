"""CAM++ against a transcription of its table, and against published sizes."""

import numpy as np
import pytest
import torch
from fill import fill_state
from slow_layers import (
    SlowLayers,
    assert_like,
    assert_padding_changes_nothing,
    assert_silence_and_shortest_input_stay_finite,
    mean_and_deviation,
    relu,
    sigmoid,
)

from vouch.base.errors import VouchError
from vouch.models.campplus import CAMPPlus, segment_sums

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
BLOCKS = ((12, 1), (24, 2), (16, 2))
TINY = {"embedding_dim": 7, "growth": 2, "channels": 6, "head_channels": 3}


def tiny(**options):
    torch.manual_seed(0)
    model = CAMPPlus(9, **TINY, **options)
    fill_state(model, "campplus")
    return model


def slow_campplus(model, added_variance=1e-7):
    layers = SlowLayers(model.state_dict())

    def norm_relu(name, x):
        return relu(layers.norm(f"{name}.batchnorm", x))

    def residual(name, x, stride):
        out = relu(layers.norm(f"{name}.bn1", layers.conv(f"{name}.conv1", x, stride)))
        out = layers.norm(f"{name}.bn2", layers.conv(f"{name}.conv2", out))
        if stride != 1:
            x = layers.norm(f"{name}.shortcut.1", layers.conv(f"{name}.shortcut.0", x, stride))
        return relu(out + x)

    def masked(name, x, dilation):
        local = layers.conv(f"{name}.linear_local", x, dilation=dilation)
        out = np.zeros_like(local)
        for frame in range(x.shape[1]):
            start = frame // 100 * 100
            context = x.mean(axis=1) + x[:, start : start + 100].mean(axis=1)
            gate = sigmoid(layers.affine(f"{name}.linear2", relu(layers.affine(f"{name}.linear1", context))))
            out[:, frame] = local[:, frame] * gate
        return out

    def embed(features):
        x = relu(layers.norm("head.bn1", layers.conv("head.conv1", features.T[None])))
        for layer in ("head.layer1", "head.layer2"):
            x = residual(f"{layer}.1", residual(f"{layer}.0", x, (2, 1)), 1)
        x = relu(layers.norm("head.bn2", layers.conv("head.conv2", x, (2, 1))))
        x = layers.conv("xvector.tdnn.linear", x.reshape(-1, x.shape[2]), stride=2)
        x = norm_relu("xvector.tdnn.nonlinear", x)
        for block, (count, dilation) in enumerate(BLOCKS, start=1):
            for number in range(1, count + 1):
                name = f"xvector.block{block}.tdnnd{number}"
                hidden = layers.conv(f"{name}.linear1", norm_relu(f"{name}.nonlinear1", x))
                new = masked(f"{name}.cam_layer", norm_relu(f"{name}.nonlinear2", hidden), dilation)
                x = np.concatenate([x, new])
            name = f"xvector.transit{block}"
            x = layers.conv(f"{name}.linear", norm_relu(f"{name}.nonlinear", x))
        x = mean_and_deviation(norm_relu("xvector.out_nonlinear", x), added_variance)
        return layers.norm("xvector.dense.nonlinear.batchnorm", layers.affine("xvector.dense.linear", x))

    return embed


# 199 to 201 frames become 100 or 101, which is one segment or one and a frame.
@pytest.mark.parametrize("frames", [1, 2, 9, 199, 200, 201, 430])
def test_against_the_table(frames):
    model = tiny()
    assert_like(model, slow_campplus(model), torch.randn(2, frames, 9))


def test_against_the_table_with_plain_statistics():
    model = tiny(pooling="stats")
    assert_like(model, slow_campplus(model, added_variance=0), torch.randn(2, 30, 9))


@pytest.mark.parametrize("frames", [1, 99, 100, 101, 300])
def test_segment_sums(frames):
    x = torch.randn(2, 3, frames, dtype=torch.float64)
    expected = [part.sum(dim=2) for part in x.split(100, dim=2)]
    torch.testing.assert_close(segment_sums(x), torch.stack(expected, dim=2))


def expected_keys():
    """Names in published state dicts."""

    def norm(name, parts=NORM):
        return {f"{name}.{part}" for part in parts}

    keys = {"head.conv1.weight", "head.conv2.weight", *norm("head.bn1"), *norm("head.bn2")}
    for layer in ("head.layer1", "head.layer2"):
        keys |= {f"{layer}.0.shortcut.0.weight", *norm(f"{layer}.0.shortcut.1")}
        for number in (1, 2):
            for block in (f"{layer}.0", f"{layer}.1"):
                keys |= {f"{block}.conv{number}.weight", *norm(f"{block}.bn{number}")}
    keys |= {"xvector.tdnn.linear.weight", *norm("xvector.tdnn.nonlinear.batchnorm")}
    for block, (count, _) in enumerate(BLOCKS, start=1):
        for layer in (f"xvector.block{block}.tdnnd{number}" for number in range(1, count + 1)):
            keys |= {*norm(f"{layer}.nonlinear1.batchnorm"), *norm(f"{layer}.nonlinear2.batchnorm")}
            keys |= {f"{layer}.linear1.weight", f"{layer}.cam_layer.linear_local.weight"}
            keys |= {f"{layer}.cam_layer.linear{n}.{part}" for n in (1, 2) for part in ("weight", "bias")}
        keys |= {f"xvector.transit{block}.linear.weight", *norm(f"xvector.transit{block}.nonlinear.batchnorm")}
    keys |= norm("xvector.out_nonlinear.batchnorm") | norm("xvector.dense.nonlinear.batchnorm", NORM[2:])
    return keys | {"xvector.dense.linear.weight"}


def test_names_and_published_size():
    model = CAMPPlus(80)
    state = model.state_dict()
    assert state.keys() == expected_keys()
    assert len(state) == 937
    assert sum(parameter.numel() for parameter in model.parameters()) == 7_176_224
    shapes = {
        "xvector.tdnn.linear.weight": (128, 320, 5),
        "xvector.block2.tdnnd24.linear1.weight": (128, 256 + 23 * 32, 1),
        "xvector.block3.tdnnd1.cam_layer.linear_local.weight": (32, 128, 3),
        "xvector.block3.tdnnd1.cam_layer.linear1.weight": (64, 128, 1),
        "xvector.transit1.linear.weight": (256, 512, 1),
        "xvector.dense.linear.weight": (512, 1024, 1),
    }
    assert {key: tuple(state[key].shape) for key in shapes} == shapes


def test_initialisation():
    torch.manual_seed(0)
    state = CAMPPlus(80).state_dict()
    weight = state["xvector.tdnn.linear.weight"]
    assert weight.std().item() == pytest.approx((2 / (320 * 5)) ** 0.5, rel=0.02)
    assert not state["xvector.block1.tdnnd1.cam_layer.linear1.bias"].any()


def test_padding_changes_nothing():
    assert_padding_changes_nothing(tiny(), [1, 430, 201, 200, 199, 64, 7])


def test_silence_and_one_frame():
    assert_silence_and_shortest_input_stay_finite(CAMPPlus(9, **TINY))


def test_unusable_options():
    with pytest.raises(VouchError, match=r"unknown pooling 'tsp'.*tstp"):
        CAMPPlus(80, pooling="tsp")
    with pytest.raises(VouchError, match="positive"):
        CAMPPlus(80, growth=0)
