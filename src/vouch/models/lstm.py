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
# Whether each layer of the LSTM projects its output.
PROJECTIONS = {"last": False, "every": True}


class GE2ELSTM(SpeakerNetwork):
    """Stacked LSTM; the output of the top layer at the last real frame, through an affine layer, at unit length.

    Zero vectors stay zero. With 40 bins it has 12,134,656 parameters, or 4,729,088 with a projection in every layer,
    and 2.38 or 0.93 GMAC for 200 frames. Without batch normalisation, padding changes nothing even in training.

    Parameters
    ----------
    num_bins : int
        Frequency bins of the features.
    embedding_dim : int
    hidden_size : int
        Width of each LSTM layer.
    num_layers : int
    projection : "last" or "every"
        "last": only the affine layer reduces the width, as in the public implementations. "every": each LSTM layer
        also projects its output to `embedding_dim`, for the next layer and the next frame, as in the paper.
    relu : bool
        Set negative components to zero before scaling, as Resemblyzer and Real-Time-Voice-Cloning do.

    Raises
    ------
    VouchError
        The projection is unknown, or does not reduce the width.
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
        # Named as in the public implementations, so that their state dicts load without conversion.
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
