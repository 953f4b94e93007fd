"""Pooling over time: maps the sequence of frame vectors of an utterance to one vector.

Each pooling is built as `POOLINGS[name](channels)`, declares `out_channels`, and maps `(batch, channels, frames)` and
an optional `(batch, frames)` bool mask (True on real frames) to `(batch, out_channels)`. Padded frames, even NaN, never
affect the result. Statistics are computed in at least single precision.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

# Keeps the square root differentiable for the variance of a constant channel, in "tstp" and the context of "astp".
ADDED_VARIANCE = 1e-7


def _prepare(x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Zero padded frames, and convert half precision to single: sums of squares over time need the digits."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    return x if mask is None else x.masked_fill(~mask[:, None], 0.0)


def weighted_mean(x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted mean of `x : (batch, channels, frames)`: `(batch, channels)`; the weights broadcast to `x`."""
    return (x * weights).sum(dim=2)


def weighted_statistics(
    x: torch.Tensor, weights: torch.Tensor, floor: float = 1e-5, ceiling: float = torch.inf
) -> torch.Tensor:
    """Weighted mean and standard deviation, concatenated: `(batch, 2 * channels)`; the variance is clamped."""
    mean = weighted_mean(x, weights)
    variance = ((x - mean[:, :, None]).square() * weights).sum(dim=2)
    return torch.cat([mean, variance.clamp(floor, ceiling).sqrt()], dim=1)


def mean_and_variance(
    x: torch.Tensor, mask: torch.Tensor | None, correction: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and unbiased (with correction 0: biased) variance over real frames, `(batch, channels)` each.

    `x : (batch, channels, frames)` holds zeros where `mask : (batch, frames) bool` is False. The variance of a single
    frame is 0.
    """
    if mask is None:
        return x.mean(dim=2), x.var(dim=2, correction=min(correction, x.shape[2] - 1))
    count = mask.sum(dim=1, keepdim=True)
    mean = x.sum(dim=2) / count
    centred = (x - mean[:, :, None]).masked_fill(~mask[:, None], 0.0)
    return mean, centred.square().sum(dim=2) / (count - correction).clamp(min=1)


class Pooling(nn.Module):
    """Base class of the poolings.

    Attributes
    ----------
    out_channels : int
        Size of the utterance vector.
    """

    out_channels: int


class SelfAttentivePooling(Pooling):
    """Weighted mean over time with one attention weight per frame ("sap").

    The weight of frame t is softmax_t(a . tanh(W x_t + b)). Source: Cai, Chen and Li, "Exploring the encoding
    layer and loss function in end-to-end speaker and language recognition system" (Odyssey 2018), in the form
    and with the parameter names of voxceleb_trainer.

    Parameters
    ----------
    channels : int

    Attributes
    ----------
    out_channels : int
        Equals `channels`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out_channels = channels
        self.sap_linear = nn.Linear(channels, channels)
        self.attention = nn.Parameter(torch.empty(channels, 1))
        nn.init.xavier_normal_(self.attention)

    def weights(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Attention weights `(batch, 1, frames)`, summing to one over real frames."""
        hidden = torch.tanh(self.sap_linear(x.transpose(1, 2)))
        scores = torch.matmul(hidden, self.attention).to(x.dtype).transpose(1, 2)
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None], -torch.inf)
        return scores.softmax(dim=2)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Pool `x : (batch, channels, frames)`, `mask : (batch, frames) bool` to `(batch, channels)`."""
        x = _prepare(x, mask)
        return weighted_mean(x, self.weights(x, mask))


class AttentiveStatisticsPooling(SelfAttentivePooling):
    """Weighted mean and weighted standard deviation, concatenated ("asp").

    Weights as in `SelfAttentivePooling`; the variance is floored at 1e-5. Source: Okabe, Koshinaka and
    Shinoda, "Attentive statistics pooling for deep speaker embedding" (Interspeech 2018), equations 5 and 6.

    Attributes
    ----------
    out_channels : int
        Twice `channels`: all means, then all standard deviations.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.out_channels = 2 * channels

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Pool `x : (batch, channels, frames)`, `mask : (batch, frames) bool` to `(batch, 2 * channels)`."""
        x = _prepare(x, mask)
        return weighted_statistics(x, self.weights(x, mask))


class AveragePooling(Pooling):
    """Plain mean over time ("tap"); `out_channels` equals `channels`.

    Parameters
    ----------
    channels : int
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out_channels = channels

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Pool `x : (batch, channels, frames)`, `mask : (batch, frames) bool` to `(batch, channels)`."""
        x = _prepare(x, mask)
        return x.mean(dim=2) if mask is None else x.sum(dim=2) / mask.sum(dim=1, keepdim=True)


class MaxPooling(Pooling):
    """Maximum over time ("max"); `out_channels` equals `channels`.

    Parameters
    ----------
    channels : int
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out_channels = channels

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Pool `x : (batch, channels, frames)`, `mask : (batch, frames) bool` to `(batch, channels)`."""
        x = _prepare(x, mask)
        return (x if mask is None else x.masked_fill(~mask[:, None], -torch.inf)).amax(dim=2)


class StatisticsPooling(Pooling):
    """Mean and unbiased standard deviation over time, concatenated ("stats").

    A single frame has standard deviation 0. Source: Snyder et al., "X-vectors: robust DNN embeddings for
    speaker recognition" (ICASSP 2018).

    Parameters
    ----------
    channels : int

    Attributes
    ----------
    out_channels : int
        Twice `channels`: all means, then all standard deviations.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out_channels = 2 * channels

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Pool `x : (batch, channels, frames)`, `mask : (batch, frames) bool` to `(batch, 2 * channels)`."""
        mean, variance = mean_and_variance(_prepare(x, mask), mask)
        # The floor changes no value; it makes the gradient of a constant channel 0, where that of the root is NaN.
        deviation = variance.clamp(min=torch.finfo(variance.dtype).tiny).sqrt()
        return torch.cat([mean, deviation], dim=1)


class TemporalStatisticsPooling(Pooling):
    """Mean and square root of the unbiased variance plus 1e-7, concatenated ("tstp").

    Source: WeSpeaker's pooling of this name (Wang et al., "Wespeaker: a research and production oriented speaker
    embedding learning toolkit", ICASSP 2023). A single frame has variance 0.

    Parameters
    ----------
    channels : int

    Attributes
    ----------
    out_channels : int
        Twice `channels`: all means, then all standard deviations.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out_channels = 2 * channels

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Pool `x : (batch, channels, frames)`, `mask : (batch, frames) bool` to `(batch, 2 * channels)`."""
        mean, variance = mean_and_variance(_prepare(x, mask), mask)
        return torch.cat([mean, (variance + ADDED_VARIANCE).sqrt()], dim=1)


class ChannelAttentiveStatisticsPooling(Pooling):
    """Weighted mean and standard deviation, with weights for each channel ("local_astp").

    The weights of channel c are softmax_t(V tanh(W x_t + b) + d)_c, so the score of a frame depends on that frame only.
    The weighted variance is floored at 1e-7. Source: Desplanques, Thienpondt and Demuynck, "ECAPA-TDNN: emphasized
    channel attention, propagation and aggregation in TDNN based speaker verification" (Interspeech 2020), section 3.1,
    without its global context; parameters are named as in WeSpeaker, whose ResNets with ASTP use this pooling.

    Parameters
    ----------
    channels : int
    hidden : int
        Width between the two affine maps W and V.

    Attributes
    ----------
    out_channels : int
        Twice `channels`: all means, then all standard deviations.
    """

    variance_floor, variance_ceiling = 1e-7, torch.inf
    # Number of inputs of the first affine map for each channel; the context of the subclass adds two.
    inputs_per_channel = 1

    def __init__(self, channels: int, hidden: int = 128) -> None:
        super().__init__()
        self.out_channels = 2 * channels
        self.linear1 = nn.Conv1d(self.inputs_per_channel * channels, hidden, kernel_size=1)
        self.linear2 = nn.Conv1d(hidden, channels, kernel_size=1)

    def activation(self, hidden: torch.Tensor) -> torch.Tensor:
        """Apply the nonlinearity between the two affine maps."""
        return torch.tanh(hidden)

    def hidden(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Apply the first affine map to `x : (batch, channels, frames)`: `(batch, hidden, frames)`."""
        return self.linear1(x)

    def weights(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Attention weights `(batch, channels, frames)`, summing to one over real frames."""
        scores = self.linear2(self.activation(self.hidden(x, mask))).to(x.dtype)
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None], -torch.inf)
        return scores.softmax(dim=2)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Pool `x : (batch, channels, frames)`, `mask : (batch, frames) bool` to `(batch, 2 * channels)`."""
        x = _prepare(x, mask)
        return weighted_statistics(x, self.weights(x, mask), self.variance_floor, self.variance_ceiling)


class ContextAttentiveStatisticsPooling(ChannelAttentiveStatisticsPooling):
    """Weighted mean and standard deviation, with weights for each channel that depend on the utterance ("astp").

    The weights of channel c are softmax_t(V tanh(W [x_t, m, s] + b) + d)_c, where m and s are the mean and standard
    deviation of the utterance (from its unbiased variance plus 1e-7). Otherwise it is
    `ChannelAttentiveStatisticsPooling`.
    """

    inputs_per_channel = 3

    def context(self, x: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the global context, mean and standard deviation of the utterance, `(batch, channels)` each."""
        mean, variance = mean_and_variance(x, mask)
        return mean, (variance + ADDED_VARIANCE).sqrt()

    def hidden(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Apply the first affine map to frames and context: `(batch, hidden, frames)`."""
        frame_weight, context_weight = self.linear1.weight.split((x.shape[1], 2 * x.shape[1]), dim=1)
        # The context is the same for all frames, so its part of the sum is computed once.
        context = torch.cat(self.context(x, mask), dim=1)[:, :, None]
        return functional.conv1d(x, frame_weight) + functional.conv1d(context, context_weight, self.linear1.bias)


POOLINGS: dict[str, type[Pooling]] = {
    "sap": SelfAttentivePooling,
    "asp": AttentiveStatisticsPooling,
    "tap": AveragePooling,
    "max": MaxPooling,
    "stats": StatisticsPooling,
    "tstp": TemporalStatisticsPooling,
    "local_astp": ChannelAttentiveStatisticsPooling,
    "astp": ContextAttentiveStatisticsPooling,
}
