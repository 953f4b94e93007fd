"""Poolings over time: a sequence of frame vectors becomes one utterance vector.

Each pooling is built as `POOLINGS[name](channels)`, declares `out_channels`, and maps
`(batch, channels, frames)` and an optional `(batch, frames)` bool mask (True on real frames) to
`(batch, out_channels)`. Whatever padding holds, even NaN, never reaches the result. Statistics are taken in
at least single precision.
"""

from __future__ import annotations

import torch
from torch import nn


def _prepare(x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Clear padded frames and leave half precision, in which sums of squares over time lose their digits."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    return x if mask is None else x.masked_fill(~mask[:, None], 0.0)


class SelfAttentivePooling(nn.Module):
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
        return (x * self.weights(x, mask)).sum(dim=2)


class AttentiveStatisticsPooling(SelfAttentivePooling):
    """Weighted mean and weighted standard deviation, side by side ("asp").

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
        weights = self.weights(x, mask)
        mean = (x * weights).sum(dim=2, keepdim=True)
        variance = ((x - mean).square() * weights).sum(dim=2)
        return torch.cat([mean.squeeze(2), variance.clamp(min=1e-5).sqrt()], dim=1)


class AveragePooling(nn.Module):
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


class StatisticsPooling(nn.Module):
    """Mean and unbiased standard deviation over time, side by side ("stats").

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
        x = _prepare(x, mask)
        if mask is None:
            mean = x.mean(dim=2)
            variance = x.var(dim=2, correction=1 if x.shape[2] > 1 else 0)
        else:
            count = mask.sum(dim=1, keepdim=True)
            mean = x.sum(dim=2) / count
            centred = (x - mean[:, :, None]).masked_fill(~mask[:, None], 0.0)
            variance = centred.square().sum(dim=2) / (count - 1).clamp(min=1)
        # The floor changes no value, but gives a constant channel the gradient 0 where the root has 0 * inf.
        deviation = variance.clamp(min=torch.finfo(variance.dtype).tiny).sqrt()
        return torch.cat([mean, deviation], dim=1)


POOLINGS: dict[str, type[nn.Module]] = {
    "sap": SelfAttentivePooling,
    "asp": AttentiveStatisticsPooling,
    "tap": AveragePooling,
    "stats": StatisticsPooling,
}
