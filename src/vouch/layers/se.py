"""Squeeze and excitation: scales each channel by a gate that depends on the whole utterance.

Source: Hu, Shen and Sun, "Squeeze-and-excitation networks" (CVPR 2018), equations 2 to 4.
"""

from __future__ import annotations

import torch
from torch import nn


class SqueezeExcitation(nn.Module):
    """Average each channel over real frames (and bins), compute gates by two affine layers, and scale the channels.

    Parameters
    ----------
    channels : int
    hidden : int
        Width between the two affine layers, `fc.0` and `fc.2`.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(channels, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, channels),
            nn.Sigmoid(),
        )

    def forward(
        self, x: torch.Tensor, mask: torch.Tensor | None = None, residual: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Scale each channel by its gate, and add a residual.

        Parameters
        ----------
        x : (batch, channels, frames) or (batch, channels, bins, frames) float
            With a mask, its padded frames must hold zeros (see `vouch.layers.inputs.clear_padding`).
        mask : (batch, frames) bool, optional
            True on real frames.
        residual : (batch, channels, frames) or (batch, channels, bins, frames) float, optional
            Added after the gate.

        Returns
        -------
        gated : (batch, channels, frames) or (batch, channels, bins, frames) float
            Without a residual it is zero where `x` is zero.
        """
        over = tuple(range(2, x.ndim))
        frames = x.shape[-1] if mask is None else mask.sum(dim=1, keepdim=True)
        # sum instead of mean: the gradient of sum is a view, which saves one pass over the activations.
        means = x.sum(dim=over) / (x.shape[2:-1].numel() * frames)
        gated = x * self.fc(means)[(..., *(None for _ in over))]
        return gated if residual is None else gated.add_(residual)
