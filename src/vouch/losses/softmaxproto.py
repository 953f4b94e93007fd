"""Softmax cross-entropy plus angular prototypical loss.

Source: Kwon et al., "The ins and outs of speaker recognition: lessons from VoxSRC 2020" (ICASSP 2021).
"""

from __future__ import annotations

from vouch.losses.angleproto import AngleProto
from vouch.losses.softmax import Softmax
from vouch.losses.weighted_sum import WeightedSum


class SoftmaxProto(WeightedSum):
    """Sum of `Softmax` over all utterances and `AngleProto` over the speakers; the accuracy is that of the softmax.

    Parameters
    ----------
    embedding_dim, num_speakers : int
        See `SpeakerLoss`.
    utterances_per_speaker : int
        At least 2.
    softmax_weight, angleproto_weight : float
        Factors on the two parts, positive.

    Raises
    ------
    VouchError
        Fewer than two utterances per speaker, or a weight that is not positive.
    """

    def __init__(
        self,
        embedding_dim: int,
        num_speakers: int,
        utterances_per_speaker: int = 2,
        softmax_weight: float = 1.0,
        angleproto_weight: float = 1.0,
    ) -> None:
        parts = {
            "softmax": Softmax(embedding_dim, num_speakers),
            "angleproto": AngleProto(embedding_dim, num_speakers, utterances_per_speaker),
        }
        weights = {"softmax": softmax_weight, "angleproto": angleproto_weight}
        super().__init__(embedding_dim, num_speakers, parts, weights)
