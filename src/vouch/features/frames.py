"""Cuts waveforms into frames as Kaldi does: dither, mean removal, pre-emphasis, window, and energies."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import nn

from vouch.base.errors import VouchError, pick
from vouch.features.mel import BLOCK_FRAMES, blocks_of, check_sizes

# Floor of energies, float32's epsilon as in Kaldi.
EPSILON = torch.finfo(torch.float32).eps
# Number of frames whose samples are prepared at once, before they are cut into blocks, which bounds the memory.
STRETCH_FRAMES = 8000


class FrameBlock(NamedTuple):
    """A block of consecutive frames.

    Attributes
    ----------
    first, last : int
        Indices of the first frame and of the frame after the last.
    windowed : (batch, last - first, fft_size) float32
        Windowed frames, times `input_scale` and padded with zeros; the next block overwrites them.
    log_energy : (batch, last - first, 1) float32 or None
        None if it was not requested.
    """

    first: int
    last: int
    windowed: torch.Tensor
    log_energy: torch.Tensor | None


class _Cut(NamedTuple):
    """The frames of a signal, as views.

    Attributes
    ----------
    plain, emphasised : (batch, frames, window_size) float32
        Frames before and after pre-emphasis.
    means : (batch, frames, 1) float32
        Means to subtract from the plain frames.
    """

    plain: torch.Tensor
    emphasised: torch.Tensor
    means: torch.Tensor


class Frames(nn.Module):
    """Cuts waveforms into frames ready for a Fourier transform (feature-window.cc).

    The options are those of `vouch.features.fbank.Fbank`.

    Raises
    ------
    VouchError
        An option is out of range, or the window is unknown.
    """

    window: torch.Tensor

    def __init__(
        self,
        sample_rate: int,
        frame_length: float,
        frame_shift: float,
        window_type: str,
        blackman_coeff: float,
        preemphasis: float,
        remove_dc_offset: bool,
        round_to_power_of_two: bool,
        snip_edges: bool,
        dither: float,
        raw_energy: bool,
        energy_floor: float,
        input_scale: float,
    ) -> None:
        super().__init__()
        per_ms = sample_rate * 0.001
        check_sizes(sample_rate, None, frame_length=per_ms * frame_length, frame_shift=per_ms * frame_shift)
        self.window_size = int(sample_rate * 0.001 * frame_length)
        self.shift = int(sample_rate * 0.001 * frame_shift)
        if self.window_size < 2 or self.shift < 1:
            raise VouchError("frame_length and frame_shift must be positive: at least two samples and one")
        if not 0 <= preemphasis <= 1 or dither < 0 or energy_floor < 0:
            raise VouchError("preemphasis must be from 0 to 1, dither and energy_floor not negative")
        if input_scale <= 0:
            raise VouchError(f"input_scale must be positive, not {input_scale:g}")
        self.fft_size = 1 << (self.window_size - 1).bit_length() if round_to_power_of_two else self.window_size
        self.snip_edges, self.dither = snip_edges, dither
        self.preemphasis, self.remove_dc_offset = preemphasis, remove_dc_offset
        self.raw_energy, self.energy_floor, self.input_scale = raw_energy, energy_floor, input_scale
        window = pick(WINDOWS, window_type, "window_type")(self.window_size, blackman_coeff)
        self.starts_at_zero = bool(window[0] == 0)
        # Computed from the options, so not stored with a model's weights.
        self.register_buffer("window", (window * input_scale).float(), persistent=False)

    def num_frames(self, samples: int) -> int:
        """Return the number of frames for `samples` input samples."""
        if self.snip_edges:
            return 0 if samples < self.window_size else 1 + (samples - self.window_size) // self.shift
        return (samples + self.shift // 2) // self.shift

    def blocks(
        self, samples: torch.Tensor, needs_energy: bool, generator: torch.Generator | None
    ) -> Iterator[FrameBlock]:
        """Yield the frames block by block, so that the data of a block stay in the cache.

        Parameters
        ----------
        samples : (batch, samples) float32 in [-1, 1]
        needs_energy : bool
            Whether to compute the energies of the frames.
        generator : torch.Generator or None
            Draws the dither, on the device of the samples. None: PyTorch's global generator.
        """
        frames = self.num_frames(samples.shape[-1])
        padded = samples.new_empty(len(samples), min(frames, BLOCK_FRAMES), self.fft_size)
        padded[..., self.window_size :] = 0
        for start, stop in blocks_of(frames, STRETCH_FRAMES):
            cut = self._cut(self._noisy(self._stretch(samples, start, stop), generator))
            for first, last in blocks_of(stop - start, BLOCK_FRAMES):
                block = padded[:, : last - first]
                energy = self._fill(block[..., : self.window_size], cut, slice(first, last), needs_energy)
                yield FrameBlock(start + first, start + last, block, energy)

    def _cut(self, signal: torch.Tensor) -> _Cut:
        """Cut a signal into frames.

        Pre-emphasis, mean removal and window are linear, so the signal is pre-emphasised once instead of in each
        overlapping frame. What remains to correct in a frame is the pre-emphasised mean, and the first sample, which
        has no predecessor in the frame.
        """
        emphasised = torch.empty_like(signal)
        emphasised[:, :1] = signal[:, :1]
        torch.sub(signal[:, 1:], signal[:, :-1], alpha=self.preemphasis, out=emphasised[:, 1:])
        plain, emphasised = (each.unfold(-1, self.window_size, self.shift) for each in (signal, emphasised))
        means = self._frame_means(signal) if self.remove_dc_offset else signal.new_zeros(1).expand(*plain.shape[:2], 1)
        return _Cut(plain, emphasised, means)

    def _fill(self, out: torch.Tensor, cut: _Cut, rows: slice, needs_energy: bool) -> torch.Tensor | None:
        """Write some of the windowed frames to `out`; return the logarithms of their energies if requested."""
        plain, emphasised, means = (each[:, rows] for each in cut)
        keep = 1.0 - self.preemphasis
        torch.sub(emphasised, keep * means, out=out)
        if not self.starts_at_zero:
            out[..., :1] = keep * (plain[..., :1] - means)
        out.mul_(self.window)
        if not needs_energy:
            return None
        return self._log_energy((plain - means).mul_(self.input_scale) if self.raw_energy else out)

    def _stretch(self, samples: torch.Tensor, first: int, last: int) -> torch.Tensor:
        """Return the samples of frames `first` to `last`.

        Beyond its ends the signal is mirrored, x[-1 - i] = x[i]; frame t is centred on sample (t + 1/2) shift.
        """
        length = samples.shape[-1]
        start = first * self.shift - (0 if self.snip_edges else self.window_size // 2 - self.shift // 2)
        end = start + (last - first - 1) * self.shift + self.window_size
        before, after = max(0, -start), max(0, end - length)
        if max(before, after) > length:
            # The signal is shorter than the margin, so it is mirrored repeatedly, with period 2 * length.
            index = torch.arange(start, end, device=samples.device) % (2 * length)
            return samples[:, torch.where(index < length, index, 2 * length - 1 - index)]
        inside = samples[:, max(0, start) : min(end, length)]
        if not before and not after:
            return inside
        return torch.cat([samples[:, :before].flip(-1), inside, samples[:, length - after :].flip(-1)], dim=-1)

    def _noisy(self, signal: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        """Add the dither; see `vouch.features.fbank.Fbank`."""
        if self.dither == 0:
            return signal
        noise = torch.randn(signal.shape, generator=generator, dtype=signal.dtype, device=signal.device)
        return noise.mul_(self.dither / self.input_scale).add_(signal)

    def _log_energy(self, frames: torch.Tensor) -> torch.Tensor:
        energy = frames.square().sum(dim=-1, keepdim=True)
        return energy.clamp_(min=max(EPSILON, self.energy_floor)).log_()

    def _frame_means(self, samples: torch.Tensor) -> torch.Tensor:
        """Return the means of the frames, `(batch, frames, 1)`, from sums of blocks that overlapping frames share."""
        block = math.gcd(self.window_size, self.shift)
        whole = samples.shape[-1] // block * block
        sums = samples[:, :whole].reshape(len(samples), -1, block).sum(dim=-1)
        frames = sums.unfold(-1, self.window_size // block, self.shift // block)
        return frames.sum(dim=-1, keepdim=True) / self.window_size


def _cosine(size: int, periods: int = 1) -> torch.Tensor:
    return torch.cos(2 * math.pi * periods * torch.arange(size, dtype=torch.float64) / (size - 1))


def _blackman(size: int, coeff: float) -> torch.Tensor:
    return coeff - 0.5 * _cosine(size) + (0.5 - coeff) * _cosine(size, 2)


# Windows as functions of the number of samples and the coefficient of the Blackman window: (samples,) float64.
WINDOWS = {
    "povey": lambda size, _: (0.5 - 0.5 * _cosine(size)).clamp(min=0).pow(0.85),
    "hanning": lambda size, _: 0.5 - 0.5 * _cosine(size),
    "hamming": lambda size, _: 0.54 - 0.46 * _cosine(size),
    "rectangular": lambda size, _: torch.ones(size, dtype=torch.float64),
    "sine": lambda size, _: torch.sin(math.pi * torch.arange(size, dtype=torch.float64) / (size - 1)),
    "blackman": _blackman,
}
