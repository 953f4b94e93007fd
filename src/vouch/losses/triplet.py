"""Triplet loss.

Sources: Schroff et al., "FaceNet: a unified embedding for face recognition and clustering" (CVPR 2015), equation 3;
Hermans et al., "In defense of the triplet loss for person re-identification" (arXiv 1703.07737), sections 2 and 3;
for speakers, Chung et al., "In defence of metric learning for speaker recognition" (Interspeech 2020), and Coria et
al., "A comparison of metric learning loss functions for end-to-end speaker verification" (SLSP 2020).
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from vouch.base.errors import VouchError, pick
from vouch.losses.base import LossOutput
from vouch.losses.distances import DISTANCES
from vouch.losses.groups import GroupedLoss
from vouch.losses.mining import MINING, PAIRS_ONLY, MiningOptions, Triplets

# Steepness of the sigmoid clamp, that of pyannote.audio.
SIGMOID_SCALE = 10.0


def _positive(difference: torch.Tensor, margin: float) -> torch.Tensor:
    return functional.relu(difference + margin)


def _sigmoid(difference: torch.Tensor, margin: float) -> torch.Tensor:
    return (SIGMOID_SCALE * (difference + margin)).sigmoid()


def _softmargin(difference: torch.Tensor, margin: float) -> torch.Tensor:
    return functional.softplus(difference)


CLAMPS = {"positive": _positive, "sigmoid": _sigmoid, "softmargin": _softmargin}


class Triplet(GroupedLoss):
    """An utterance must be closer to another one of its speaker than to one of another speaker, by a margin.

    The mean over triplets (anchor, positive, negative) of a function of d(a, p) - d(a, n).

    The defaults are what Hermans et al. found best. Published alternatives: mining "rank", metric "squared", clamp
    "positive", margin 0.1 (voxceleb_trainer), and mining "all", metric "cosine" or "angular", clamp "sigmoid"
    (pyannote.audio). Not the sigmoid with mining "hard" or "negative": at first these triplets are all in the wrong
    order, where it is flat, and on the demo corpus the loss stayed where all embeddings are alike, at
    sigmoid(10 margin).

    Parameters
    ----------
    embedding_dim, num_speakers : int
        See `SpeakerLoss`; the loss has no weights.
    utterances_per_speaker : int
        At least 2.
    mining : str
        Which triplets: "all"; "negative": each pair of one speaker with the closest negative; "hard": each anchor
        with its farthest positive and closest negative (the same, with two utterances of a speaker); "easy": those in
        the right order already. In these, every utterance is an anchor. "rank" and "semihard" take two utterances of
        a speaker, the first as the anchor and the second as the positive, and draw the negative among the second
        ones of the other speakers: "rank" with probability `hard_prob` from the `hard_rank` + 1 closest, else from
        all; "semihard" from those farther than the positive by less than the margin, or from all where there is none.
    metric : str
        "cosine", "euclidean", "angular" or "squared"; see `vouch.losses.distances`.
    clamp : str
        Of the difference d and the margin m: "positive", max(0, d + m); "sigmoid", the logistic function of
        10 (d + m); "softmargin", ln(1 + exp d), which has no margin.
    margin : float
        At least 0; also the width of the band of "semihard". A share of the largest distance, which is 2 ("cosine";
        "euclidean", if the vectors are of unit length) or pi ("angular"); with "squared" the plain number.
    hard_rank, hard_prob : int, float
        For "rank" alone; a batch must hold at least `hard_rank` + 2 speakers.

    Raises
    ------
    VouchError
        An unknown name, a number out of range, or mining by pairs with more than two utterances per speaker.
    """

    def __init__(
        self,
        embedding_dim: int,
        num_speakers: int,
        utterances_per_speaker: int = 2,
        mining: str = "hard",
        metric: str = "euclidean",
        clamp: str = "softmargin",
        margin: float = 0.2,
        hard_rank: int = 10,
        hard_prob: float = 0.5,
    ) -> None:
        super().__init__(embedding_dim, num_speakers, utterances_per_speaker)
        self.mine = pick(MINING, mining, "mining of triplet")
        self.distance = pick(DISTANCES, metric, "metric of triplet")
        self.clamp = pick(CLAMPS, clamp, "clamp of triplet")
        if mining in PAIRS_ONLY and utterances_per_speaker != 2:
            raise VouchError(
                f"triplet mining '{mining}' takes exactly 2 utterances per speaker, not {utterances_per_speaker}"
            )
        if not (margin >= 0 and math.isfinite(margin)):
            raise VouchError(f"margin must be a number from 0, not {margin}")
        if hard_rank < 0:
            raise VouchError(f"hard_rank must be at least 0, not {hard_rank}")
        if not 0 <= hard_prob <= 1:
            raise VouchError(f"hard_prob must be from 0 to 1, not {hard_prob}")
        self.options = MiningOptions(margin * self.distance.margin_unit, hard_rank, hard_prob)

    def compute(self, embeddings: torch.Tensor, labels: torch.Tensor) -> LossOutput:
        """See `SpeakerLoss.forward` and `grouped`; logits are `(triplets, 2)`: -d(a, p), the target, and -d(a, n).

        With mining "easy" the logits are those of all triplets: the easy ones are right by definition. Random draws
        are those of PyTorch's global generator of the embeddings' device.

        Raises
        ------
        VouchError
            Mining "rank" with too few speakers in the batch.
        """
        distances = self.distance.pairwise(self.grouped(embeddings, labels).flatten(0, 1))
        return self.triplet_loss(distances, self.mine(distances.detach(), self.utterances_per_speaker, self.options))

    def triplet_loss(self, distances: torch.Tensor, triplets: Triplets) -> LossOutput:
        """Compute the loss of chosen triplets from `distances : (n, n)`; 0 when none counts."""
        to_positive = distances[triplets.anchor, triplets.positive]
        to_negative = distances[triplets.anchor, triplets.negative]
        values = self.clamp(to_positive - to_negative, self.options.margin)
        if triplets.counted is None:
            loss = values.mean()
        else:
            loss = torch.where(triplets.counted, values, 0.0).sum() / triplets.counted.sum().clamp(min=1)
        pairs = torch.broadcast_tensors(to_positive, to_negative)
        logits = -torch.stack([distance.flatten() for distance in pairs], dim=1)
        return LossOutput(loss, logits, torch.zeros_like(logits[:, 0], dtype=torch.int64))
