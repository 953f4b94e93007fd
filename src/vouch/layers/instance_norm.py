"""Instance normalisation over the real frames of padded batches."""

from __future__ import annotations

import torch
from torch import nn

from vouch.layers.inputs import clear_computed


class MaskedInstanceNorm(nn.Module):
    """Normalise each channel of each utterance to mean 0 and (biased) variance 1 over time; learned scale and offset.

    Source: Ulyanov, Vedaldi and Lempitsky, "Instance normalization: the missing ingredient for fast stylization"
    (2016).

    Parameters
    ----------
    channels : int
    eps : float
        Added to the variance.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Normalise.

        Parameters
        ----------
        x : (batch, channels, frames) float
            Finite everywhere.
        mask : (batch, frames) bool, optional
            True on real frames. Padded frames do not affect the result.

        Returns
        -------
        (batch, channels, frames) float
            Padded frames hold the offset.
        """
        frames = x.shape[2] if mask is None else mask.sum(dim=1)[:, None, None]
        # Sums in double precision round to the same number with and without the zeros of padding. In single precision
        # they may differ, and the logarithm of a filter output near zero would enlarge the difference.
        total = (x if mask is None else x * mask[:, None]).sum(dim=2, keepdim=True, dtype=torch.float64)
        centred = clear_computed(x - (total / frames).to(x.dtype), mask)
        variance = centred.square().sum(dim=2, keepdim=True, dtype=torch.float64) / frames
        scale = (variance + self.eps).rsqrt().to(x.dtype) * self.weight[:, None]
        return centred * scale + self.bias[:, None]
