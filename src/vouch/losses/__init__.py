"""Losses: `(embeddings (batch, dim), labels (batch,)) -> LossOutput(loss, logits, targets)`.

A new loss is one file beside this one and one line in `LOSSES`. Each is built as
`LOSSES[name](embedding_dim, num_speakers, **its own options)`, owns its weights, and says through
`utterances_per_speaker` and `distinct_speakers` what batches it needs. Angles are in radians.
"""

from vouch.losses.aamsoftmax import AAMSoftmax
from vouch.losses.base import LossOutput, SpeakerLoss
from vouch.losses.ge2e import GE2E
from vouch.losses.softmax import Softmax

LOSSES: dict[str, type[SpeakerLoss]] = {
    "softmax": Softmax,
    "aamsoftmax": AAMSoftmax,
    "ge2e": GE2E,
}

__all__ = ["LOSSES", "LossOutput", "SpeakerLoss"]
