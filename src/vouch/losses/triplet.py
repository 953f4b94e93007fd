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

# Steepness of the sigmoid, as in pyannote.audio.
SIGMOID_SCALE = 10.0


def _positive(difference: torch.Tensor, margin: float) -> torch.Tensor:
    return functional.relu(difference + margin)


def _sigmoid(difference: torch.Tensor, margin: float) -> torch.Tensor:
    return (SIGMOID_SCALE * (difference + margin)).sigmoid()


def _softmargin(difference: torch.Tensor, margin: float) -> torch.Tensor:
    return functional.softplus(difference)


CLAMPS = {"positive": _positive, "sigmoid": _sigmoid, "softmargin": _softmargin}


class Triplet(GroupedLoss):
    """Makes the distance to an utterance of the same speaker smaller than to one of another speaker, by a margin.

    The loss is the mean over triplets (anchor, positive, negative) of a function of d(a, p) - d(a, n).

    The defaults are those that Hermans et al. found best. Published alternatives are mining "rank", metric "squared",
    clamp "positive", margin 0.1 (voxceleb_trainer), and mining "all", metric "cosine" or "angular", clamp "sigmoid"
    (pyannote.audio). Clamp "sigmoid" does not train with mining "hard" or "negative": at first these triplets are all
    ordered wrongly, where the sigmoid is flat. On the demo corpus all embeddings then stayed alike, with the loss at
    sigmoid(10 margin).

    Parameters
    ----------
    embedding_dim, num_speakers : int
        See `SpeakerLoss`; the loss has no weights.
    utterances_per_speaker : int
        At least 2.
    mining : str
        Choice of triplets. Every utterance is an anchor with "all"; "negative": each pair of one speaker with the
        closest negative; "hard": each anchor with its farthest positive and closest negative (the same as "negative"
        for two utterances of a speaker); and "easy": the triplets that are ordered correctly. "rank" and "semihard"
        need two utterances of a speaker, the first as anchor and the second as positive, and draw the negative from the
        second utterances of other speakers: "rank" from the `hard_rank` + 1 closest with probability `hard_prob`, else
        from all; "semihard" from those farther than the positive by less than the margin, or from all if there are
        none.
    metric : str
        "cosine", "euclidean", "angular" or "squared"; see `vouch.losses.distances`.
    clamp : str
        Function of the difference d and the margin m: "positive", max(0, d + m); "sigmoid", the logistic function of
        10 (d + m); "softmargin", ln(1 + exp d), without a margin.
    margin : float
        At least 0; also the width of the band of "semihard". Relative to the largest distance, which is 2 ("cosine";
        "euclidean", if the vectors have unit length) or pi ("angular"); absolute with "squared".
    hard_rank, hard_prob : int, float
        Only for "rank"; a batch must hold at least `hard_rank` + 2 speakers.

    Raises
    ------
    VouchError
        A name is unknown, a number out of range, or the mining takes pairs but gets more than two utterances a speaker.
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

        With mining "easy" the logits are those of all triplets, since the easy ones are correct by definition. Random
        draws use PyTorch's global generator of the embeddings' device.

        Raises
        ------
        VouchError
            Mining "rank" has too few speakers in the batch.
        """
        distances = self.distance.pairwise(self.grouped(embeddings, labels).flatten(0, 1))
        return self.triplet_loss(distances, self.mine(distances.detach(), self.utterances_per_speaker, self.options))

    def triplet_loss(self, distances: torch.Tensor, triplets: Triplets) -> LossOutput:
        """Compute the loss of selected triplets from `distances : (n, n)`; 0 if none counts."""
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
