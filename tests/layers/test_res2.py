"""Res2 convolutions against loops over groups, channels, bins and frames."""

import numpy as np
import pytest
import torch
from fill import fill_state

from vouch.base.errors import VouchError
from vouch.layers.inputs import clear_padding
from vouch.layers.res2 import Res2Conv1d, Res2Conv2d

CLASSES = [Res2Conv1d, Res2Conv2d]


def random_input(kind, batch, channels, frames):
    shape = (batch, channels, frames) if kind is Res2Conv1d else (batch, channels, 5, frames)
    return torch.randn(shape, dtype=torch.float64)


def slow_convolution(x, weight, bias, dilation):
    """Convolve `x : (channels, bins, frames)` with zeros around it, one output number at a time."""
    outputs, inputs, height, width = weight.shape
    _, bins, frames = x.shape
    out = np.zeros((outputs, bins, frames))
    for o, b, t in np.ndindex(out.shape):
        total = bias[o]
        for i, h, w in np.ndindex(inputs, height, width):
            row, column = b + (h - height // 2) * dilation, t + (w - width // 2) * dilation
            if 0 <= row < bins and 0 <= column < frames:
                total += weight[o, i, h, w] * x[i, row, column]
        out[o, b, t] = total
    return out


def slow_res2(module, x, scale, dilation):
    """One utterance, `(channels, bins, frames)`, with one-dimensional kernels as those of height one."""
    state = {key: value.double().numpy() for key, value in module.state_dict().items()}
    width = len(x) // scale
    out = np.array(x)
    for group in range(scale - 1):
        rows = slice(group * width, (group + 1) * width)
        inputs = x[rows] + (out[(group - 1) * width : group * width] if group else 0.0)
        weight = state[f"convs.{group}.weight"]
        weight = weight[:, :, None] if weight.ndim == 3 else weight
        result = slow_convolution(inputs, weight, state.get(f"convs.{group}.bias", np.zeros(width)), dilation)
        norm = {key: state[f"bns.{group}.{key}"][:, None, None] for key in ("weight", "bias")}
        mean, variance = (state[f"bns.{group}.running_{key}"][:, None, None] for key in ("mean", "var"))

        def normalise(values, norm=norm, mean=mean, variance=variance):
            return (values - mean) / np.sqrt(variance + 1e-5) * norm["weight"] + norm["bias"]

        out[rows] = normalise(np.maximum(result, 0)) if module.relu_first else np.maximum(normalise(result), 0)
    return out


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize(
    ("scale", "kernel_size", "dilation", "bias", "relu_first"),
    [(2, 3, 1, True, True), (4, 3, 2, True, True), (3, 5, 1, False, False)],
)
def test_against_loops(kind, scale, kernel_size, dilation, bias, relu_first):
    torch.manual_seed(0)
    module = kind(2 * scale, scale, kernel_size, dilation, bias, relu_first)
    fill_state(module, "res2")
    x = random_input(kind, 1, 2 * scale, 7)
    expected = slow_res2(module, x[0].numpy().reshape(2 * scale, -1, 7), scale, dilation)
    found = module.double().eval()(x)
    assert found.shape == x.shape
    np.testing.assert_allclose(found.detach().numpy().ravel(), expected.ravel(), atol=1e-12)


@pytest.mark.parametrize("kind", CLASSES)
def test_padding_changes_nothing(kind):
    module = kind(8, 4, dilation=3)
    fill_state(module, "res2")
    module.double().eval()
    lengths = [1, 6, 9]
    x = random_input(kind, 3, 8, 9)
    mask = torch.arange(9) < torch.tensor(lengths)[:, None]
    padded = module(clear_padding(x, mask), mask)
    for row, out, n in zip(x, padded, lengths, strict=True):
        torch.testing.assert_close(out[..., :n], module(row[None, ..., :n])[0])
        assert not out[..., n:].any()


@pytest.mark.parametrize("kind", CLASSES)
def test_gradient(kind):
    torch.manual_seed(0)
    module = kind(4, 2).double()
    x = random_input(kind, 2, 4, 3).requires_grad_()
    assert torch.autograd.gradcheck(module, x)


def test_names_and_shapes():
    state = Res2Conv1d(64, 8, 3).state_dict()
    expected = {f"convs.{i}.{name}" for i in range(7) for name in ("weight", "bias")}
    batch_norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected |= {f"bns.{i}.{name}" for i in range(7) for name in batch_norm}
    assert state.keys() == expected
    assert state["convs.6.weight"].shape == (8, 8, 3)


@pytest.mark.parametrize(("channels", "scale"), [(10, 4), (8, 1), (2, 4), (8, 0)])
def test_channels_that_cannot_be_split(channels, scale):
    with pytest.raises(VouchError, match=f"{channels} channels.* {scale} groups"):
        Res2Conv1d(channels, scale)
