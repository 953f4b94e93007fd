"""Utterances mirrored at their own ends, as if each were alone."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from vouch.layers.inputs import clear_computed, clear_padding
from vouch.layers.reflection import convolve, reflect_frames

LENGTHS = [9, 8, 7, 6, 5]


@pytest.fixture
def batch():
    """Five utterances in a batch, and which frames are real."""
    torch.manual_seed(0)
    return torch.randn(len(LENGTHS), 2, 9), torch.arange(9) < torch.tensor(LENGTHS)[:, None]


@pytest.mark.parametrize("reach", [1, 4])
def test_frames_are_those_of_the_utterance_alone(batch, reach):
    x, mask = batch
    found = reflect_frames(x, reach, mask)
    assert found.shape == (len(LENGTHS), 2, 9 + 2 * reach)
    for row, utterance, n in zip(found, x, LENGTHS, strict=True):
        alone = functional.pad(utterance[:, :n], (reach, reach), mode="reflect")
        assert torch.equal(row[:, : n + 2 * reach], alone)


@pytest.mark.parametrize("padding_mode", ["zeros", "reflect"])
@pytest.mark.parametrize(("kernel_size", "dilation"), [(1, 1), (5, 1), (3, 4)])
def test_convolution_is_that_of_the_utterance_alone(batch, padding_mode, kernel_size, dilation):
    x, mask = batch
    reach = (kernel_size - 1) * dilation // 2
    conv = nn.Conv1d(2, 3, kernel_size, padding=reach, dilation=dilation, padding_mode=padding_mode)
    found = convolve(conv, clear_padding(x, mask), mask)
    assert found.shape == (len(LENGTHS), 3, 9)
    for row, utterance, n in zip(found, x, LENGTHS, strict=True):
        torch.testing.assert_close(row[:, :n], conv(utterance[:, :n]))
    assert torch.equal(convolve(conv, x, None), conv(x))


def test_clearing_overwrites_only_what_needs_no_gradient(batch):
    x, mask = batch
    expected = clear_padding(x, mask)
    before = x.clone()
    assert torch.equal(clear_computed(x, mask), expected)
    assert torch.equal(x, before)
    with torch.no_grad():
        assert clear_computed(x, mask) is x
    assert torch.equal(x, expected)
    four_axes = before.reshape(5, 1, 2, 9)
    assert torch.equal(clear_computed(four_axes, mask), expected.reshape(5, 1, 2, 9))
    assert clear_computed(x, None) is x
