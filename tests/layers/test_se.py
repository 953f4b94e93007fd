"""Squeeze and excitation against its formula, one channel at a time."""

import math

import pytest
import torch

from vouch.layers.inputs import clear_padding, length_mask
from vouch.layers.se import SqueezeExcitation


def slow(gate, x):
    """One utterance, `(channels, ...)` of nested lists flattened over all but the channels."""
    down, up = gate.fc[0], gate.fc[2]
    means = [sum(channel) / len(channel) for channel in x.flatten(1).tolist()]
    hidden = [
        max(0.0, bias + sum(w * mean for w, mean in zip(row, means, strict=True)))
        for row, bias in zip(down.weight.tolist(), down.bias.tolist(), strict=True)
    ]
    gates = [
        1 / (1 + math.exp(-bias - sum(w * h for w, h in zip(row, hidden, strict=True))))
        for row, bias in zip(up.weight.tolist(), up.bias.tolist(), strict=True)
    ]
    return torch.stack([value * channel for value, channel in zip(gates, x, strict=True)])


@pytest.mark.parametrize("shape", [(3, 6, 11), (3, 6, 4, 11), (3, 6, 1, 1)])
def test_against_the_formula(shape):
    torch.manual_seed(0)
    gate = SqueezeExcitation(6, hidden=4).double()
    x = torch.randn(shape, dtype=torch.float64)
    torch.testing.assert_close(gate(x), torch.stack([slow(gate, utterance) for utterance in x]))


@pytest.mark.parametrize("shape", [(3, 6, 11), (3, 6, 4, 11)])
def test_padding_is_not_counted(shape):
    torch.manual_seed(0)
    gate = SqueezeExcitation(6, hidden=4).double()
    lengths = torch.tensor([11, 1, 7])
    mask = length_mask(lengths, 11)
    x = clear_padding(torch.randn(shape, dtype=torch.float64), mask)
    gated = gate(x, mask)
    for utterance, together, length in zip(x, gated, lengths, strict=True):
        torch.testing.assert_close(together[..., :length], slow(gate, utterance[..., :length]))
        assert not together[..., length:].any()


def test_keys_are_those_of_voxceleb_trainer():
    shapes = {key: tuple(value.shape) for key, value in SqueezeExcitation(16, 2).state_dict().items()}
    assert shapes == {"fc.0.weight": (2, 16), "fc.0.bias": (2,), "fc.2.weight": (16, 2), "fc.2.bias": (16,)}
