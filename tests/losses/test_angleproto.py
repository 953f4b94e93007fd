"""Angular prototypical loss against reference vectors made by running voxceleb_trainer, and against loops."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from vouch.base.errors import VouchError
from vouch.losses.angleproto import AngleProto

GOLDEN = Path(__file__).parents[1] / "golden"
ARRAYS = np.load(GOLDEN / "voxceleb_trainer_losses.npz")
FACTS = json.loads((GOLDEN / "voxceleb_trainer_losses.json").read_text())
CASES = [name for name in FACTS if name.startswith("angleproto/")]


def slow_angleproto(groups, w, b):
    """Losses of all queries; `groups` is a list of speakers, each a list of embeddings, each a list."""
    losses = []
    for own, (query, *_) in enumerate(groups):
        similarities = []
        for _, *others in groups:
            anchor = [sum(values) / len(others) for values in zip(*others, strict=True)]
            product = sum(q * a for q, a in zip(query, anchor, strict=True))
            similarities.append(w * product / (math.hypot(*query) * math.hypot(*anchor)) + b)
        losses.append(math.log(sum(math.exp(s) for s in similarities)) - similarities[own])
    return losses


def test_all_cases_are_there():
    assert len(CASES) == 4


@pytest.mark.parametrize("name", CASES)
def test_reference(name):
    x = torch.from_numpy(ARRAYS[f"{name}/x"])
    speakers, utterances, dim = x.shape
    loss = AngleProto(dim, speakers, utterances)
    loss.load_state_dict({key: torch.from_numpy(ARRAYS[f"{name}/param.{key}"]) for key in ("w", "b")})
    x = x.flatten(0, 1).requires_grad_()
    output = loss(x, torch.arange(speakers).repeat_interleave(utterances))
    output.loss.backward()
    assert output.loss.item() == pytest.approx(FACTS[name]["loss"], rel=1e-5)
    accuracy = 100 * (output.logits.argmax(1) == output.targets).float().mean()
    assert accuracy == pytest.approx(FACTS[name]["metric"])
    expected = ARRAYS[f"{name}/grad_x"]
    gradient = x.grad.reshape(expected.shape).numpy()
    np.testing.assert_allclose(gradient, expected, atol=1e-4 * np.abs(expected).max())
    assert loss.w.grad.item() == pytest.approx(float(ARRAYS[f"{name}/grad.w"]), rel=1e-4)
    # The softmax does not depend on b: its gradient is rounding.
    assert loss.b.grad.item() == pytest.approx(float(ARRAYS[f"{name}/grad.b"]), abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("speakers", "utterances"), [(2, 2), (3, 4), (5, 3)])
def test_against_loops(dtype, speakers, utterances):
    generator = torch.Generator().manual_seed(speakers)
    x = torch.randn(speakers, utterances, 6, generator=generator, dtype=dtype) + 0.3
    losses = slow_angleproto(x.tolist(), 7.5, -3.25)
    loss = AngleProto(6, 9, utterances).to(dtype)
    with torch.no_grad():
        loss.w.fill_(7.5)
        loss.b.fill_(-3.25)
    # Speakers interleaved and in descending order: the loss has to find the groups itself.
    labels = torch.arange(8, 8 - speakers, -1).repeat(utterances)
    output = loss(x.transpose(0, 1).flatten(0, 1), labels)
    tolerance = 2e-5 if dtype == torch.float32 else 1e-10
    assert output.loss.item() == pytest.approx(sum(losses) / len(losses), rel=tolerance)
    rows = (output.logits.logsumexp(1) - output.logits.diagonal()).tolist()
    assert rows == pytest.approx(losses[::-1], rel=10 * tolerance)


def test_initial_parameters_and_defaults():
    loss = AngleProto(6, 4)
    assert {key: value.item() for key, value in loss.state_dict().items()} == {"w": 10.0, "b": -5.0}
    assert loss.utterances_per_speaker == 2 and loss.distinct_speakers


def test_length_of_embeddings_does_not_matter():
    x = torch.randn(8, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    lengths = torch.logspace(-4, 4, 8, dtype=torch.float64)[:, None]
    labels, loss = torch.arange(4).repeat_interleave(2), AngleProto(6, 4).double()
    assert loss(lengths * x, labels).loss.item() == pytest.approx(loss(x, labels).loss.item(), rel=1e-12)


@pytest.mark.parametrize(
    "x",
    [
        torch.zeros(6, 4),
        torch.ones(6, 4),
        torch.eye(4)[[0, 0, 1, 1, 2, 2]],  # cosines of exactly 1 and 0
        torch.tensor([[1.0, 0, 0, 0], [-1.0, 0, 0, 0]] * 3),  # cosines of exactly -1
        torch.eye(4)[[0, 0, 1, 1, 2, 2]] * torch.tensor([[0.0]] + [[1.0]] * 5),
        torch.eye(4)[[0, 1, 2, 3, 0, 2]] * 1e-12,
        torch.eye(4)[[0, 1, 2, 3, 0, 2]] * 1e6,
    ],
)
def test_degenerate_embeddings(x):
    x = x.clone().requires_grad_()
    loss = AngleProto(4, 3, 2)
    output = loss(x, torch.arange(3).repeat_interleave(2))
    output.loss.backward()
    assert output.loss.isfinite() and output.logits.isfinite().all()
    assert x.grad.isfinite().all() and loss.w.grad.isfinite() and loss.b.grad.isfinite()


def test_opposite_others_make_an_anchor_of_zero():
    x = torch.tensor([[1.0, 0], [0.5, 1], [-0.5, -1], [0, 1], [1, 2], [1, 2]], requires_grad=True)
    output = AngleProto(2, 2, 3)(x, torch.tensor([0, 0, 0, 1, 1, 1]))
    output.loss.backward()
    assert output.logits[:, 0].tolist() == [-5.0, -5.0], "a cosine of 0"
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("utterances", [2, 4])
def test_gradient(utterances):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3 * utterances, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    loss = AngleProto(5, 3, utterances).double()
    labels = torch.arange(3).repeat(utterances)
    assert torch.autograd.gradcheck(lambda x, *_: loss(x, labels).loss, (x, loss.w, loss.b))


def test_unusable_options_and_batches():
    with pytest.raises(VouchError, match="angleproto needs at least 2 utterances per speaker, not 1"):
        AngleProto(4, 3, utterances_per_speaker=1)
    with pytest.raises(VouchError, match="angleproto needs 2 utterances of each of 2 or more speakers, not 4"):
        AngleProto(4, 3)(torch.ones(4, 4), torch.tensor([0, 1, 1, 1]))
