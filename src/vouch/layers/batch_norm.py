"""Batch normalisation of images with accurate statistics on a CPU.

torch's CPU kernel sums each channel of a channels_last image in float32, one value after the other. With hundreds of
thousands of values, the variance and the sums of the backward pass lose three to four digits; for contiguous images,
and on a GPU, the kernels add partial sums and keep them. Here the kernel gets each frame of a channel as a channel of
its own, so that it sums at most batch x bins values; the statistics of the frames are combined in float64.

Source: Ioffe and Szegedy, "Batch normalization" (ICML 2015), algorithm 1 and section 3; Chan, Golub and LeVeque,
"Algorithms for computing the sample variance" (The American Statistician, 1983), for combining variances of parts.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.autograd.function import FunctionCtx, once_differentiable


class BatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` with accurate statistics for channels_last images in training mode on a CPU."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise `(batch, channels, bins, frames) float`; the shape stays."""
        count = x.numel() // max(x.shape[1], 1)
        inexact = x.device.type == "cpu" and x.is_contiguous(memory_format=torch.channels_last)
        # torch itself reports too few values for a variance.
        if not (self.training and self.affine and self.track_running_stats and inexact and count > 1):
            return super().forward(x)
        y, mean, variance = _Normalisation.apply(x, self.weight, self.bias, self.eps)
        assert self.num_batches_tracked is not None and self.running_mean is not None and self.running_var is not None
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            share = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
            self.running_var.lerp_((variance * count / (count - 1)).to(self.running_var.dtype), share)
        return y


class _Context(FunctionCtx):
    """State that the forward pass saves for the backward pass."""

    saved_tensors: tuple[torch.Tensor, ...]
    needs_input_grad: tuple[bool, ...]
    eps: float


class _Normalisation(torch.autograd.Function):
    """Normalise channels_last images by their own statistics: `x, weight, bias, eps -> y, mean, variance`.

    Mean and variance, `(channels,) float64`, carry no gradients.
    """

    @staticmethod
    def forward(
        ctx: _Context, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        frames = x.shape[3]
        # The kernel wants running statistics, which are not used here; in float32 also for bfloat16 images.
        zeros, ones = _repeated(x, torch.zeros_like(weight), torch.ones_like(weight))
        means, variances = torch.batch_norm_update_stats(_wide(x), zeros, ones, 0.0)
        means, variances = means.double().view(frames, -1), variances.double().view(frames, -1)
        mean = means.mean(dim=0)
        variance = (variances + (means - mean).square()).mean(dim=0)
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, variance)
        return _standardised(x, mean, variance, weight, bias, eps), mean, variance

    @staticmethod
    @once_differentiable
    def backward(
        ctx: _Context, dy: torch.Tensor, *_: torch.Tensor
    ) -> tuple[torch.Tensor | None, torch.Tensor, torch.Tensor, None]:
        x, weight, mean, variance = ctx.saved_tensors
        dy = dy.contiguous(memory_format=torch.channels_last)
        frames, count = x.shape[3], x.numel() // x.shape[1]
        scale = (variance + ctx.eps).rsqrt()
        at_mean, per_scale = _repeated(x, mean, scale)
        # Sums over each channel of dy, and of dy times the standardised x: the gradients of bias and weight.
        _, d_weights, d_biases = torch.ops.aten.native_batch_norm_backward(
            _wide(dy), _wide(x), per_scale, None, None, at_mean, per_scale, True, ctx.eps, [False, True, True]
        )
        d_weight, d_bias = (part.double().view(frames, -1).sum(dim=0) for part in (d_weights, d_biases))
        if not ctx.needs_input_grad[0]:
            return None, d_weight.to(weight.dtype), d_bias.to(weight.dtype), None
        gain = weight.double() * scale
        dx = _standardised(x, mean, variance, -gain * d_weight / count, -gain * d_bias / count, ctx.eps)
        (gains,) = _repeated(x, gain)
        _wide(dx).addcmul_(_wide(dy), gains.to(dy.dtype)[None, :, None, None])
        return dx, d_weight.to(weight.dtype), d_bias.to(weight.dtype), None


def _wide(x: torch.Tensor) -> torch.Tensor:
    """View a channels_last `x : (batch, channels, bins, frames)` as `(1, frames * channels, batch * bins, 1)`."""
    batch, channels, bins, frames = x.shape
    return x.permute(0, 2, 3, 1).view(1, batch * bins, 1, frames * channels).permute(0, 3, 1, 2)


def _repeated(x: torch.Tensor, *per_channel: torch.Tensor) -> list[torch.Tensor]:
    """Repeat `(channels,)` numbers for each frame of `x`, in the channel order of `_wide`; float32 for bfloat16."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    return [numbers.to(dtype).repeat(x.shape[3]) for numbers in per_channel]


def _standardised(
    x: torch.Tensor,
    mean: torch.Tensor,
    variance: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    eps: float,
) -> torch.Tensor:
    """`(x - mean) / sqrt(variance + eps) * weight + bias` of a channels_last `x`; the others are `(channels,)`."""
    mean, variance, weight, bias = _repeated(x, mean, variance, weight, bias)
    # A new tensor, not a view, since layers that work in place may follow.
    y = torch.empty_like(x, memory_format=torch.channels_last)
    fixed = (_wide(x), weight, bias, mean, variance, False, 0.0, eps)
    if torch.compiler.is_compiling():  # the compiler does not support `out` arguments that are not contiguous
        _wide(y).copy_(torch.native_batch_norm(*fixed)[0])
        return y
    unused = mean.new_empty(0)
    torch.native_batch_norm(*fixed, out=(_wide(y), unused, unused.clone()))
    return y
