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

# From so many positions x input channels x output channels on, the sums of Winograd's algorithm take less time than the
# multiplications it saves; with few channels they never do.
WINOGRAD_WORK, WINOGRAD_CHANNELS = 10_000_000, 64
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
    packs = (
        torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
        and hasattr(torch._C._nn, "mkldnn_reorder_conv2d_weight")
    )
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
        is_wide = min(conv.in_channels, conv.out_channels) >= WINOGRAD_CHANNELS
        self.winograd = _Winograd(conv) if is_wide and plain and conv.groups == 1 else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve."""
        x = _packed(x)
        work = x.numel() * self.conv.out_channels
        if self.winograd is not None and work >= WINOGRAD_WORK:
            return self.winograd(x)
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
    """A 3x3 convolution by F(4, 3) along the frames: six products for four outputs instead of twelve.

    Of six neighbours x0 to x5 and the taps g0 to g2, with the points 0, 1, -1, 2, -2 and infinity, the products are
    convolutions by 3 taps over the bins,

        m0 = (4 x0 - 5 x2 + x4) g0 / 4                     m5 = (4 x1 - 5 x3 + x5) g2
        m1 = (a + b) (g0 + g1 + g2) / -6                   a = x4 - 4 x2
        m2 = (a - b) (g0 - g1 + g2) / -6                   b = x3 - 4 x1
        m3 = (c + 2 d) (g0 + 2 g1 + 4 g2) / 24             c = x4 - x2
        m4 = (c - 2 d) (g0 - 2 g1 + 4 g2) / 24             d = x3 - x1

    and the outputs

        y0 = m0 + (m1 + m2) + (m3 + m4)                    y1 = (m1 - m2) + 2 (m3 - m4)
        y2 = (m1 + m2) + 4 (m3 + m4)                       y3 = (m1 - m2) + 8 (m3 - m4) + m5
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        self.bias = conv.bias
        g0, g1, g2 = conv.weight.detach().double().split(1, dim=3)
        even, odd = (g0 + g2) / -6, g1 / -6
        far_even, far_odd = (g0 + 4 * g2) / 24, g1 / 12
        taps = (g0 / 4, even + odd, even - odd, far_even + far_odd, far_even - far_odd, g2)
        self.kernels = [_PackedKernel(tap.to(conv.weight.dtype), conv, (1, 0)) for tap in taps]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        frames = x.shape[3]
        if frames % 4:
            x = _packed(nn.functional.pad(x, (0, -frames % 4)))
        shape = (len(x), self.kernels[0].weight.shape[0], *x.shape[2:])
        y = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)
        images = max(1, WINOGRAD_BLOCK // x[0].numel())
        for start in range(0, len(x), images):
            self._convolve(x[start : start + images], y[start : start + images])
        return y[..., :frames]

    def _convolve(self, x: torch.Tensor, y: torch.Tensor) -> None:
        # x1 to x4 of each four outputs; x0 is the x4 before, and x5 the x1 behind. Beyond the ends are zeros.
        (x1, x2, x3, x4), (y0, y1, y2, y3) = (image.unflatten(3, (-1, 4)).unbind(4) for image in (x, y))
        k0, k1, k2, k3, k4, k5 = self.kernels
        a, b = _packed(torch.sub(x4, x2, alpha=4)), _packed(torch.sub(x3, x1, alpha=4))
        part = a + b
        m1 = k1(part, self.bias)
        m2 = k2(torch.sub(a, b, out=part))
        a -= x2
        a[..., 1:].add_(x4[..., :-1], alpha=4)
        m0 = k0(a)
        b.neg_().sub_(x3, alpha=4)
        b[..., :-1] += x1[..., 1:]
        m5 = k5(b)
        c, d = torch.sub(x4, x2, out=a), torch.sub(x3, x1, out=b)
        m3 = k3(torch.add(c, d, alpha=2, out=part))
        m4 = k4(torch.sub(c, d, alpha=2, out=part))
        # The bias is in m1, and so once in each output.
        near_sum, near_difference = m1 + m2, m1.sub_(m2)
        far_sum, far_difference = m3 + m4, m3.sub_(m4)
        torch.add(m0.add_(near_sum), far_sum, out=y0)
        torch.add(near_difference, far_difference, alpha=2, out=y1)
        torch.add(near_sum, far_sum, alpha=4, out=y2)
        torch.add(m5.add_(near_difference), far_difference, alpha=8, out=y3)


def _packed(x: torch.Tensor) -> torch.Tensor:
    return x.contiguous(memory_format=torch.channels_last)
