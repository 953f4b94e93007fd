"""Networks as a compiler sees them: one graph each."""

import pytest
import torch
from corpus import tiny_encoder

from vouch.models import MODELS


@pytest.mark.parametrize("name", MODELS)
def test_one_graph(name):
    """In training mode, with the normalisation of the features.

    Dynamo leaves torch's own LSTM to its kernels unless it is told to trace it too.
    """
    torch._dynamo.reset()
    encoder = tiny_encoder(name).train()
    x = torch.randn(2, encoder.min_length + 8, *encoder.step_shape)
    with torch._dynamo.config.patch(allow_rnn=True):
        explained = torch._dynamo.explain(encoder)(x)
    assert explained.graph_break_count == 0, explained.break_reasons
    assert explained.graph_count == 1
