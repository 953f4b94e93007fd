"""The LSTM d-vector network trained with the generalised end-to-end loss.

Source: Wan et al., "Generalized end-to-end loss for speaker verification" (ICASSP 2018), section 3.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from vouch.base.errors import VouchError, pick
from vouch.models.base import SpeakerNetwork

NORM_FLOOR = 1e-8
# Whether the layers of the LSTM have projections of their own.
PROJECTIONS = {"last": False, "every": True}


class GE2ELSTM(SpeakerNetwork):
    """Stacked LSTM; the top layer's output at the last frame, through an affine layer, scaled to unit length.

    The output is taken at the last real frame; zeros stay zeros. With 40 bins 12,134,656 parameters, or 4,729,088 with
    a projection in every layer; 2.38 or 0.93 GMAC for 200 frames. There is no batch normalisation: in training, too,
    padding changes nothing.

    Parameters
    ----------
    num_bins : int
        Frequency bins of the features.
    embedding_dim : int
    hidden_size : int
        Width of each LSTM layer.
    num_layers : int
    projection : "last" or "every"
        "last": the affine layer alone reduces the width, as in the public implementations. "every": each LSTM layer
        also projects its output to `embedding_dim`, which the next layer and the next frame see, as in the paper.
    relu : bool
        Clip the embeddings to positive numbers before they are scaled, as Resemblyzer and Real-Time-Voice-Cloning do.

    Raises
    ------
    VouchError
        An unknown projection, or one that does not reduce the width.
    """

    tiny: ClassVar = {"num_bins": 8, "embedding_dim": 8, "hidden_size": 12, "num_layers": 2}

    def __init__(
        self,
        num_bins: int,
        embedding_dim: int = 256,
        hidden_size: int = 768,
        num_layers: int = 3,
        projection: str = "last",
        relu: bool = False,
    ) -> None:
        super().__init__()
        self.num_bins, self.embedding_dim = num_bins, embedding_dim
        self.relu = relu
        projected = pick(PROJECTIONS, projection, "projection")
        if projected and embedding_dim >= hidden_size:
            raise VouchError(
                f"a projection in every layer needs a hidden_size above {embedding_dim}, not {hidden_size}"
            )
        # The name of the public implementations, so that their state dicts load as they are.
        self.LSTM_stack = nn.LSTM(
            num_bins, hidden_size, num_layers, batch_first=True, proj_size=embedding_dim if projected else 0
        )
        self.projection = nn.Linear(embedding_dim if projected else hidden_size, embedding_dim)
        for name, parameter in self.LSTM_stack.named_parameters():
            if name.startswith("weight"):
                nn.init.xavier_normal_(parameter)
            else:
                nn.init.zeros_(parameter)

    def embed(self, features: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        outputs, _ = self.LSTM_stack(features)
        if mask is None:
            last = outputs[:, -1]
        else:
            last = outputs[torch.arange(len(outputs), device=outputs.device), mask.sum(dim=1) - 1]
        embeddings = self.projection(last)
        if self.relu:
            embeddings = functional.relu(embeddings)
        return functional.normalize(embeddings, dim=1, eps=NORM_FLOOR)
