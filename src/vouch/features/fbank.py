"""Kaldi's log mel filterbanks."""

from __future__ import annotations

import math

import torch
from torch import nn

from vouch.errors import VouchError, pick
from vouch.features.mel import BandSums, frame_blocks

# Kaldi works on 16-bit integers and floors energies at float32's epsilon on that scale.
INT16_SCALE = 32768.0
EPSILON = torch.finfo(torch.float32).eps


class Fbank(nn.Module):
    """Log mel filterbank energies as Kaldi's compute-fbank-feats gives them with dither 0 (feature-fbank.cc).

    Every frame has its mean removed, is pre-emphasised and windowed; the power spectrum is summed under
    triangles that are linear in mel(f) = 1127 ln(1 + f / 700), and the natural logarithm is taken.

    Parameters
    ----------
    sample_rate : Hz
    num_mel_bins : number of triangles
    low_freq : lower edge of the first triangle, Hz
    high_freq : upper edge of the last triangle, Hz; 0 or less is counted down from half the sampling rate
    frame_length, frame_shift : milliseconds
    window_type : "povey", "hamming", "hanning" or "rectangular"
    preemphasis : coefficient of the previous sample
    remove_dc_offset : subtract each frame's mean
    snip_edges : only frames that lie wholly inside the signal; otherwise one a frame shift, mirrored at the ends

    Raises
    ------
    VouchError : an option out of range, or more triangles than the spectrum resolves
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        num_mel_bins: int = 80,
        low_freq: float = 20.0,
        high_freq: float = 0.0,
        frame_length: float = 25.0,
        frame_shift: float = 10.0,
        window_type: str = "povey",
        preemphasis: float = 0.97,
        remove_dc_offset: bool = True,
        snip_edges: bool = False,
    ) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.dim = num_mel_bins
        self.window_size = int(sample_rate * 0.001 * frame_length)
        self.shift = int(sample_rate * 0.001 * frame_shift)
        self.snip_edges = snip_edges
        self.preemphasis = preemphasis
        self.remove_dc_offset = remove_dc_offset
        if self.window_size < 2 or self.shift < 1 or num_mel_bins < 1:
            raise VouchError("fbank: frame_length, frame_shift and num_mel_bins must be positive")
        self.fft_size = 1 << (self.window_size - 1).bit_length()
        window = pick(WINDOWS, window_type, "window_type")(self.window_size)
        top = high_freq if high_freq > 0 else sample_rate / 2 + high_freq
        weights = mel_weights(num_mel_bins, self.fft_size, sample_rate, low_freq, top)
        # Fixed by the options: rebuilt, not stored with a model's weights.
        self.register_buffer("window", window, persistent=False)
        self.bands = BandSums(weights)

    def num_frames(self, samples: int) -> int:
        """Return the number of frames that `samples` samples give."""
        if self.snip_edges:
            return 0 if samples < self.window_size else 1 + (samples - self.window_size) // self.shift
        return (samples + self.shift // 2) // self.shift

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Compute the features of a batch of waveforms of one length.

        Parameters
        ----------
        samples : (batch, samples) float32 in [-1, 1]

        Returns
        -------
        (batch, frames, num_mel_bins) float32
        """
        frames = self.num_frames(samples.shape[-1])
        if frames == 0:
            return samples.new_empty(len(samples), 0, self.dim)
        if not self.snip_edges:
            samples = self._mirror_edges(samples, frames)
        blocks = [
            self._energies(samples[:, first * self.shift : (last - 1) * self.shift + self.window_size])
            for first, last in frame_blocks(frames)
        ]
        return torch.cat(blocks, dim=1).clamp_(min=EPSILON).log_()

    def _energies(self, samples: torch.Tensor) -> torch.Tensor:
        """Mel energies of the frames that fit into the samples: `(batch, samples) -> (batch, frames, bins)`."""
        spectrum = torch.fft.rfft(self._windowed_frames(samples * INT16_SCALE))
        return self.bands(spectrum.real.square().addcmul_(spectrum.imag, spectrum.imag))

    def _windowed_frames(self, samples: torch.Tensor) -> torch.Tensor:
        """Cut into frames, zero-padded to the transform's size, with mean removal, pre-emphasis and window applied.

        All three are linear, so the signal is pre-emphasised once instead of in each overlapping frame; what that
        leaves to correct in a frame is the pre-emphasised mean, and its first sample, which has no predecessor.
        """
        emphasised = samples.clone()
        emphasised[:, 1:].sub_(samples[:, :-1], alpha=self.preemphasis)
        cut = emphasised.unfold(-1, self.window_size, self.shift)
        padded = samples.new_zeros(*cut.shape[:2], self.fft_size)
        out = padded[..., : self.window_size]
        keep = 1.0 - self.preemphasis
        if self.remove_dc_offset:
            mean = self._frame_means(samples)
            torch.sub(cut, keep * mean, out=out)
        else:
            mean = 0.0
            out.copy_(cut)
        if self.window[0] != 0:
            out[..., :1] = keep * (samples.unfold(-1, 1, self.shift)[:, : out.shape[1]] - mean)
        out.mul_(self.window)
        return padded

    def _frame_means(self, samples: torch.Tensor) -> torch.Tensor:
        """Means of the frames, `(batch, frames, 1)`: each sum is made of blocks that overlapping frames share."""
        block = math.gcd(self.window_size, self.shift)
        whole = samples.shape[-1] // block * block
        sums = samples[:, :whole].reshape(len(samples), -1, block).sum(dim=-1)
        frames = sums.unfold(-1, self.window_size // block, self.shift // block)
        return frames.sum(dim=-1, keepdim=True) / self.window_size

    def _mirror_edges(self, samples: torch.Tensor, frames: int) -> torch.Tensor:
        """Extend the signal so that frame t is centred on sample (t + 1/2) shift: x[-1 - i] = x[i] before the start."""
        length = samples.shape[-1]
        before = self.window_size // 2 - self.shift // 2
        after = max(0, (frames - 1) * self.shift + self.window_size - before - length)
        if max(before, after) <= length:
            return torch.cat([samples[:, :before].flip(-1), samples, samples[:, length - after :].flip(-1)], dim=-1)
        # Shorter than its own margin: mirrored again and again, a walk of period 2 * length.
        index = torch.arange(-before, length + after, device=samples.device) % (2 * length)
        return samples[:, torch.where(index < length, index, 2 * length - 1 - index)]


def mel_weights(bins: int, fft_size: int, sample_rate: float, low: float, high: float) -> torch.Tensor:
    """Return Kaldi's triangular mel weights (mel-computations.cc); the bin at half the sampling rate is unused.

    Parameters
    ----------
    bins : number of triangles
    fft_size : points of the Fourier transform
    sample_rate, low, high : Hz

    Returns
    -------
    (fft_size // 2 + 1, bins) float32

    Raises
    ------
    VouchError : the edges are out of order, or a triangle covers no point of the spectrum
    """
    if not 0 <= low < high <= sample_rate / 2:
        raise VouchError(f"fbank: needs 0 <= low_freq < high_freq <= {sample_rate / 2:g} Hz, not {low:g} and {high:g}")
    low_mel, high_mel = (1127.0 * math.log(1.0 + edge / 700.0) for edge in (low, high))
    step = (high_mel - low_mel) / (bins + 1)
    left = low_mel + step * torch.arange(bins, dtype=torch.float64)
    frequency = torch.arange(fft_size // 2, dtype=torch.float64) * sample_rate / fft_size
    mel = 1127.0 * torch.log(1.0 + frequency / 700.0)
    rising = (mel[:, None] - left) / step
    weights = torch.minimum(rising, 2.0 - rising).clamp(min=0.0)
    if (weights.sum(dim=0) == 0).any():
        raise VouchError(
            f"fbank: num_mel_bins {bins} is too large for {fft_size} spectrum points at {sample_rate:g} Hz"
        )
    return torch.cat([weights, weights.new_zeros(1, bins)]).float()


def _cosine(size: int) -> torch.Tensor:
    return torch.cos(2 * math.pi * torch.arange(size, dtype=torch.float64) / (size - 1))


WINDOWS = {
    "povey": lambda size: (0.5 - 0.5 * _cosine(size)).clamp(min=0).pow(0.85).float(),
    "hanning": lambda size: (0.5 - 0.5 * _cosine(size)).float(),
    "hamming": lambda size: (0.54 - 0.46 * _cosine(size)).float(),
    "rectangular": lambda size: torch.ones(size),
}
