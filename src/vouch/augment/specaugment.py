"""SpecAugment: bands of frequencies and spans of time are hidden from a network (Park et al., Interspeech 2019)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from vouch.base.errors import VouchError


class SpecAugment:
    """Sets random bands and spans of features to 0, which is their mean once they are normalised.

    Parameters
    ----------
    time_masks, frequency_masks : int
        Spans of frames, and bands, of each utterance.
    time_width, frequency_width : int
        Greatest width of one, in frames and in bins; the width is drawn uniformly from 0 on.

    Raises
    ------
    VouchError
        A number is negative.
    """

    def __init__(
        self, time_masks: int = 1, time_width: int = 5, frequency_masks: int = 1, frequency_width: int = 8
    ) -> None:
        self.time_masks, self.time_width = time_masks, time_width
        self.frequency_masks, self.frequency_width = frequency_masks, frequency_width
        if min(time_masks, time_width, frequency_masks, frequency_width) < 0:
            raise VouchError("the numbers of spec_augment must not be negative")

    def draw(self, rng: np.random.Generator, rows: int, frames: int, bins: int) -> dict[str, np.ndarray]:
        """Draw where the masks of each utterance begin and end: arrays (rows, masks) of int64."""
        times = _spans(rng, rows, self.time_masks, self.time_width, frames)
        bands = _spans(rng, rows, self.frequency_masks, self.frequency_width, bins)
        return dict(zip(("first_frame", "last_frame", "first_bin", "last_bin"), (*times, *bands), strict=True))

    def apply(self, features: torch.Tensor, drawn: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Mask normalised features, (rows, frames, bins) float, as it was drawn."""
        frames = _covered(features.shape[1], drawn["first_frame"], drawn["last_frame"])
        bins = _covered(features.shape[2], drawn["first_bin"], drawn["last_bin"])
        return features.masked_fill(frames[:, :, None] | bins[:, None, :], 0)


def _spans(rng: np.random.Generator, rows: int, masks: int, width: int, extent: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw spans of at most `width` steps within `extent`: first steps, and those behind the last ones."""
    widths = rng.integers(0, min(width, extent) + 1, (rows, masks))
    first = (rng.random((rows, masks)) * (extent - widths + 1)).astype(np.int64)
    return first, first + widths


def _covered(extent: int, first: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    """Return which of `extent` steps lie in any of the spans of a row, (rows, extent) bool."""
    place = torch.arange(extent, device=first.device)
    return ((place >= first[..., None]) & (place < last[..., None])).any(dim=1)
