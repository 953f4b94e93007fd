"""The Res2 convolution: convolves groups of channels in turn, adding each output to the next group's input.

Source: Gao et al., "Res2Net: a new multi-scale backbone architecture" (IEEE TPAMI 2021), section 3.1, equation 1.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from vouch.base.errors import VouchError
from vouch.layers.batch_norm import BatchNorm2d
from vouch.layers.inputs import clear_computed
from vouch.layers.reflection import PaddingMode, convolve


class _Res2Conv(nn.Module):
    """Base of `Res2Conv1d` and `Res2Conv2d`: everything but the kind of convolution."""

    convolution: type[nn.Conv1d] | type[nn.Conv2d]
    normalization: type[nn.BatchNorm1d] | type[BatchNorm2d]

    def __init__(
        self,
        channels: int,
        scale: int,
        kernel_size: int = 3,
        dilation: int = 1,
        bias: bool = True,
        relu_first: bool = True,
        padding_mode: PaddingMode = "zeros",
    ) -> None:
        super().__init__()
        if scale < 2 or channels < scale or channels % scale:
            raise VouchError(f"{channels} channels cannot be split into {scale} groups of equal width, at least two")
        self.relu_first = relu_first
        width = channels // scale
        self.convs = nn.ModuleList(
            self.convolution(
                width,
                width,
                kernel_size,
                padding=(kernel_size - 1) * dilation // 2,
                dilation=dilation,
                bias=bias,
                padding_mode=padding_mode,
            )
            for _ in range(scale - 1)
        )
        self.bns = nn.ModuleList(self.normalization(width) for _ in range(scale - 1))

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Convolve `x : (batch, channels, ..., frames)` to the same shape.

        `mask : (batch, frames) bool` is True on real frames; padded frames of input and output hold zeros.
        """
        *groups, last = x.chunk(len(self.convs) + 1, dim=1)
        outputs: list[torch.Tensor] = []
        for group, conv, bn in zip(groups, self.convs, self.bns, strict=True):
            assert isinstance(conv, (nn.Conv1d, nn.Conv2d))
            out = convolve(conv, outputs[-1] + group if outputs else group, mask)
            out = bn(functional.relu(out, inplace=True)) if self.relu_first else functional.relu(bn(out), inplace=True)
            outputs.append(clear_computed(out, mask))
        return torch.cat([*outputs, last], dim=1)


class Res2Conv1d(_Res2Conv):
    """Res2 convolution over time, of `(batch, channels, frames)`.

    The channels are split into `scale` groups. Each group but the last, which passes through unchanged, is added to
    the output of the group before it and convolved, followed by ReLU and batch normalisation.

    Parameters
    ----------
    channels : int
        Channels of input and output, a multiple of `scale`.
    scale : int
        Number of groups.
    kernel_size : int
        Kernel size in frames, odd.
    dilation : int
    bias : bool
        Whether the convolutions have a bias.
    relu_first : bool
        Whether ReLU comes before batch normalisation, as in ECAPA-TDNN and RawNet3, or after it, as in Res2Net.
    padding_mode : str
        What the convolutions see beyond the ends of an utterance: "zeros", or "reflect" for its mirror image.

    Raises
    ------
    VouchError
        The channels cannot be split.
    """

    convolution, normalization = nn.Conv1d, nn.BatchNorm1d


class Res2Conv2d(_Res2Conv):
    """Res2 convolution over frequency and time, of `(batch, channels, bins, frames)`.

    The parameters are those of `Res2Conv1d`; the kernel is square, and the padding mode is "zeros".
    """

    convolution, normalization = nn.Conv2d, BatchNorm2d
