"""Turns a batch of pieces of utterances into the input of the network, on the device: augmentation and front end."""

from __future__ import annotations

import numpy as np
import torch

from vouch.augment.pipeline import Augmentation, Plan
from vouch.encoder import Encoder
from vouch.features.base import FrontEnd
from vouch.training.data import Batch, TrainingSet

FULL_SCALE = 32768


class TrainingInput:
    """What happens to a batch between the store and the network.

    Parameters
    ----------
    encoder : Encoder
        The network; its clock counts the length of the crops.
    data : TrainingSet
        Features, or waveforms, of which features are computed here if the network takes those.
    crop_seconds : float
        Length of a training example in seconds.
    augmentation : Augmentation or None
    device : torch.device

    Attributes
    ----------
    length : int
        Length of a training example, in steps of the training set's clock.
    piece : int
        Length of what is read for it, which is longer where it may be played faster.
    speakers : list of str
        Names of the classes: the speakers of the training set, and those of other speeds.
    """

    def __init__(
        self,
        encoder: Encoder,
        data: TrainingSet,
        crop_seconds: float,
        augmentation: Augmentation | None,
        device: torch.device,
    ) -> None:
        self._device, self._augmentation = device, augmentation
        self._front_end: FrontEnd | None = None
        steps = encoder.clock.count(crop_seconds)
        self.length, self._shape = steps, (steps, *encoder.step_shape)
        if data.clock.unit != encoder.clock.unit:
            assert encoder.config.front_end is not None
            self._front_end = encoder.config.front_end.build().to(device)
            self.length = samples_for(self._front_end, steps)
        self.piece = self.length if augmentation is None else augmentation.samples_needed(self.length)
        self._data_speakers = len(data.speakers)
        self.speakers = data.speakers if augmentation is None else augmentation.speakers(data.speakers)

    def draw(self, batch: Batch, rng: np.random.Generator, pin: bool = False) -> Batch:
        """Draw the augmentation of a batch that `TrainingSet.gather` has read; the labels become those of the classes.

        Parameters
        ----------
        batch : Batch
        rng : np.random.Generator
        pin : bool
            See `TrainingSet.gather`.
        """
        if self._augmentation is None:
            return batch
        plan, labels = self._augmentation.plan(rng, batch.labels.numpy(), self.length, self._shape, self._data_speakers)
        return Batch(batch.inputs, torch.from_numpy(labels), plan.pinned() if pin else plan)

    @torch.no_grad()
    def prepare(self, batch: Batch) -> tuple[torch.Tensor, Plan | None]:
        """Return the input of the encoder, and the plan of the batch, both on the device.

        Returns
        -------
        inputs : (batch, frames, num_bins) or (batch, samples) float32
        plan : Plan or None
        """
        inputs = batch.inputs.to(self._device, non_blocking=True)
        if inputs.dtype == torch.int16:
            inputs = inputs.float().mul_(1 / FULL_SCALE)
        plan = None if batch.plan is None else batch.plan.to(self._device)
        if self._augmentation is not None and plan is not None:
            inputs = self._augmentation.change_waves(inputs, plan, self.length)
        return inputs if self._front_end is None else self._front_end(inputs), plan

    def mask(self, normalized: torch.Tensor, plan: Plan | None) -> torch.Tensor:
        """Mask normalised features, if that was planned."""
        return normalized if self._augmentation is None or plan is None else self._augmentation.mask(normalized, plan)


def samples_for(front_end: FrontEnd, frames: int) -> int:
    """Return the least number of samples of which a front end makes so many frames."""
    most = 1
    while front_end.output_length(most) < frames:
        most *= 2
    least = most // 2
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (least, middle) if front_end.output_length(middle) >= frames else (middle, most)
    return most
