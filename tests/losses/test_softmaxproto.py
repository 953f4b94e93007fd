"""Softmax plus angular prototypical loss against a reference vector made by running voxceleb_trainer, and loops."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from vouch.base.errors import VouchError
from vouch.losses.softmaxproto import SoftmaxProto

GOLDEN = Path(__file__).parents[1] / "golden"
ARRAYS = np.load(GOLDEN / "voxceleb_trainer_losses.npz")
FACTS = json.loads((GOLDEN / "voxceleb_trainer_losses.json").read_text())["softmaxproto"]


def load(**options):
    loss = SoftmaxProto(48, 20, **options)
    loss.load_state_dict({key: torch.from_numpy(ARRAYS[f"softmaxproto/param.{key}"]) for key in FACTS["params"]})
    x, labels = torch.from_numpy(ARRAYS["softmaxproto/x"]), torch.from_numpy(ARRAYS["softmaxproto/label"])
    return loss, x, labels


def cross_entropy(scores, own):
    return math.log(sum(math.exp(score) for score in scores)) - scores[own]


def dot(one, other):
    return sum(a * b for a, b in zip(one, other, strict=True))


def slow_parts(pairs, labels, loss):
    """Softmax loss over all utterances and angular prototypical loss over the pairs, from lists."""
    weight, bias = loss.softmax.fc.weight.tolist(), loss.softmax.fc.bias.tolist()
    w, b = loss.angleproto.w.item(), loss.angleproto.b.item()
    rows = [
        cross_entropy([dot(x, row) + shift for row, shift in zip(weight, bias, strict=True)], label)
        for pair, label in zip(pairs, labels, strict=True)
        for x in pair
    ]
    queries = []
    for own, (query, _) in enumerate(pairs):
        cosines = [dot(query, anchor) / (math.hypot(*query) * math.hypot(*anchor)) for _, anchor in pairs]
        queries.append(cross_entropy([w * cosine + b for cosine in cosines], own))
    return sum(rows) / len(rows), sum(queries) / len(queries)


def test_reference():
    loss, x, labels = load()
    x.requires_grad_()
    output = loss(x.flatten(0, 1), labels.repeat_interleave(2))
    output.loss.backward()
    assert output.loss.item() == pytest.approx(FACTS["loss"], rel=1e-5)
    assert 100 * (output.logits.argmax(1) == output.targets).float().mean() == pytest.approx(FACTS["metric"])
    expected = ARRAYS["softmaxproto/grad_x"]
    np.testing.assert_allclose(x.grad.numpy(), expected, atol=1e-4 * np.abs(expected).max())
    for key, parameter in loss.named_parameters():
        expected = ARRAYS[f"softmaxproto/grad.{key}"]
        # The angular part does not depend on its b, whose gradient is rounding.
        tolerance = 1e-6 if key == "angleproto.b" else 1e-4 * np.abs(expected).max()
        np.testing.assert_allclose(parameter.grad.numpy(), expected, atol=tolerance, err_msg=key)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.3, 2.5)])
def test_against_loops(dtype, weights):
    loss, x, labels = load(softmax_weight=weights[0], angleproto_weight=weights[1])
    loss, x = loss.to(dtype), x.to(dtype)
    softmax, angleproto = slow_parts(x.tolist(), labels.tolist(), loss)
    # All first utterances, then all second ones.
    value = loss(x.transpose(0, 1).flatten(0, 1), labels.repeat(2)).loss
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    assert value.item() == pytest.approx(weights[0] * softmax + weights[1] * angleproto, rel=tolerance)


def test_utterances_per_speaker_reach_the_part():
    loss = SoftmaxProto(4, 3, utterances_per_speaker=3)
    assert loss.distinct_speakers and loss.utterances_per_speaker == 3
    assert loss.angleproto.utterances_per_speaker == 3
    assert SoftmaxProto(4, 3).utterances_per_speaker == 2
    assert loss(torch.randn(6, 4), torch.tensor([0, 2, 0, 2, 2, 0])).logits.shape == (6, 3)


def test_initial_parameters():
    loss = SoftmaxProto(4, 3)
    assert (loss.angleproto.w.item(), loss.angleproto.b.item()) == (10.0, -5.0)
    assert loss.softmax.fc.weight.abs().max() <= 0.5, "within 1 / sqrt(dim), as PyTorch fills a linear layer"
    assert loss.softmax.fc.weight.std() > 0


def test_zeros():
    x = torch.zeros(6, 4, requires_grad=True)
    loss = SoftmaxProto(4, 3)
    value = loss(x, torch.tensor([0, 1, 2, 0, 1, 2])).loss
    value.backward()
    assert value.isfinite() and x.grad.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in loss.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"utterances_per_speaker": 1}, "angleproto needs at least 2 utterances"),
        ({"softmax_weight": 0.0}, "weight of softmax must be a positive number"),
        ({"angleproto_weight": -1.0}, "weight of angleproto must be a positive number"),
    ],
)
def test_unusable_options(options, message):
    with pytest.raises(VouchError, match=message):
        SoftmaxProto(4, 3, **options)


def test_incomplete_batch():
    with pytest.raises(VouchError, match="2 utterances of each of 2 or more speakers, not 3 utterances of 2"):
        SoftmaxProto(4, 3)(torch.ones(3, 4), torch.tensor([0, 0, 1]))
