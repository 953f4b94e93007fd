"""Networks rearranged for inference: the same embeddings up to rounding, sooner.

Batch normalisation joins the convolution before it. On a CPU convolutions keep their weights in the order in which the
kernels of oneDNN read them, and large ones take fewer multiplications by Winograd's algorithm. Source: Lavin and Gray,
"Fast algorithms for convolutional neural networks" (CVPR 2016), section 4.
"""

from __future__ import annotations

import copy
import itertools

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

# From so many products of channels and positions (x input channels x output channels) on, the sums of Winograd's
# algorithm take less time than the multiplications it saves; with few channels they never do.
WINOGRAD_WORK, WINOGRAD_CHANNELS = 16_000_000, 64
# Images are transformed so many numbers at a time: the sums then stay in the caches.
WINOGRAD_BLOCK = 1 << 19


def rearranged(network: nn.Module, device: torch.device) -> nn.Module:
    """Return a copy of a network that computes the same faster; it can be neither trained nor saved nor moved.

    Parameters
    ----------
    network
        In evaluation mode, on `device`. Modules name in `conv_norm_pairs` those of their convolutions whose output
        goes into a batch normalisation and nowhere else; in an `nn.Sequential` neighbours are such pairs.
    """
    network = copy.deepcopy(network).requires_grad_(False)
    for module in list(network.modules()):
        for conv, norm in _pairs(module):
            setattr(module, conv, fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm)))
            setattr(module, norm, nn.Identity())
    if device.type != "cpu":
        return network
    packs = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
    for parent in list(network.modules()):
        for name, module in list(parent.named_children()):
            if type(module) is nn.BatchNorm2d:
                setattr(parent, name, ChannelAffine(module))
            elif packs and type(module) is nn.Conv2d and module.padding_mode == "zeros":
                setattr(parent, name, PackedConv2d(module))
    return network


def _pairs(module: nn.Module) -> list[tuple[str, str]]:
    if type(module) is not nn.Sequential:
        return list(getattr(module, "conv_norm_pairs", ()))
    kinds = [type(child) for child in module]
    return [
        (str(index), str(index + 1))
        for index, pair in enumerate(itertools.pairwise(kinds))
        if pair in ((nn.Conv1d, nn.BatchNorm1d), (nn.Conv2d, nn.BatchNorm2d))
    ]


class ChannelAffine(nn.Module):
    """Batch normalisation that has learnt its statistics: `(batch, channels, bins, frames)` to the same shape."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        scale = (norm.running_var + norm.eps).rsqrt()
        scale = scale if norm.weight is None else scale * norm.weight
        shift = -norm.running_mean * scale
        self.register_buffer("scale", scale[:, None, None])
        self.register_buffer("shift", (shift if norm.bias is None else shift + norm.bias)[:, None, None])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scale and shift each channel."""
        return torch.addcmul(self.shift, x, self.scale)


class PackedConv2d(nn.Module):
    """A convolution with packed weights: `(batch, channels, bins, frames)`, in channels_last as its output is."""

    # Which `vouch.models.reflection.convolve` asks a convolution for.
    padding_mode = "zeros"

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        self.kernel = _PackedKernel(conv.weight, conv)
        plain = (conv.kernel_size, conv.stride, conv.padding, conv.dilation) == ((3, 3), (1, 1), (1, 1), (1, 1))
        self.is_large = min(conv.in_channels, conv.out_channels) >= WINOGRAD_CHANNELS and conv.groups == 1 and plain
        self.winograd: dict[int, _Winograd] = {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve."""
        x = _packed(x)
        positions = x.shape[0] * x.shape[2] * x.shape[3]
        if self.is_large and positions * self.conv.in_channels * self.conv.out_channels >= WINOGRAD_WORK:
            for axis in (2, 3):
                if x.shape[axis] % 2 == 0:
                    if axis not in self.winograd:
                        self.winograd[axis] = _Winograd(self.conv, axis)
                    return self.winograd[axis](x)
        return self.kernel(x, self.conv.bias)


class _PackedKernel:
    """The weights of a convolution in oneDNN's order, and the convolution with them."""

    def __init__(self, weight: torch.Tensor, conv: nn.Conv2d, padding: tuple[int, int] | None = None) -> None:
        padding = conv.padding if padding is None else padding
        self.arguments = (list(padding), list(conv.stride), list(conv.dilation), conv.groups)
        self.weight = torch._C._nn.mkldnn_reorder_conv2d_weight(
            weight.detach().contiguous().to_mkldnn(), *self.arguments
        )

    def __call__(self, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        return torch.ops.mkldnn._convolution_pointwise(x, self.weight, bias, *self.arguments, "none", [], "")


class _Winograd:
    """A 3x3 convolution by F(2, 3) along an axis of even extent: four products for two outputs instead of six.

    Of four neighbours x0 to x3 and the taps g0 to g2 the outputs are the convolutions, by 3 taps of the other axis,

        y0 = (x0 - x2) g0 + (x1 + x2) (g0 + g1 + g2)/2 + (x2 - x1) (g0 - g1 + g2)/2
        y1 = (x1 + x2) (g0 + g1 + g2)/2 - (x2 - x1) (g0 - g1 + g2)/2 - (x1 - x3) g2
    """

    def __init__(self, conv: nn.Conv2d, axis: int) -> None:
        self.axis, self.bias = axis, conv.bias
        g0, g1, g2 = conv.weight.detach().double().split(1, dim=axis)
        padding = (0, 1) if axis == 2 else (1, 0)
        taps = (g0, (g0 + g1 + g2) / 2, (g0 - g1 + g2) / 2, -g2)
        self.first, self.sum, self.difference, self.last = (
            _PackedKernel(tap.to(conv.weight.dtype), conv, padding) for tap in taps
        )

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        channels = self.first.weight.shape[0]
        y = torch.empty((len(x), channels, *x.shape[2:]), dtype=x.dtype, memory_format=torch.channels_last)
        images = max(1, WINOGRAD_BLOCK // x[0].numel())
        for start in range(0, len(x), images):
            self._convolve(x[start : start + images], y[start : start + images])
        return y

    def _convolve(self, x: torch.Tensor, y: torch.Tensor) -> None:
        axis, half = self.axis, x.shape[self.axis] // 2
        # In pair k: x1 is even[k], x2 is odd[k], x0 is odd[k - 1] and x3 is even[k + 1]; beyond the ends are zeros.
        (even, odd), (y0, y1) = (image.unflatten(axis, (half, 2)).unbind(axis + 1) for image in (x, y))
        part = _packed(even + odd)
        from_sum = self.sum(part)
        from_difference = self.difference(torch.sub(odd, even, out=part))
        torch.neg(odd.narrow(axis, 0, 1), out=part.narrow(axis, 0, 1))
        torch.sub(odd.narrow(axis, 0, half - 1), odd.narrow(axis, 1, half - 1), out=part.narrow(axis, 1, half - 1))
        torch.add(self.first(part, self.bias).add_(from_sum), from_difference, out=y0)
        torch.sub(even.narrow(axis, 0, half - 1), even.narrow(axis, 1, half - 1), out=part.narrow(axis, 0, half - 1))
        part.narrow(axis, half - 1, 1).copy_(even.narrow(axis, half - 1, 1))
        torch.sub(self.last(part, self.bias).add_(from_sum), from_difference, out=y1)


def _packed(x: torch.Tensor) -> torch.Tensor:
    return x.contiguous(memory_format=torch.channels_last)
