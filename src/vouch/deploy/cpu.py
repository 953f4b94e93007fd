"""Networks rearranged for inference: the same embeddings up to rounding, sooner.

Batch normalisation joins the convolution before it. On a CPU convolutions keep their weights in the order in which the
kernels of oneDNN read them and do what follows on them, and large ones take fewer multiplications by Winograd's
algorithm. Source: Lavin and Gray, "Fast algorithms for convolutional neural networks" (CVPR 2016), section 4.
"""

from __future__ import annotations

import copy
import functools
import itertools

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from vouch.encoder import Encoder
from vouch.layers.batch_norm import BatchNorm2d
from vouch.layers.se import SqueezeExcitation
from vouch.layers.shortcut import NarrowShortcut

# From so many positions x input channels x output channels on, the sums of Winograd's algorithm take less time than the
# multiplications it saves; with few channels they never do.
WINOGRAD_WORK, WINOGRAD_CHANNELS = 4_000_000, 64
# So many numbers are transformed at a time: they then stay in the caches.
WINOGRAD_BLOCK = 1 << 19
# For so many sizes of images a convolution knows the order of its weights.
KEPT_SIZES = 512
# The bytes of oneDNN's description of an order that mean nothing: what the alignment of its members leaves free.
HOLE = slice(108, 112)
# Where it evaluates polynomials, for m outputs at the first m + 1: with them rounding errors are among the least.
POINTS = (0, 1, -1, 2, -0.5, -2)


def rearrange(encoder: Encoder) -> Encoder:
    """Return a copy of a loaded encoder that gives the same embeddings, up to rounding, sooner.

    It is for extraction alone: see `rearranged`.
    """
    device = next(encoder.parameters()).device
    if device.type == "cuda":
        # Its ten bits of mantissa would make embeddings of one machine differ from those of another.
        torch.backends.cudnn.allow_tf32 = False
    faster = copy.deepcopy(encoder)
    faster.model = rearranged(encoder.model, device)
    return faster


def rearranged(network: nn.Module, device: torch.device) -> nn.Module:
    """Return a copy of a network that computes the same faster; it can be neither trained, saved, moved nor copied.

    Parameters
    ----------
    network
        In evaluation mode, on `device`. Modules name in `conv_chains` their convolutions, each followed by a batch
        normalisation, a ReLU or both, where each is called on the output of the one before and nothing else sees what
        is between; their children are called and not looked into. In an `nn.Sequential` a convolution and the batch
        normalisation behind it are such a chain.
    """
    network = copy.deepcopy(network).requires_grad_(False)
    chains = [(parent, chain) for parent in list(network.modules()) for chain in _chains(parent)]
    for parent, (conv, follower, *_) in chains:
        if isinstance(getattr(parent, follower), (nn.BatchNorm1d, nn.BatchNorm2d)):
            setattr(parent, conv, fuse_conv_bn_eval(getattr(parent, conv), getattr(parent, follower)))
            setattr(parent, follower, nn.Identity())
    if device.type != "cpu":
        return network
    for parent in list(network.modules()):
        for name, module in list(parent.named_children()):
            if type(module) in REPLACED:
                setattr(parent, name, REPLACED[type(module)](module))
            elif _can_be_packed(module):
                setattr(parent, name, PackedConv2d(module))
    for parent, (conv, *followers) in chains:
        packed = getattr(parent, conv)
        if isinstance(packed, PackedConv2d):
            for name in followers:
                packed.append(getattr(parent, name))
                setattr(parent, name, nn.Identity())
    for parent in network.modules():
        if hasattr(parent, "conv_chains"):
            for name, child in parent.named_children():
                if type(child) in (PackedConv2d, Gate, nn.ReLU, nn.Identity):
                    # Found before the submodule, and called without what `nn.Module` does around a call.
                    parent.__dict__[name] = child.forward
    return network


def _chains(module: nn.Module) -> list[tuple[str, ...]]:
    if type(module) is not nn.Sequential:
        return list(getattr(module, "conv_chains", ()))
    kinds = [type(child) for child in module]
    return [
        (str(index), str(index + 1))
        for index, pair in enumerate(itertools.pairwise(kinds))
        if pair in ((nn.Conv1d, nn.BatchNorm1d), (nn.Conv2d, BatchNorm2d), (NarrowShortcut, BatchNorm2d))
    ]


def _can_be_packed(module: nn.Module) -> bool:
    return (
        type(module) is nn.Conv2d
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
        and hasattr(torch.ops.mkldnn, "_get_mkldnn_serialized_md")
        and hasattr(torch._C._nn, "mkldnn_reorder_conv2d_weight")
    )


class ChannelAffine(nn.Module):
    """Batch normalisation that has learnt its statistics: `(batch, channels, bins, frames)` to the same shape."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        scale = (norm.running_var + norm.eps).rsqrt()
        scale = scale if norm.weight is None else scale * norm.weight
        shift = -norm.running_mean * scale
        self.scale = scale[:, None, None]
        self.shift = (shift if norm.bias is None else shift + norm.bias)[:, None, None]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scale and shift each channel."""
        return torch.addcmul(self.shift, x, self.scale)


class Gate(nn.Module):
    """Squeeze and excitation, and what goes past it, in few operations: as `SqueezeExcitation`."""

    def __init__(self, gate: SqueezeExcitation) -> None:
        super().__init__()
        squeeze, _, excite, _ = gate.fc
        for name, layer in (("squeeze", squeeze), ("excite", excite)):
            setattr(self, f"{name}_weight", layer.weight.detach().t().contiguous())
            setattr(self, f"{name}_bias", layer.bias.detach())

    def forward(
        self, x: torch.Tensor, mask: torch.Tensor | None = None, residual: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Scale each channel of `x`, and add `residual`; then `x` is overwritten."""
        sums = x.sum(tuple(range(2, x.ndim)))
        if mask is not None:
            sums *= mask.shape[1] / mask.sum(dim=1, keepdim=True)
        positions = x.shape[2:].numel()
        hidden = torch.addmm(self.squeeze_bias, sums, self.squeeze_weight, alpha=1 / positions).relu_()
        gate = torch.addmm(self.excite_bias, hidden, self.excite_weight).sigmoid_()
        gate = gate.view(len(gate), -1, *(1,) * (x.ndim - 2))
        return x * gate if residual is None else torch.addcmul(residual, x, gate, out=x)


REPLACED = {BatchNorm2d: ChannelAffine, SqueezeExcitation: Gate}


class PackedConv2d(nn.Module):
    """A convolution with packed weights: `(batch, channels, bins, frames)`, however they lie in memory."""

    # Which `vouch.layers.reflection.convolve` asks a convolution for.
    padding_mode = "zeros"

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        self.kernel = _PackedKernel(conv.weight, conv.bias, conv.padding, conv.stride, conv.dilation, conv.groups)
        plain = (conv.kernel_size, conv.stride, conv.padding, conv.dilation) == ((3, 3), (1, 1), (1, 1), (1, 1))
        is_wide = min(conv.in_channels, conv.out_channels) >= WINOGRAD_CHANNELS
        self.may_use_winograd = is_wide and plain and conv.groups == 1
        self.winograd: _Winograd | None = None
        self.with_relu = False
        self.shift, self.scale = None, None

    def append(self, follower: nn.Module) -> None:
        """Do at the end what `follower` does, a ReLU or then a `ChannelAffine`; `TypeError` for anything else."""
        if isinstance(follower, nn.ReLU) and self.shift is None:
            self.with_relu = True
        elif isinstance(follower, ChannelAffine) and self.shift is None:
            self.shift, self.scale = follower.shift, follower.scale
        elif not isinstance(follower, nn.Identity):
            raise TypeError(f"a convolution cannot take {type(follower).__name__} over here")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve."""
        if not self.may_use_winograd or x.numel() * self.conv.out_channels < WINOGRAD_WORK:
            y = self.kernel(x.contiguous(memory_format=torch.channels_last))
        else:
            if self.winograd is None or self.winograd.bins != x.shape[2]:
                self.winograd = _Winograd(self.conv, x.shape[2])
            y = self.winograd(x)
        if self.with_relu:
            # Not oneDNN's, which makes zeros of NaN.
            y.relu_()
        return y if self.shift is None else torch.addcmul(self.shift, y, self.scale, out=y)


class _PackedKernel:
    """A convolution of channels_last to the same, and its weights in the order in which oneDNN reads them.

    The order depends on the processor, the channels and the size of the images. Given another one, oneDNN puts the
    weights in order each time, which can take a hundred times as long as the convolution.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, *arguments: tuple[int, ...] | int) -> None:
        # Padding, stride, dilation, groups.
        self.arguments = [list(argument) if isinstance(argument, tuple) else argument for argument in arguments]
        self.weight, self.bias = weight.detach().contiguous(), bias
        self.orders: dict[bytes, torch.Tensor] = {}
        self.packed = functools.lru_cache(KEPT_SIZES)(self._pack)

    def _pack(self, size: torch.Size) -> torch.Tensor:
        packed = torch._C._nn.mkldnn_reorder_conv2d_weight(self.weight.to_mkldnn(), *self.arguments, size)
        description = torch.ops.mkldnn._get_mkldnn_serialized_md(packed).numpy().tobytes()
        # Most sizes have the same order.
        return self.orders.setdefault(description[: HOLE.start] + description[HOLE.stop :], packed)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.packed(x.shape)
        return torch.ops.mkldnn._convolution_pointwise(x, weight, self.bias, *self.arguments, "none", [], "")


class _Winograd:
    """A 3x3 convolution by F(m, 3) along the bins: m + 2 products for m outputs instead of 3 m.

    Outputs y are A ((G g) * (B x)) of taps g and inputs x; G g is known before. The products are a convolution over
    the frames, in as many groups of channels as there are products.
    """

    def __init__(self, conv: nn.Conv2d, bins: int) -> None:
        self.bins = bins
        self.outputs = min(range(2, len(POINTS)), key=lambda outputs: -(-bins // outputs) * (outputs + 2))
        after, taps, before = winograd_matrices(self.outputs)
        self.products, self.channels = len(taps), conv.out_channels
        weight = torch.einsum("pk,oikf->poif", taps, conv.weight.detach().double()).flatten(0, 1)[:, :, None]
        bias = None
        if conv.bias is not None:
            # The product at the point 1 goes into each output once.
            bias = torch.zeros(self.products, self.channels)
            bias[POINTS.index(1)] = conv.bias
        self.kernel = _PackedKernel(
            weight.float(), None if bias is None else bias.flatten(), (0, 1), (1, 1), (1, 1), self.products
        )
        self.before, self.after = before.float(), after.float()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        # All bins of a frame lie together, in the result too: what follows along the network need not copy.
        x = x.permute(0, 3, 2, 1)
        images, frames, bins, channels = x.shape
        step = max(1, WINOGRAD_BLOCK // (max(bins, self.products) * max(channels, self.channels)))
        if images * frames <= step:
            return self._convolve(x).permute(0, 3, 2, 1)
        y = x.new_empty(images, frames, bins, self.channels)
        at_once = max(1, step // frames)
        for given, found in zip(x.split(at_once), y.split(at_once), strict=True):
            for first in range(0, frames, step):
                # With its neighbours on both sides.
                start = max(first - 1, 0)
                block = self._convolve(given[:, start : first + step + 1])
                found[:, first : first + step] = block[:, first - start :][:, :step]
        return y.permute(0, 3, 2, 1)

    def _convolve(self, x: torch.Tensor) -> torch.Tensor:
        """`(images, frames, bins, channels)` to the same."""
        images, frames, bins, channels = x.shape
        x = x.reshape(-1, bins, channels)
        parts = []
        for first in range(0, bins, self.outputs):
            # Of the inputs from first - 1 to first + m those that there are; beyond the ends are zeros.
            start, stop = max(first - 1, 0), min(first + self.outputs + 1, bins)
            before = self.before[:, start - first + 1 : stop - first + 1]
            factors = torch.bmm(before.expand(len(x), -1, -1), x[:, start:stop])
            factors = factors.view(images, 1, frames, -1).permute(0, 3, 1, 2)
            products = self.kernel(factors).permute(0, 2, 3, 1).view(len(x), self.products, -1)
            after = self.after[: bins - first]
            parts.append(torch.bmm(after.expand(len(x), -1, -1), products))
        y = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        return y.view(images, frames, bins, -1)


def winograd_matrices(outputs: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return A `(m, m + 2)`, G `(m + 2, 3)` and B `(m + 2, m + 2)` of F(m, 3), in double precision.

    Three taps times a polynomial of m coefficients, evaluated at m + 1 points and infinity and interpolated; read
    backwards this gives m outputs of a filter (the construction of Toom and Cook, transposed).
    """
    points = POINTS[: outputs + 1]
    others = [[other for other in points if other != point] for point in points]
    scales = np.array([np.prod(np.subtract(point, rest)) for point, rest in zip(points, others, strict=True)])
    infinity = np.eye(1, outputs, outputs - 1)
    after = np.vstack([np.vander(points, outputs, increasing=True), infinity]).T
    taps = np.vstack([np.vander(points, 3, increasing=True) / scales[:, None], np.eye(1, 3, 2)])
    before = np.vstack([*(np.append(np.poly(rest)[::-1], 0) for rest in others), np.poly(points)[::-1]])
    return torch.from_numpy(after), torch.from_numpy(taps), torch.from_numpy(before)
