"""Networks: `(batch, frames, bins)` features to `(batch, embedding_dim)` embeddings.

A new network is one file beside this one and one line in `MODELS`. Each declares `input_kind`, `num_bins`,
`embedding_dim` and `min_frames`, and takes optional `lengths : (batch,) int64` so that padding cannot change
an embedding.
"""

from torch import nn

from vouch.models.lstm import GE2ELSTM
from vouch.models.resnetse34l import ResNetSE34L
from vouch.models.xvector import XVector

MODELS: dict[str, type[nn.Module]] = {
    "resnetse34l": ResNetSE34L,
    "xvector": XVector,
    "lstm": GE2ELSTM,
}
