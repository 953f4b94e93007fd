"""Kaldi's log mel filterbanks."""

from __future__ import annotations

import math
from typing import ClassVar

import torch

from vouch.base.errors import VouchError
from vouch.features.base import FrontEnd
from vouch.features.frames import EPSILON, Frames
from vouch.features.mel import BandSums, check_edges, check_sizes, row_blocks


class Fbank(FrontEnd):
    """Log mel filterbank energies, the same as those of Kaldi's compute-fbank-feats (feature-fbank.cc).

    From each frame the mean is subtracted; pre-emphasis and a window are applied. The power spectrum is summed under
    triangles that are linear in mel(f) = 1127 ln(1 + f / 700), followed by the natural logarithm.

    Parameters
    ----------
    sample_rate : int
        Sampling rate in Hz.
    num_mel_bins : int
        Number of triangles.
    low_freq : float
        Lower edge of the first triangle in Hz.
    high_freq : float
        Upper edge of the last triangle in Hz; 0 or less is relative to half the sampling rate.
    frame_length, frame_shift : float
        Length and shift of the frames in milliseconds.
    window_type : "povey", "hamming", "hanning", "blackman", "sine" or "rectangular"
    blackman_coeff : float
        Constant term of the Blackman window.
    preemphasis : float
        Coefficient of the previous sample.
    remove_dc_offset : bool
        Whether to subtract each frame's mean.
    round_to_power_of_two : bool
        Whether to pad frames with zeros to the next power of two before the Fourier transform.
    snip_edges : bool
        Whether to use only frames that lie completely inside the signal; otherwise there is a frame for each shift, and
        the signal is mirrored at its ends.
    dither : float
        Standard deviation of the Gaussian noise that is added to the scaled samples; by default, 1 is one step of
        16-bit integers. Each sample gets one random number, while Kaldi draws one for each frame that contains the
        sample; the noise within a frame has the same distribution.
    use_power : bool
        Whether to use the power spectrum; otherwise its square root.
    use_log_fbank : bool
        Whether to take the logarithm.
    use_energy : bool
        Whether to add a dimension, the first, with the log energy of the frame.
    raw_energy : bool
        Whether that energy is computed before pre-emphasis and window; otherwise after them.
    energy_floor : float
        Floor of the energies of the scaled samples.
    htk_compat : bool
        Whether the energy is the last dimension instead of the first.
    subtract_mean : bool
        Whether to subtract each dimension's mean over the utterance.
    input_scale : float
        Factor on the samples before everything else: 32768, as Kaldi reads 16-bit integers, or 1, as in programs that
        pass samples in [-1, 1] to torchaudio. It shifts the logarithms, and with them the floor (1.2e-7) of quiet
        bands.

    Raises
    ------
    VouchError
        An option is out of range, or there are more triangles than the spectrum resolves.
    """

    tiny: ClassVar = {"sample_rate": 8000, "num_mel_bins": 8}

    def __init__(
        self,
        sample_rate: int = 16000,
        num_mel_bins: int = 80,
        low_freq: float = 20.0,
        high_freq: float = 0.0,
        frame_length: float = 25.0,
        frame_shift: float = 10.0,
        window_type: str = "povey",
        blackman_coeff: float = 0.42,
        preemphasis: float = 0.97,
        remove_dc_offset: bool = True,
        round_to_power_of_two: bool = True,
        snip_edges: bool = False,
        dither: float = 0.0,
        use_power: bool = True,
        use_log_fbank: bool = True,
        use_energy: bool = False,
        raw_energy: bool = True,
        energy_floor: float = 0.0,
        htk_compat: bool = False,
        subtract_mean: bool = False,
        input_scale: float = 32768.0,
    ) -> None:
        super().__init__()
        check_sizes(sample_rate, num_mel_bins)
        self.sample_rate = sample_rate
        self.dim = num_mel_bins + use_energy
        self.frames = Frames(
            sample_rate,
            frame_length,
            frame_shift,
            window_type,
            blackman_coeff,
            preemphasis,
            remove_dc_offset,
            round_to_power_of_two,
            snip_edges,
            dither,
            raw_energy,
            energy_floor,
            input_scale,
        )
        self.use_power, self.use_log_fbank, self.subtract_mean = use_power, use_log_fbank, subtract_mean
        self.use_energy = use_energy
        # Positions of the energy and of the triangles among the dimensions.
        self._energy = slice(num_mel_bins, None) if htk_compat else slice(0, 1)
        self._bins = slice(0, num_mel_bins) if htk_compat or not use_energy else slice(1, None)
        top = high_freq if high_freq > 0 else sample_rate / 2 + high_freq
        weights = mel_weights(num_mel_bins, self.frames.fft_size, sample_rate, low_freq, top)
        # The triangles sum squares of real and imaginary parts, so each weight occurs twice.
        self.bands = BandSums(weights.repeat_interleave(2, dim=0) if use_power else weights)

    @property
    def dither(self) -> float:
        """Standard deviation of the noise; unless it is 0, features are random."""
        return self.frames.dither

    def output_length(self, samples: int) -> int:
        """Return the number of frames for `samples` input samples."""
        return self.frames.num_frames(samples)

    def forward(self, samples: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Compute the features of a batch of waveforms of equal length.

        Parameters
        ----------
        samples : (batch, samples) float32 in [-1, 1]
        generator : torch.Generator, optional
            Draws the dither, on the device of the samples. None: PyTorch's global generator.

        Returns
        -------
        (batch, frames, dim) float32
        """
        out = samples.new_empty(len(samples), self.output_length(samples.shape[-1]), self.dim)
        for first, last in row_blocks(out):
            self._fill(out[first:last], samples[first:last], generator)
        return out - out.mean(dim=1, keepdim=True) if self.subtract_mean else out

    def _fill(self, out: torch.Tensor, samples: torch.Tensor, generator: torch.Generator | None) -> None:
        """Write the features of waveforms to `out`, without subtracting means."""
        for block in self.frames.blocks(samples, self.use_energy, generator):
            spectrum = torch.fft.rfft(block.windowed)
            # Squaring interleaved real and imaginary parts is four times as fast as squaring one after the other.
            bins = self.bands(torch.view_as_real(spectrum).square_().flatten(-2) if self.use_power else spectrum.abs())
            rows = out[:, block.first : block.last]
            rows[..., self._bins] = bins.clamp_(min=EPSILON).log_() if self.use_log_fbank else bins
            if block.log_energy is not None:
                rows[..., self._energy] = block.log_energy


def mel_weights(bins: int, fft_size: int, sample_rate: float, low: float, high: float) -> torch.Tensor:
    """Return Kaldi's triangular mel weights (mel-computations.cc); the bin at half the sampling rate has weight 0.

    Parameters
    ----------
    bins : int
        Number of triangles.
    fft_size : int
        Points of the Fourier transform.
    sample_rate, low, high : float
        Sampling rate, lowest and highest edge in Hz.

    Returns
    -------
    (fft_size // 2 + 1, bins) float32

    Raises
    ------
    VouchError
        The edges are out of order, or a triangle covers no point of the spectrum.
    """
    check_edges(low, high, sample_rate)
    low_mel, high_mel = (1127.0 * math.log(1.0 + edge / 700.0) for edge in (low, high))
    step = (high_mel - low_mel) / (bins + 1)
    left = low_mel + step * torch.arange(bins, dtype=torch.float64)
    frequency = torch.arange(fft_size // 2, dtype=torch.float64) * sample_rate / fft_size
    mel = 1127.0 * torch.log(1.0 + frequency / 700.0)
    rising = (mel[:, None] - left) / step
    weights = torch.minimum(rising, 2.0 - rising).clamp(min=0.0)
    if (weights.sum(dim=0) == 0).any():
        raise VouchError(f"num_mel_bins {bins} is too large for {fft_size} spectrum points at {sample_rate:g} Hz")
    return torch.cat([weights, weights.new_zeros(1, bins)]).float()
