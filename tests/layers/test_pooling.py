"""Poolings against loops over frames, and what every pooling in the table promises."""

import math

import pytest
import torch

from vouch.layers.pooling import POOLINGS

CHANNELS = 6


def build(name, channels=CHANNELS):
    torch.manual_seed(1)
    return POOLINGS[name](channels).double()


def slow_affine(conv, vector):
    weight, bias = conv.weight[:, :, 0].tolist(), conv.bias.tolist()
    return [sum(w * v for w, v in zip(row, vector, strict=True)) + b for row, b in zip(weight, bias, strict=True)]


def slow_channel_weights(pooling, name, frames):
    """Return the weights of "astp" or "local_astp", a list over frames for each channel."""
    context = slow(pooling, "tstp", frames) if name == "astp" else []
    scores = [
        slow_affine(pooling.linear2, [math.tanh(value) for value in slow_affine(pooling.linear1, frame + context)])
        for frame in frames
    ]
    exponentials = [[math.exp(score) for score in channel] for channel in zip(*scores, strict=True)]
    return [[value / sum(channel) for value in channel] for channel in exponentials]


def slow(pooling, name, frames):
    """Pool one utterance given as a list of frame vectors, one number at a time."""
    if name in ("astp", "local_astp"):
        pairs = list(zip(slow_channel_weights(pooling, name, frames), zip(*frames, strict=True), strict=True))
        means = [sum(w * v for w, v in zip(weights, channel, strict=True)) for weights, channel in pairs]
        squares = [sum(w * v * v for w, v in zip(weights, channel, strict=True)) for weights, channel in pairs]
        return means + [math.sqrt(max(s - m * m, 1e-7)) for s, m in zip(squares, means, strict=True)]
    weights = [1.0 / len(frames)] * len(frames)
    if name in ("sap", "asp"):
        scores = []
        for frame in frames:
            hidden = [
                math.tanh(sum(w * v for w, v in zip(row, frame, strict=True)) + bias)
                for row, bias in zip(pooling.sap_linear.weight.tolist(), pooling.sap_linear.bias.tolist(), strict=True)
            ]
            scores.append(sum(h * a for h, (a,) in zip(hidden, pooling.attention.tolist(), strict=True)))
        total = sum(math.exp(score) for score in scores)
        weights = [math.exp(score) / total for score in scores]
    channels = list(zip(*frames, strict=True))
    if name == "max":
        return [max(channel) for channel in channels]
    means = [sum(w * v for w, v in zip(weights, channel, strict=True)) for channel in channels]
    if name in ("sap", "tap"):
        return means
    spreads = []
    for channel, mean in zip(channels, means, strict=True):
        if name == "asp":
            variance = max(sum(w * v * v for w, v in zip(weights, channel, strict=True)) - mean * mean, 1e-5)
        else:
            variance = sum((v - mean) ** 2 for v in channel) / (len(channel) - 1) if len(channel) > 1 else 0.0
        if name == "tstp":
            variance += 1e-7
        spreads.append(math.sqrt(variance))
    return means + spreads


@pytest.mark.parametrize("name", POOLINGS)
@pytest.mark.parametrize("frames", [1, 2, 9])
def test_against_loops(name, frames):
    pooling = build(name)
    x = torch.randn(2, CHANNELS, frames, dtype=torch.float64)
    expected = torch.tensor([slow(pooling, name, utterance.T.tolist()) for utterance in x], dtype=torch.float64)
    pooled = pooling(x)
    assert pooled.shape == (2, pooling.out_channels)
    torch.testing.assert_close(pooled, expected, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("name", POOLINGS)
def test_mask_leaves_out_padding(name):
    pooling = build(name)
    x = torch.randn(3, CHANNELS, 8, dtype=torch.float64)
    lengths = [8, 1, 5]
    expected = torch.cat([pooling(row[None, :, :n]) for row, n in zip(x, lengths, strict=True)])
    x[1, :, 1:] = float("nan")
    x[2, :, 5:] = 1e6
    mask = torch.arange(8) < torch.tensor(lengths)[:, None]
    torch.testing.assert_close(pooling(x, mask), expected)


@pytest.mark.parametrize("name", POOLINGS)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("x", [torch.zeros(2, 4, 5), torch.full((2, 4, 1), 3.0), torch.full((2, 4, 5), -7.0)])
def test_constant_channels_have_finite_gradients(name, masked, x):
    pooling = POOLINGS[name](4)
    x = x.clone().requires_grad_()
    mask = torch.ones(2, x.shape[2], dtype=torch.bool) if masked else None
    pooled = pooling(x, mask)
    pooled.sum().backward()
    assert pooled.isfinite().all() and x.grad.isfinite().all()
    torch.testing.assert_close(pooled[:, :4], x[:, :, 0].detach())


@pytest.mark.parametrize("name", POOLINGS)
@pytest.mark.parametrize("masked", [False, True])
def test_gradient(name, masked):
    pooling = build(name, 3)
    mask = torch.tensor([[True] * 4, [True, True, False, False]]) if masked else None
    x = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: pooling(x, mask), x)


@pytest.mark.parametrize("name", POOLINGS)
def test_half_precision_input_is_summed_in_single(name):
    pooling = POOLINGS[name](CHANNELS)
    x = (100 + torch.randn(2, CHANNELS, 400)).bfloat16()
    pooled = pooling(x)
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled, pooling(x.float()))


def test_standard_deviation_is_the_unbiased_one():
    x = torch.randn(2, CHANNELS, 7)
    torch.testing.assert_close(POOLINGS["stats"](CHANNELS)(x)[:, CHANNELS:], x.std(dim=2))
