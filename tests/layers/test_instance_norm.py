"""Instance normalisation against torch's, utterance by utterance."""

import pytest
import torch
from torch.nn import functional

from vouch.layers.instance_norm import MaskedInstanceNorm


def build(channels=3, eps=1e-3):
    torch.manual_seed(2)
    norm = MaskedInstanceNorm(channels, eps).double()
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    return norm


@pytest.mark.parametrize("eps", [1e-5, 0.1])
def test_without_padding(eps):
    norm = build(eps=eps)
    x = 5 + torch.randn(4, 3, 11, dtype=torch.float64)
    torch.testing.assert_close(norm(x), functional.instance_norm(x, weight=norm.weight, bias=norm.bias, eps=eps))


@pytest.mark.parametrize("filler", [0.0, 1e6])
def test_real_frames_alone_count(filler):
    norm = build()
    x = torch.randn(3, 3, 9, dtype=torch.float64)
    lengths = torch.tensor([9, 1, 6])
    mask = torch.arange(9) < lengths[:, None]
    padded = x.masked_fill(~mask[:, None], filler).requires_grad_()
    normalised = norm(padded, mask)
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(normalised[row : row + 1, :, :length], norm(x[row : row + 1, :, :length]))
    assert normalised.isfinite().all()
    (normalised.masked_fill(~mask[:, None], 0) ** 2).sum().backward()
    assert padded.grad.isfinite().all() and not padded.grad[~mask[:, None].expand_as(x)].any()


def test_silence_gives_the_offset():
    norm = build()
    torch.testing.assert_close(norm(torch.zeros(1, 3, 5, dtype=torch.float64))[0, :, 2], norm.bias)


def test_gradient():
    norm = build()
    mask = torch.tensor([[True] * 5, [True, True, True, False, False]])
    x = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: norm(x, mask), x)


def test_padding_changes_no_bit():
    norm = MaskedInstanceNorm(1)
    x = torch.randn(1, 1, 20_000) * 0.1 + 0.01
    mask = torch.arange(27_001) < torch.tensor([[20_000]])
    padded = functional.pad(x, (0, 7_001), value=3.0)
    assert torch.equal(norm(padded, mask)[:, :, :20_000], norm(x))
