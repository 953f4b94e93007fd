"""Prototypical loss against reference vectors made by running voxceleb_trainer, and against loops."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from vouch.base.errors import VouchError
from vouch.losses.proto import Proto

GOLDEN = Path(__file__).parents[1] / "golden"
ARRAYS = np.load(GOLDEN / "voxceleb_trainer_losses.npz")
FACTS = json.loads((GOLDEN / "voxceleb_trainer_losses.json").read_text())


def slow_proto(groups):
    """Losses of all queries; `groups` is a list of speakers, each a list of embeddings, each a list."""
    losses = []
    for own, (query, *_) in enumerate(groups):
        similarities = []
        for _, *others in groups:
            anchor = [sum(values) / len(others) for values in zip(*others, strict=True)]
            similarities.append(-sum((q - a + 1e-6) ** 2 for q, a in zip(query, anchor, strict=True)))
        largest = max(similarities)
        losses.append(largest + math.log(sum(math.exp(s - largest) for s in similarities)) - similarities[own])
    return losses


@pytest.mark.parametrize("name", ["proto/G2", "proto/G3"])
def test_reference(name):
    x = torch.from_numpy(ARRAYS[f"{name}/x"])
    speakers, utterances, dim = x.shape
    x = x.flatten(0, 1).requires_grad_()
    output = Proto(dim, speakers, utterances)(x, torch.arange(speakers).repeat_interleave(utterances))
    output.loss.backward()
    assert output.loss.item() == pytest.approx(FACTS[name]["loss"], rel=1e-5)
    accuracy = 100 * (output.logits.argmax(1) == output.targets).float().mean()
    assert accuracy == pytest.approx(FACTS[name]["metric"])
    expected = ARRAYS[f"{name}/grad_x"]
    gradient = x.grad.reshape(expected.shape).numpy()
    np.testing.assert_allclose(gradient, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("speakers", "utterances"), [(2, 2), (3, 4), (5, 3), (40, 2)])
def test_against_loops(dtype, speakers, utterances):
    generator = torch.Generator().manual_seed(speakers)
    x = 0.5 * torch.randn(speakers, utterances, 6, generator=generator, dtype=dtype) + 0.3
    losses = slow_proto(x.tolist())
    # Speakers interleaved and in descending order: the loss has to find the groups itself.
    labels = torch.arange(50, 50 - speakers, -1).repeat(utterances)
    output = Proto(6, 51, utterances)(x.transpose(0, 1).flatten(0, 1), labels)
    tolerance = 2e-5 if dtype == torch.float32 else 1e-10
    assert output.loss.item() == pytest.approx(sum(losses) / len(losses), rel=tolerance)
    rows = (output.logits.logsumexp(1) - output.logits.diagonal()).tolist()
    assert rows == pytest.approx(losses[::-1], rel=10 * tolerance)


def test_long_and_nearly_equal_embeddings():
    # Squared lengths of 5e8 in single precision have steps of 32; the squared distances here are of order 1.
    generator = torch.Generator().manual_seed(1)
    speakers = 1000.0 + 0.05 * torch.randn(30, 1, 512, generator=generator)
    x = speakers + 0.05 * torch.randn(30, 2, 512, generator=generator)
    losses = slow_proto(x.tolist())
    value = Proto(512, 30)(x.flatten(0, 1), torch.arange(30).repeat_interleave(2)).loss
    assert value.item() == pytest.approx(sum(losses) / len(losses), rel=1e-4)


def test_no_parameters_and_defaults():
    loss = Proto(6, 4)
    assert not loss.state_dict()
    assert loss.utterances_per_speaker == 2 and loss.distinct_speakers


@pytest.mark.parametrize(
    "x",
    [
        torch.zeros(6, 4),
        torch.full((6, 4), -1e-6),
        torch.ones(6, 4),
        torch.eye(4)[[0, 0, 1, 1, 2, 2]],
        torch.tensor([[1.0, 0, 0, 0], [-1.0, 0, 0, 0]] * 3),
        torch.eye(4)[[0, 0, 1, 1, 2, 2]] * torch.tensor([[0.0]] + [[1.0]] * 5),
        torch.eye(4)[[0, 1, 2, 3, 0, 2]] * 1e-12,
        torch.eye(4)[[0, 1, 2, 3, 0, 2]] * 1e6,
        torch.eye(4)[[0, 1, 2, 3, 0, 2]] * 1e15,
    ],
)
def test_degenerate_embeddings(x):
    x = x.clone().requires_grad_()
    output = Proto(4, 3, 2)(x, torch.arange(3).repeat_interleave(2))
    output.loss.backward()
    assert output.loss.isfinite() and output.logits.isfinite().all() and x.grad.isfinite().all()


def test_query_exactly_on_an_anchor():
    # The offset makes up the difference of the first pair: a distance of zero, where its root has no slope.
    x = torch.tensor([[-1e-6, 0], [0, 1e-6], [1, 0], [0, 1]], dtype=torch.float64, requires_grad=True)
    output = Proto(2, 2)(x, torch.tensor([0, 0, 1, 1]))
    output.loss.backward()
    assert output.logits[0, 0].item() == 0.0
    # By hand: the slope of the own similarity is 0, that of the other one counts by its softmax.
    other = 1 / (1 + math.exp(-output.logits[0, 1].item()))
    expected = other * -2 * torch.tensor([0.0, -1 + 1e-6], dtype=torch.float64) / 2
    torch.testing.assert_close(x.grad[0], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("utterances", [2, 4])
def test_gradient(utterances):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3 * utterances, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    labels = torch.arange(3).repeat(utterances)
    assert torch.autograd.gradcheck(lambda x: Proto(5, 3, utterances)(x, labels).loss, x)


def test_unusable_options_and_batches():
    with pytest.raises(VouchError, match="proto needs at least 2 utterances per speaker, not 0"):
        Proto(4, 3, utterances_per_speaker=0)
    with pytest.raises(VouchError, match="proto needs 2 utterances of each of 2 or more speakers, not 4"):
        Proto(4, 3)(torch.ones(4, 4), torch.tensor([0, 1, 1, 1]))
