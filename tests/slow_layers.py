"""Layers of networks in float64, one utterance at a time and one kernel tap after the other, and checks with them."""

from __future__ import annotations

import numpy as np
import torch


def relu(x):
    return np.maximum(x, 0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    """Over the last axis."""
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


class SlowLayers:
    """Layers with the weights of a state dict; inputs are `(channels, ..., frames)`."""

    def __init__(self, state):
        self.state = {key: value.double().numpy() for key, value in state.items()}

    def affine(self, name, vector):
        weight = self.state[f"{name}.weight"]
        return weight.reshape(weight.shape[:2]) @ vector + self.state.get(f"{name}.bias", 0)

    def norm(self, name, x):
        """Batch normalisation by running statistics, along the first axis."""

        def along_first(key, default):
            return np.reshape(self.state.get(f"{name}.{key}", default), (-1, *(1 for _ in x.shape[1:])))

        normalised = (x - along_first("running_mean", 0)) / np.sqrt(along_first("running_var", 0) + 1e-5)
        return normalised * along_first("weight", 1) + along_first("bias", 0)

    def conv(self, name, x, stride=1, dilation=1, mode="constant"):
        """Convolution that keeps the size at stride 1; the stride is one number or one for each axis."""
        weight = self.state[f"{name}.weight"]
        kernel = weight.shape[2:]
        strides = np.broadcast_to(stride, len(kernel))
        reach = [(size - 1) * dilation // 2 for size in kernel]
        padded = np.pad(x, [(0, 0), *((n, n) for n in reach)], mode=mode)
        out = 0
        for tap in np.ndindex(kernel):
            window = tuple(
                slice(offset * dilation, offset * dilation + size, step)
                for offset, size, step in zip(tap, x.shape[1:], strides, strict=True)
            )
            out = out + np.tensordot(weight[(slice(None), slice(None), *tap)], padded[(slice(None), *window)], axes=1)
        return out + np.reshape(self.state.get(f"{name}.bias", 0), (-1, *(1 for _ in kernel)))


def mean_and_deviation(x, added=1e-7):
    """Mean and root of unbiased variance plus a little of `(channels, frames)`, one after the other."""
    variance = x.var(axis=1, ddof=1) if x.shape[1] > 1 else np.zeros(len(x))
    return np.concatenate([x.mean(axis=1), np.sqrt(variance + added)])


def assert_like(model, slow, features):
    """Compare a network in evaluation mode with a function of one utterance, both in float64."""
    with torch.no_grad():
        found = model.eval().double()(features.double()).numpy()
    expected = np.stack([slow(utterance.double().numpy()) for utterance in features])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


def assert_padding_changes_nothing(model, lengths):
    """Compare utterances in a batch padded with NaN with the same one by one, with gradients and without."""
    model.eval()
    features = torch.randn(len(lengths), max(lengths) + 2, model.num_bins)
    alone = torch.cat([model(row[None, :n]) for row, n in zip(features, lengths, strict=True)])
    for row, n in zip(features, lengths, strict=True):
        row[n:] = float("nan")
    for gradients in (True, False):
        with torch.set_grad_enabled(gradients):
            together = model(features, torch.tensor(lengths))
        assert (together - alone).abs().max() < 1e-5 * alone.abs().max()


def assert_silence_and_shortest_input_stay_finite(model):
    """Train on equal frames, which have no variance, and on the shortest input."""
    model.train()
    for frames in (model.min_length, model.min_length + 9):
        model.zero_grad()
        features = torch.zeros(3, frames, model.num_bins, requires_grad=True)
        model(features).square().sum().backward()
        assert features.grad.isfinite().all()
        assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
