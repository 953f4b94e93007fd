"""Weighted sum of several losses over the same embeddings, such as a classification and a metric loss."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from vouch.base.errors import VouchError, nearest
from vouch.losses.base import LossOutput, SpeakerLoss


class WeightedSum(SpeakerLoss):
    """Weighted sum of losses; logits and targets, and so the accuracy, are those of the first one.

    Each loss is a submodule under its name, with its weights in the state dict as `name.key`. If a loss needs groups of
    utterances per speaker, the batch holds them, and the other losses get the same batch.

    Parameters
    ----------
    embedding_dim, num_speakers : int
        See `SpeakerLoss`; the same as those of the parts.
    parts : mapping of str to SpeakerLoss
        At least one loss, by name.
    weights : mapping of str to float
        Positive factor of each loss.

    Raises
    ------
    VouchError
        There is no part, the names differ, a weight is not positive and finite, or parts that need distinct speakers
        need different numbers of utterances.
    """

    def __init__(
        self,
        embedding_dim: int,
        num_speakers: int,
        parts: Mapping[str, SpeakerLoss],
        weights: Mapping[str, float],
    ) -> None:
        super().__init__(embedding_dim, num_speakers)
        _check_weights(parts, weights)
        self.weights = {name: float(weights[name]) for name in parts}
        for name, part in parts.items():
            self.add_module(name, part)
        sizes = {name: part.utterances_per_speaker for name, part in parts.items() if part.distinct_speakers}
        if len(set(sizes.values())) > 1:
            found = ", ".join(f"{name} {size}" for name, size in sizes.items())
            raise VouchError(f"the parts of a loss must take equally many utterances per speaker, not {found}")
        if sizes:
            self.distinct_speakers, self.utterances_per_speaker = True, next(iter(sizes.values()))

    def compute(self, embeddings: torch.Tensor, labels: torch.Tensor) -> LossOutput:
        """See `SpeakerLoss.forward`; logits and targets are those of the first part."""
        outputs = [self.get_submodule(name)(embeddings, labels) for name in self.weights]
        total = sum(weight * output.loss for weight, output in zip(self.weights.values(), outputs, strict=True))
        return LossOutput(total, outputs[0].logits, outputs[0].targets)


def _check_weights(parts: Mapping[str, SpeakerLoss], weights: Mapping[str, float]) -> None:
    """Raise unless every part has a positive weight, and every weight a part."""
    if not parts:
        raise VouchError("a sum of losses needs at least one part")
    for name, weight in weights.items():
        if name not in parts:
            raise VouchError(f"weight of '{name}', which is no part of the loss{nearest(name, parts)}")
        if not (weight > 0 and math.isfinite(weight)):
            raise VouchError(f"the weight of {name} must be a positive number, not {weight}")
    missing = [name for name in parts if name not in weights]
    if missing:
        raise VouchError(f"no weight for part {', '.join(missing)} of the loss")
