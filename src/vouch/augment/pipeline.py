"""An augmentation from the crop to the features: speed, effects on waveforms, and masks on features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from vouch.augment.base import Step, as_tensors, run
from vouch.augment.specaugment import SpecAugment
from vouch.augment.speed import Speed
from vouch.augment.tree import Tree


class Plan(NamedTuple):
    """What is drawn for a batch.

    Attributes
    ----------
    speeds : list of Tensor
        Rows that are played at each speed, (rows,) int64 of each; empty without speeds.
    steps : list of Step
        Effects on waveforms, in order.
    masks : dict of str to Tensor
        Masks on features; empty without any.
    """

    speeds: list[torch.Tensor]
    steps: list[Step]
    masks: Mapping[str, torch.Tensor]

    def to(self, device: torch.device) -> Plan:
        """Return the plan with its tensors on a device."""
        masks = {name: value.to(device, non_blocking=True) for name, value in self.masks.items()}
        speeds = [rows.to(device, non_blocking=True) for rows in self.speeds]
        return Plan(speeds, [step.to(device) for step in self.steps], masks)

    def pinned(self) -> Plan:
        """Return the plan in page-locked memory, from which copies to a GPU are asynchronous."""
        masks = {name: value.pin_memory() for name, value in self.masks.items()}
        return Plan([rows.pin_memory() for rows in self.speeds], [step.pinned() for step in self.steps], masks)


class Augmentation:
    """Draws what happens to batches, and does it.

    Parameters
    ----------
    speed : Speed or None
    tree : Tree
    masks : SpecAugment or None
    """

    def __init__(self, speed: Speed | None, tree: Tree, masks: SpecAugment | None) -> None:
        self.speed, self._tree, self._masks = speed, tree, masks

    def samples_needed(self, samples: int) -> int:
        """Return how many samples crops must have to become so many."""
        return samples if self.speed is None else self.speed.samples_needed(samples)

    def speakers(self, names: Sequence[str]) -> list[str]:
        """Return the names of the classes: the speakers, and again at each other speed where those are new speakers."""
        return list(names) if self.speed is None else self.speed.speakers(names)

    def plan(
        self, rng: np.random.Generator, labels: np.ndarray, samples: int, shape: tuple[int, ...], speakers: int
    ) -> tuple[Plan, np.ndarray]:
        """Draw what happens to a batch.

        Parameters
        ----------
        rng : np.random.Generator
        labels : (batch,) int64
            Speakers; crops of one speaker in a batch are played at one speed.
        samples : int
            Length of the waveforms that come out.
        shape : tuple of int
            Frames and bins of the features; empty where the network takes waveforms, which have no masks.
        speakers : int
            Number of speakers before those of other speeds.

        Returns
        -------
        plan : Plan
            On the CPU.
        labels : (batch,) int64
            The classes.
        """
        rows = np.arange(len(labels))
        speeds: list[torch.Tensor] = []
        if self.speed is not None:
            choice = self.speed.choose(rng, labels)
            speeds = self.speed.groups(choice)
            labels = self.speed.labels(labels, choice, speakers)
        steps = self._tree.plan(rng, rows, samples)
        masks = self._masks.draw(rng, len(rows), *shape) if self._masks is not None and len(shape) == 2 else {}
        return Plan(speeds, steps, as_tensors(masks)), labels

    def change_waves(self, waves: torch.Tensor, plan: Plan, samples: int) -> torch.Tensor:
        """Play crops and change them, as planned.

        Parameters
        ----------
        waves : (batch, samples_needed) float32
            May be changed in place.
        plan : Plan
            On the device of the waveforms.
        samples : int
            Length of what comes out.

        Returns
        -------
        (batch, samples) float32
        """
        if self.speed is not None:
            waves = self.speed.apply(waves, plan.speeds, samples)
        return run(plan.steps, waves)

    def mask(self, features: torch.Tensor, plan: Plan) -> torch.Tensor:
        """Mask normalised features, (batch, frames, bins) float, as planned."""
        return features if self._masks is None or not plan.masks else self._masks.apply(features, plan.masks)
