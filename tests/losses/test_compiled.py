"""Losses as a compiler sees them: one graph each, which stays right when a margin or a scale changes."""

import pytest
import torch

from vouch.losses import LOSSES
from vouch.losses.margin import MarginSoftmax

DIM, SPEAKERS = 8, 7
WITH_MARGIN = [name for name in LOSSES if issubclass(LOSSES[name], MarginSoftmax)]


def batch(loss):
    """Embeddings and labels of four of the seven speakers, as many of each as the loss takes."""
    torch.manual_seed(3)
    labels = torch.tensor([5, 0, 6, 2]).repeat_interleave(max(loss.utterances_per_speaker, 2))
    return torch.randn(len(labels), DIM, requires_grad=True), labels


def run(compute, loss, embeddings, labels):
    """Loss and logits, and the gradients of embeddings and weights."""
    loss.zero_grad(set_to_none=True)
    embeddings.grad = None
    torch.manual_seed(1)
    output = compute(embeddings, labels)
    output.loss.backward()
    return [output.loss, output.logits, embeddings.grad, *(weights.grad for weights in loss.parameters())]


@pytest.mark.parametrize("name", LOSSES)
def test_one_graph(name):
    torch._dynamo.reset()
    loss = LOSSES[name](DIM, SPEAKERS, **LOSSES[name].tiny)
    embeddings, labels = batch(loss)
    explained = torch._dynamo.explain(loss)(embeddings, labels)
    assert explained.graph_break_count == 0, explained.break_reasons
    assert explained.graph_count == 1


@pytest.mark.parametrize("name", WITH_MARGIN)
def test_a_changed_margin_or_scale_is_seen_and_compiles_nothing_anew(name):
    torch._dynamo.reset()
    torch.manual_seed(0)
    loss = LOSSES[name](DIM, SPEAKERS, **LOSSES[name].tiny)
    embeddings, labels = batch(loss)
    compiled = torch.compile(loss, backend="eager", fullgraph=True)
    run(compiled, loss, embeddings, labels)
    values = []
    with torch._dynamo.config.patch(error_on_recompile=True):
        for margin, share, scale in ((0.2, 0.0, 30), (0.2, 0.001, 30), (0.2, 0.5, 30), (0.3, 1.0, 30), (0.3, 1.0, 9)):
            loss.margin.fill_(margin)
            loss.margin_share.fill_(share)
            loss.scale.fill_(scale)
            found = [value.clone() for value in run(compiled, loss, embeddings, labels)]
            for one, other in zip(found, run(loss, loss, embeddings, labels), strict=True):
                torch.testing.assert_close(one, other)  # a graph may add up the gradients of weights in another order
            values.append(found[0].item())
    assert len(set(values)) == len(values)
