"""Losses: `(embeddings (batch, dim), labels (batch,)) -> LossOutput(loss, logits, targets)`.

A new loss is one file beside this one and one line in `LOSSES`. Each loss is built as
`LOSSES[name](embedding_dim, num_speakers, **its own options)`, holds its own weights, and declares with
`utterances_per_speaker` and `distinct_speakers` what batches it needs. Angles are in radians.
"""

from vouch.losses.aamsoftmax import AAMSoftmax
from vouch.losses.amsoftmax import AMSoftmax
from vouch.losses.angleproto import AngleProto
from vouch.losses.base import LossOutput, SpeakerLoss
from vouch.losses.center import Center
from vouch.losses.coco import Coco
from vouch.losses.contrastive import Contrastive
from vouch.losses.ge2e import GE2E
from vouch.losses.proto import Proto
from vouch.losses.softmax import Softmax
from vouch.losses.softmaxproto import SoftmaxProto
from vouch.losses.subcenter_aamsoftmax import SubcenterAAMSoftmax
from vouch.losses.triplet import Triplet

LOSSES: dict[str, type[SpeakerLoss]] = {
    "softmax": Softmax,
    "amsoftmax": AMSoftmax,
    "aamsoftmax": AAMSoftmax,
    "subcenter_aamsoftmax": SubcenterAAMSoftmax,
    "ge2e": GE2E,
    "proto": Proto,
    "angleproto": AngleProto,
    "softmaxproto": SoftmaxProto,
    "triplet": Triplet,
    "contrastive": Contrastive,
    "center": Center,
    "coco": Coco,
}

__all__ = ["LOSSES", "LossOutput", "SpeakerLoss"]
