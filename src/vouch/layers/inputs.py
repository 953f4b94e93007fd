"""What every network does with its input before the first layer: check it, and mark its real frames."""

from __future__ import annotations

import torch

from vouch.base.errors import VouchError


def check_features(
    features: torch.Tensor,
    lengths: torch.Tensor | None,
    num_bins: int,
    min_frames: int,
) -> None:
    """Raise unless a network for `num_bins` bins and at least `min_frames` frames can take the batch.

    Parameters
    ----------
    features : (batch, frames, bins) float
    lengths : (batch,) int64, optional
        Real frames of each utterance. Their values are checked on the CPU only: on a GPU the check would make
        the host wait for the device at every step.
    num_bins, min_frames : int
        What the network declares.

    Raises
    ------
    VouchError
        The shape is not (batch, frames, num_bins), an utterance is shorter than `min_frames`, or a length
        exceeds the number of frames.
    """
    if features.ndim != 3 or features.shape[2] != num_bins:
        raise VouchError(f"the network takes (batch, frames, {num_bins}), not {tuple(features.shape)}")
    _check_lengths(features, lengths, min_frames, "frames")


def check_waveforms(waveforms: torch.Tensor, lengths: torch.Tensor | None, min_samples: int) -> None:
    """Raise unless a network for waveforms of at least `min_samples` samples can take the batch.

    Parameters
    ----------
    waveforms : (batch, samples) float
    lengths : (batch,) int64, optional
        Real samples of each utterance; see `check_features`.
    min_samples : int
        What the network declares as `min_frames`.

    Raises
    ------
    VouchError
        The shape is not (batch, samples), an utterance is shorter than `min_samples`, or a length exceeds the
        number of samples.
    """
    if waveforms.ndim != 2:
        raise VouchError(f"the network takes waveforms (batch, samples), not {tuple(waveforms.shape)}")
    _check_lengths(waveforms, lengths, min_samples, "samples")


def _check_lengths(x: torch.Tensor, lengths: torch.Tensor | None, minimum: int, unit: str) -> None:
    """Check the extent of `x` along its second axis, and what is said to be real of it."""
    extent = x.shape[1]
    shortest = longest = extent
    if lengths is not None:
        if lengths.shape != x.shape[:1]:
            raise VouchError(f"{len(x)} utterances need as many lengths, not {tuple(lengths.shape)}")
        if lengths.device.type == "cpu" and lengths.numel():
            shortest, longest = int(lengths.min()), int(lengths.max())
    if shortest < minimum:
        raise VouchError(f"an utterance has {shortest} {unit}, the network needs at least {minimum}")
    if longest > extent:
        raise VouchError(f"an utterance is said to have {longest} {unit}, but the batch holds only {extent}")


def length_mask(lengths: torch.Tensor, frames: int) -> torch.Tensor:
    """Mark the real frames of a padded batch.

    Parameters
    ----------
    lengths : (batch,) int64
    frames : int
        Frames of the padded batch.

    Returns
    -------
    mask : (batch, frames) bool
        True on real frames, False on padding.

    Examples
    --------
    >>> length_mask(torch.tensor([1, 3]), 3).int().tolist()
    [[1, 0, 0], [1, 1, 1]]
    """
    return torch.arange(frames, device=lengths.device) < lengths[:, None]


def as_image(features: torch.Tensor, lengths: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Turn features into images of one channel whose padding is cleared.

    Parameters
    ----------
    features : (batch, frames, bins) float
    lengths : (batch,) int64, optional

    Returns
    -------
    image : (batch, 1, bins, frames) float
        In channels_last, which the layers keep: their kernels are faster in it on CPUs and on tensor cores. The
        strides are always those of channels_last: torch takes an image of one channel for either layout, and the
        layers would then work in whichever the caller's strides happen to resemble.
    mask : (batch, frames) bool, or None without lengths
    """
    mask = None if lengths is None else length_mask(lengths.to(features.device), features.shape[1])
    spectrum = clear_padding(features.transpose(1, 2), mask).contiguous()
    return spectrum[..., None].permute(0, 3, 1, 2), mask


def strided_mask(mask: torch.Tensor | None, stride: int) -> torch.Tensor | None:
    """Real frames after a 'same' convolution, which centres its output frame t on input frame stride * t."""
    return None if mask is None else mask[:, ::stride]


def clear_padding(x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Zero the padded frames, so that a convolution sees there what it sees beyond the end of an utterance.

    Parameters
    ----------
    x : (batch, ..., frames) float
        Whatever its padded frames hold, even NaN.
    mask : (batch, frames) bool, optional
        True on real frames; without it all frames are real.

    Returns
    -------
    (batch, ..., frames) float

    Examples
    --------
    >>> clear_padding(torch.ones(1, 2, 3), torch.tensor([[True, True, False]])).tolist()
    [[[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]]]
    """
    if mask is None:
        return x
    return x.masked_fill(~mask.reshape(len(mask), *(1 for _ in x.shape[1:-1]), -1), 0.0)


def clear_computed(x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Zero the padded frames of what a layer has just computed: `clear_padding`, many times faster.

    Parameters
    ----------
    x : (batch, ..., frames) float
        Finite everywhere. Without gradients it is overwritten: nothing else may still need it.
    mask : (batch, frames) bool, optional
        True on real frames; without it all frames are real.

    Returns
    -------
    (batch, ..., frames) float
    """
    if mask is None:
        return x
    factors = mask.reshape(len(mask), *(1 for _ in x.shape[1:-1]), -1)
    return x * factors if torch.is_grad_enabled() else x.mul_(factors)
