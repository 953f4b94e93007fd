"""Shortcuts of any width, forwards and backwards, over the images that networks hand them."""

import pytest
import torch
from torch.nn import functional

from vouch.layers.shortcut import NarrowShortcut, shortcut_convolution


@pytest.mark.parametrize("channels", [1, 3, 4, 8, 11, 12, 16, 24])
@pytest.mark.parametrize("stride", [1, 2, (2, 1), (1, 2)])
def test_equals_a_strided_convolution(channels, stride):
    torch.manual_seed(0)
    shortcut = shortcut_convolution(channels, 8, stride)
    x = torch.randn(16, channels, 19, 201).contiguous(memory_format=torch.channels_last).requires_grad_()
    y = shortcut(x)
    slopes = torch.randn_like(y)
    gradients = torch.autograd.grad(y, [x, shortcut.weight], slopes)

    exact = x.detach().double().requires_grad_(), shortcut.weight.detach().double().requires_grad_()
    expected = functional.conv2d(*exact, stride=stride)
    torch.testing.assert_close(y.double(), expected, atol=1e-5, rtol=1e-5)
    for got, wanted in zip(gradients, torch.autograd.grad(expected, exact, slopes.double()), strict=True):
        torch.testing.assert_close(got.double(), wanted, atol=1e-5 * float(wanted.abs().max()), rtol=1e-5)


def test_only_narrow_strided_ones_are_special():
    assert type(shortcut_convolution(8, 16, (2, 2))) is NarrowShortcut
    assert type(shortcut_convolution(8, 16, (1, 1))) is not NarrowShortcut
    assert type(shortcut_convolution(16, 32, 2)) is not NarrowShortcut
