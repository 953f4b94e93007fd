"""Log mel (or linear) spectra of a short-time Fourier transform, as in PyTorch and librosa."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from vouch.base.errors import VouchError, pick
from vouch.features.base import FrontEnd
from vouch.features.mel import BLOCK_FRAMES, BandSums, blocks_of, check_sizes, row_blocks, triangles


class LogMel(FrontEnd):
    """Short-time spectra, optionally summed under mel triangles and on a logarithmic scale.

    The defaults are the front end of voxceleb_trainer without pre-emphasis; other options give those of the GE2E code
    bases, of Resemblyzer and of SpeechBrain (see `conf/features`). Kaldi's front end differs in nearly everything; see
    `vouch.features.fbank`.

    Parameters
    ----------
    sample_rate : int
        Sampling rate in Hz.
    num_mel_bins : int or None
        Number of triangles; None: the linear spectrum of n_fft // 2 + 1 points.
    n_fft : int
        Points of the Fourier transform.
    low_freq : float
        Lower edge of the first triangle in Hz.
    high_freq : float
        Upper edge of the last triangle in Hz; 0 or less is relative to half the sampling rate.
    frame_length : float
        Length of the window in milliseconds; it is centred within the n_fft points.
    frame_shift : float
        Shift of the frames in milliseconds.
    window_type : str
        "hann" or "hamming", periodic.
    padding : str
        Extension of the signal by n_fft // 2 samples at both ends, so that frame t is centred on sample t * shift:
        "reflect" (x[-i] = x[i], repeatedly if the signal is shorter than that) or "zeros"; "none" uses only frames of
        n_fft samples that lie completely inside the signal.
    preemphasis : float
        Coefficient of the previous sample; the first sample uses the second one (reflection).
    input_scale : float
        Factor on the samples; 32768 for networks that were trained on 16-bit integers.
    spectrum : "power" or "magnitude"
    mel_scale : "htk" or "slaney"
    mel_norm : str
        "none" or "area", see `vouch.features.mel.triangles`.
    mel_falling : str
        "corner" or "mirror", see `vouch.features.mel.triangles`.
    log : "natural", "log10", "decibel" (10 log10) or "none"
    log_offset : float
        Added before the logarithm; with 0, silence still gives finite values.
    log_floor : float
        Smallest value whose logarithm is taken.
    dynamic_range : float, optional
        Largest distance below the utterance's maximum, on the scale of the logarithm; smaller values are raised to it.
        None: no limit.

    Raises
    ------
    VouchError
        An option is out of range, or there are more triangles than the spectrum resolves.
    """

    window: torch.Tensor
    bands: nn.Module

    tiny: ClassVar = {"sample_rate": 8000, "num_mel_bins": 8, "n_fft": 256}

    def __init__(
        self,
        sample_rate: int = 16000,
        num_mel_bins: int | None = 40,
        n_fft: int = 512,
        low_freq: float = 0.0,
        high_freq: float = 0.0,
        frame_length: float = 25.0,
        frame_shift: float = 10.0,
        window_type: str = "hamming",
        padding: str = "reflect",
        preemphasis: float = 0.0,
        input_scale: float = 1.0,
        spectrum: str = "power",
        mel_scale: str = "htk",
        mel_norm: str = "none",
        mel_falling: str = "corner",
        log: str = "natural",
        log_offset: float = 1e-6,
        log_floor: float = 0.0,
        dynamic_range: float | None = None,
    ) -> None:
        super().__init__()
        per_ms = sample_rate / 1000
        check_sizes(
            sample_rate, num_mel_bins, n_fft=n_fft, frame_length=per_ms * frame_length, frame_shift=per_ms * frame_shift
        )
        self.sample_rate, self.n_fft = sample_rate, n_fft
        self.shift = int(sample_rate * frame_shift / 1000)
        window_size = int(sample_rate * frame_length / 1000)
        if not 2 <= window_size <= n_fft or self.shift < 1:
            raise VouchError(
                f"logmel: frame_length {frame_length:g} ms and frame_shift {frame_shift:g} ms are {window_size} and"
                f" {self.shift} samples; needs 2 to n_fft = {n_fft}, and at least 1"
            )
        if input_scale <= 0 or log_offset < 0:
            raise VouchError("logmel: input_scale must be positive, log_offset not negative")
        if log_floor < 0 or (dynamic_range is not None and dynamic_range <= 0):
            raise VouchError("logmel: log_floor must not be negative, dynamic_range must be positive")
        self.margin = pick(PADDINGS, padding, "padding")(n_fft)
        self.pads_zeros = padding == "zeros"
        self.preemphasis = preemphasis
        self.magnitude = pick({"power": False, "magnitude": True}, spectrum, "spectrum")
        self.log = pick(LOGARITHMS, log, "log")
        self.log_offset, self.log_floor = log_offset, max(log_floor, torch.finfo(torch.float32).tiny)
        self.dynamic_range = dynamic_range
        window = torch.zeros(n_fft)
        start = (n_fft - window_size) // 2
        window[start : start + window_size] = pick(WINDOWS, window_type, "window_type")(window_size)
        # Scaling the window saves a pass over the samples. It follows from the options, so it is not stored.
        self.register_buffer("window", input_scale * window, persistent=False)
        self.dim, self.bands = n_fft // 2 + 1, nn.Identity()
        if num_mel_bins is not None:
            top = high_freq if high_freq > 0 else sample_rate / 2 + high_freq
            weights = triangles(num_mel_bins, n_fft, sample_rate, low_freq, top, mel_scale, mel_norm, mel_falling)
            self.dim, self.bands = num_mel_bins, BandSums(weights)

    def output_length(self, samples: int) -> int:
        """Return the number of frames for `samples` input samples."""
        inside = samples + 2 * self.margin - self.n_fft
        return 0 if samples == 0 or inside < 0 else 1 + inside // self.shift

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Compute the features of a batch of waveforms of equal length.

        Parameters
        ----------
        samples : (batch, samples) float32 in [-1, 1]

        Returns
        -------
        (batch, frames, dim) float32
        """
        frames = self.output_length(samples.shape[-1])
        features = samples.new_empty(len(samples), frames, self.dim)
        for top, bottom in row_blocks(features):
            for first, last in blocks_of(frames, BLOCK_FRAMES):
                features[top:bottom, first:last] = self._block(samples[top:bottom], first, last)
        if self.dynamic_range is not None and frames:
            features = torch.maximum(features, features.amax(dim=(1, 2), keepdim=True) - self.dynamic_range)
        return features

    def _block(self, samples: torch.Tensor, first: int, last: int) -> torch.Tensor:
        """Return the features of frames `first` to `last`: `(batch, samples) -> (batch, last - first, dim)`."""
        start = first * self.shift - self.margin
        signal = self._signal(samples, start, start + (last - first - 1) * self.shift + self.n_fft)
        transform = torch.fft.rfft(signal.unfold(-1, self.n_fft, self.shift) * self.window)
        spectrum = transform.real.square().addcmul_(transform.imag, transform.imag)
        if self.magnitude:
            spectrum = spectrum.sqrt_()
        energies = self.bands(spectrum)
        if self.log is None:
            return energies
        return self.log((energies + self.log_offset).clamp_(min=self.log_floor))

    def _signal(self, samples: torch.Tensor, first: int, last: int) -> torch.Tensor:
        """Return samples `first` to `last` of the pre-emphasised, extended signal."""
        # Sample 0 belongs to the extension, because its predecessor is a reflected sample.
        inner, end = max(first, 1), min(last, samples.shape[-1])
        inside = self._emphasised(samples[:, inner:end], samples[:, inner - 1 : end - 1])
        if (inner, end) == (first, last):
            return inside
        return torch.cat([self._beyond(samples, first, inner), inside, self._beyond(samples, end, last)], dim=-1)

    def _beyond(self, samples: torch.Tensor, first: int, last: int) -> torch.Tensor:
        """Return samples `first` to `last` of the same signal at any positions; meant for few samples."""
        length = samples.shape[-1]
        place = torch.arange(first, last, device=samples.device)
        source = _reflected(place, length)
        values = self._emphasised(samples[:, source], samples[:, _reflected(source - 1, length)])
        return values.masked_fill((place < 0) | (place >= length), 0.0) if self.pads_zeros else values

    def _emphasised(self, samples: torch.Tensor, previous: torch.Tensor) -> torch.Tensor:
        return torch.sub(samples, previous, alpha=self.preemphasis) if self.preemphasis else samples


def _reflected(place: torch.Tensor, length: int) -> torch.Tensor:
    """Map any positions to positions inside `length` samples, by reflection with period 2 (length - 1)."""
    period = max(2 * (length - 1), 1)
    place = place % period
    return torch.where(place < length, place, period - place)


# Number of samples by which each end is extended.
PADDINGS = {"reflect": lambda n_fft: n_fft // 2, "zeros": lambda n_fft: n_fft // 2, "none": lambda n_fft: 0}
WINDOWS = {
    "hann": lambda size: torch.hann_window(size, dtype=torch.float64).float(),
    "hamming": lambda size: torch.hamming_window(size, dtype=torch.float64).float(),
}
LOGARITHMS = {
    "natural": torch.Tensor.log_,
    "log10": torch.Tensor.log10_,
    "decibel": lambda energies: energies.log10_().mul_(10),
    "none": None,
}
