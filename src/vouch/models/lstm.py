"""The LSTM d-vector network trained with the generalised end-to-end loss.

Source: Wan et al., "Generalized end-to-end loss for speaker verification" (ICASSP 2018), section 3, with one
projection after the last layer as in the public implementations.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from vouch.models.inputs import check_features

NORM_FLOOR = 1e-8


class GE2ELSTM(nn.Module):
    """Stacked LSTM; the top layer's output at the last frame, projected and scaled to unit length.

    Parameters
    ----------
    num_bins : int
        Frequency bins of the features.
    embedding_dim : int
    hidden_size : int
        Width of each LSTM layer.
    num_layers : int

    Attributes
    ----------
    min_frames : int
        Shortest input in frames.
    """

    input_kind = "features"

    def __init__(
        self,
        num_bins: int,
        embedding_dim: int = 256,
        hidden_size: int = 768,
        num_layers: int = 3,
    ) -> None:
        super().__init__()
        self.num_bins, self.embedding_dim, self.min_frames = num_bins, embedding_dim, 1
        # The name of the public implementations, so that their state dicts load as they are.
        self.LSTM_stack = nn.LSTM(num_bins, hidden_size, num_layers, batch_first=True)
        self.projection = nn.Linear(hidden_size, embedding_dim)
        for name, parameter in self.LSTM_stack.named_parameters():
            if name.startswith("weight"):
                nn.init.xavier_normal_(parameter)
            else:
                nn.init.zeros_(parameter)

    def forward(self, features: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Embed a batch of utterances.

        Parameters
        ----------
        features : (batch, frames, bins) float
        lengths : (batch,) int64, optional
            Real frames of each utterance; the output is taken at the last of them.

        Returns
        -------
        embeddings : (batch, embedding_dim) float
            Of unit length, except that a projection of zeros stays zeros.

        Raises
        ------
        VouchError
            Wrong shape, or an utterance without frames.
        """
        check_features(features, lengths, self.num_bins, self.min_frames)
        outputs, _ = self.LSTM_stack(features)
        if lengths is None:
            last = outputs[:, -1]
        else:
            last = outputs[torch.arange(len(outputs), device=outputs.device), lengths.to(outputs.device) - 1]
        return functional.normalize(self.projection(last), dim=1, eps=NORM_FLOOR)
