"""Selects the triplets of a batch: `MINING[name](distances (n, n), utterances, options) -> Triplets`.

Row i of the batch is utterance i % utterances of speaker i // utterances. Shapes depend only on the size of the batch,
so that the host never waits for a GPU. Random draws use PyTorch's global generator of the device of `distances`.

Sources: Schroff et al., "FaceNet: a unified embedding for face recognition and clustering" (CVPR 2015), section 3.2
(semi-hard); Hermans et al., "In defense of the triplet loss for person re-identification" (arXiv 1703.07737),
section 2 (all, hard); Chung et al., "In defence of metric learning for speaker recognition" (Interspeech 2020),
section 2.2 (rank).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from vouch.base.errors import VouchError


class Triplets(NamedTuple):
    """Selected triplets; the tensors broadcast against each other to one entry per triplet.

    Attributes
    ----------
    anchor, positive, negative : (...) int64
        Indices of rows of the batch. Flattened, the triplets are ordered by anchor, then positive, then negative.
    counted : (...) bool or None
        Whether each triplet counts; None: all count.
    """

    anchor: torch.Tensor
    positive: torch.Tensor
    negative: torch.Tensor
    counted: torch.Tensor | None = None


class MiningOptions(NamedTuple):
    """Options of single strategies, see `vouch.losses.triplet.Triplet`; `margin` is a distance here."""

    margin: float
    hard_rank: int
    hard_prob: float


def every(distances: torch.Tensor, utterances: int, options: MiningOptions) -> Triplets:
    """Choose every pair of utterances of one speaker with every utterance of another.

    Index shapes are (n, 1, 1), (n, utterances - 1, 1) and (n, 1, n - utterances).
    """
    rows = torch.arange(len(distances), device=distances.device)
    place = rows[:, None] % utterances
    first = rows[:, None] - place
    positive = first + _without(rows[: utterances - 1], place, 1)
    negative = _without(rows[: len(rows) - utterances], first, utterances)
    return Triplets(rows[:, None, None], positive[:, :, None], negative[:, None, :])


def easy(distances: torch.Tensor, utterances: int, options: MiningOptions) -> Triplets:
    """Choose the triplets that are ordered correctly, d(a, p) <= d(a, n); there may be none."""
    triplets = every(distances, utterances, options)
    in_order = distances[triplets.anchor, triplets.positive] <= distances[triplets.anchor, triplets.negative]
    return triplets._replace(counted=in_order)


def closest_negative(distances: torch.Tensor, utterances: int, options: MiningOptions) -> Triplets:
    """Choose every pair of utterances of one speaker with the negative closest to its anchor."""
    triplets = every(distances, utterances, options)
    closest = distances[triplets.anchor, triplets.negative].argmin(dim=2, keepdim=True)
    return triplets._replace(negative=triplets.negative.gather(2, closest))


def hard(distances: torch.Tensor, utterances: int, options: MiningOptions) -> Triplets:
    """Choose for each anchor its farthest positive and its closest negative ("batch hard")."""
    triplets = closest_negative(distances, utterances, options)
    farthest = distances[triplets.anchor, triplets.positive].argmax(dim=1, keepdim=True)
    return triplets._replace(positive=triplets.positive.gather(1, farthest))


def rank(distances: torch.Tensor, utterances: int, options: MiningOptions) -> Triplets:
    """Take first utterances as anchors, second ones as positives and candidates, and draw negatives by rank.

    The negative is drawn from the `hard_rank` + 1 candidates closest to the anchor with probability `hard_prob`, and
    from all candidates otherwise.

    Raises
    ------
    VouchError
        Fewer than `hard_rank` + 2 speakers.
    """
    speakers, device = len(distances) // 2, distances.device
    if speakers < options.hard_rank + 2:
        raise VouchError(
            f"triplet mining up to hard_rank {options.hard_rank} needs batches of at least {options.hard_rank + 2}"
            f" speakers, not {speakers}; set hard_rank to at most {speakers - 2}, or train.batch_size to at least"
            f" {2 * (options.hard_rank + 2)}"
        )
    own = torch.eye(speakers, dtype=torch.bool, device=device)
    by_closeness = _candidates(distances).masked_fill(own, torch.inf).argsort(dim=1)
    among_hard = torch.randint(options.hard_rank + 1, (speakers, 1), device=device)
    among_all = torch.randint(speakers - 1, (speakers, 1), device=device)
    is_hard = torch.rand(speakers, 1, device=device) < options.hard_prob
    return _first_and_second(by_closeness.gather(1, torch.where(is_hard, among_hard, among_all))[:, 0])


def semihard(distances: torch.Tensor, utterances: int, options: MiningOptions) -> Triplets:
    """Take first utterances as anchors, second ones as positives and candidates, and draw negatives by distance.

    The negative is drawn from the candidates with d(a, p) < d(a, n) < d(a, p) + margin, or from all if there are none.
    """
    candidates = _candidates(distances)
    others = ~torch.eye(len(candidates), dtype=torch.bool, device=distances.device)
    own = candidates.diagonal()[:, None]
    wanted = others & (candidates > own) & (candidates < own + options.margin)
    wanted = torch.where(wanted.any(dim=1, keepdim=True), wanted, others)
    # The argmax of independent uniform numbers draws one of the wanted candidates with equal probability.
    return _first_and_second(torch.rand_like(candidates).masked_fill(~wanted, -1.0).argmax(dim=1))


def _without(numbers: torch.Tensor, first: torch.Tensor, count: int) -> torch.Tensor:
    """0, 1, 2, ... without the `count` numbers from `first` on: `(m,), (rows, 1) -> (rows, m)`."""
    return numbers + count * (numbers >= first)


def _candidates(distances: torch.Tensor) -> torch.Tensor:
    """Distances of first utterances to second ones: `(n, n) -> (speakers, speakers)`."""
    return distances[::2, 1::2]


def _first_and_second(negative: torch.Tensor) -> Triplets:
    """Combine first and second utterance of each speaker with the second of speaker `negative : (speakers,) int64`."""
    anchor = 2 * torch.arange(len(negative), device=negative.device)
    return Triplets(anchor, anchor + 1, 2 * negative + 1)


MINING: dict[str, Callable[[torch.Tensor, int, MiningOptions], Triplets]] = {
    "all": every,
    "hard": hard,
    "negative": closest_negative,
    "easy": easy,
    "rank": rank,
    "semihard": semihard,
}
# These strategies take exactly two utterances of each speaker.
PAIRS_ONLY = ("rank", "semihard")
