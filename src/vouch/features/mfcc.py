"""Kaldi's mel-frequency cepstral coefficients."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import ClassVar

import torch
from torch.amp.autocast_mode import is_autocast_available

from vouch.base.errors import VouchError
from vouch.features.base import FrontEnd
from vouch.features.fbank import Fbank
from vouch.features.mel import check_sizes


class Mfcc(FrontEnd):
    """Mel-frequency cepstral coefficients, the same as those of Kaldi's compute-mfcc-feats (feature-mfcc.cc).

    They are the orthonormal discrete cosine transform (DCT-II) of log mel filterbank energies, with liftering.
    Parameters that are not listed below are those of `vouch.features.fbank.Fbank`.

    Source: Davis and Mermelstein, "Comparison of parametric representations for monosyllabic word recognition in
    continuously spoken sentences", IEEE Transactions on Acoustics, Speech, and Signal Processing 28 (4), 1980.

    Parameters
    ----------
    num_mel_bins : int
        Number of triangles.
    num_ceps : int
        Number of coefficients, including the first.
    cepstral_lifter : float
        L in the factor 1 + L/2 sin(pi k / L) on coefficient k; 0: no liftering.
    use_energy : bool
        Whether to replace the first coefficient by the log energy of the frame.
    htk_compat : bool
        Whether the energy, or the first coefficient times sqrt(2), is the last dimension instead of the first.
    subtract_mean : bool
        Whether to subtract each dimension's mean over the utterance.

    Raises
    ------
    VouchError
        An option is out of range, or there are more triangles than the spectrum resolves or more coefficients than
        triangles.
    """

    tiny: ClassVar = {"sample_rate": 8000, "num_mel_bins": 8, "num_ceps": 5}

    def __init__(
        self,
        sample_rate: int = 16000,
        num_mel_bins: int = 23,
        num_ceps: int = 13,
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
        cepstral_lifter: float = 22.0,
        use_energy: bool = True,
        raw_energy: bool = True,
        energy_floor: float = 0.0,
        htk_compat: bool = False,
        subtract_mean: bool = False,
    ) -> None:
        super().__init__()
        check_sizes(sample_rate, num_mel_bins)
        if not 1 <= num_ceps <= num_mel_bins:
            raise VouchError(f"mfcc: num_ceps {num_ceps} is not from 1 to num_mel_bins, which is {num_mel_bins}")
        if cepstral_lifter < 0:
            raise VouchError(f"mfcc: cepstral_lifter {cepstral_lifter:g} is negative")
        self.sample_rate, self.dim = sample_rate, num_ceps
        self.use_energy, self.htk_compat, self.subtract_mean = use_energy, htk_compat, subtract_mean
        self.fbank = Fbank(
            sample_rate=sample_rate,
            num_mel_bins=num_mel_bins,
            low_freq=low_freq,
            high_freq=high_freq,
            frame_length=frame_length,
            frame_shift=frame_shift,
            window_type=window_type,
            blackman_coeff=blackman_coeff,
            preemphasis=preemphasis,
            remove_dc_offset=remove_dc_offset,
            round_to_power_of_two=round_to_power_of_two,
            snip_edges=snip_edges,
            dither=dither,
            use_energy=use_energy,
            raw_energy=raw_energy,
            energy_floor=energy_floor,
        )
        matrix = dct_matrix(num_mel_bins, num_ceps) * lifter(num_ceps, cepstral_lifter)
        if htk_compat and not use_energy:
            matrix[:, 0] *= math.sqrt(2)
        # Computed from the options, so not stored with a model's weights.
        self.register_buffer("dct", matrix.float(), persistent=False)

    @property
    def dither(self) -> float:
        """Standard deviation of the noise; unless it is 0, features are random."""
        return self.fbank.dither

    def output_length(self, samples: int) -> int:
        """Return the number of frames for `samples` input samples."""
        return self.fbank.output_length(samples)

    def forward(self, samples: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Compute the features of a batch of waveforms of equal length.

        Parameters
        ----------
        samples : (batch, samples) float32 in [-1, 1]
        generator : torch.Generator, optional
            Draws the dither, on the device of the samples. None: PyTorch's global generator.

        Returns
        -------
        (batch, frames, num_ceps) float32
        """
        bins = self.fbank(samples, generator)
        kind = samples.device.type
        with torch.autocast(kind, enabled=False) if is_autocast_available(kind) else nullcontext():
            # Under autocast the product would have only three digits.
            cepstra = bins[..., int(self.use_energy) :] @ self.dct
        if self.use_energy:
            cepstra[..., 0] = bins[..., 0]
        if self.htk_compat:
            cepstra = cepstra.roll(-1, dims=-1)
        return cepstra - cepstra.mean(dim=1, keepdim=True) if self.subtract_mean else cepstra


def dct_matrix(bins: int, coefficients: int) -> torch.Tensor:
    """Return the first columns of the orthonormal DCT-II.

    Returns
    -------
    (bins, coefficients) float64
        Column k is sqrt(2 / bins) cos(pi k (n + 1/2) / bins), and sqrt(1 / bins) for k = 0.
    """
    angle = (torch.arange(bins, dtype=torch.float64)[:, None] + 0.5) * torch.arange(coefficients) * (math.pi / bins)
    matrix = torch.cos(angle) * math.sqrt(2 / bins)
    matrix[:, 0] = math.sqrt(1 / bins)
    return matrix


def lifter(coefficients: int, strength: float) -> torch.Tensor:
    """Return the factors 1 + L/2 sin(pi k / L) of the coefficients, (coefficients,) float64; ones for L = 0."""
    order = torch.arange(coefficients, dtype=torch.float64)
    return 1 + strength / 2 * torch.sin(math.pi * order / strength) if strength else torch.ones_like(order)
