"""Weighted sums of losses: values, gradients, names, and the batches they ask for."""

import math

import pytest
import torch

from vouch.base.errors import VouchError
from vouch.losses.aamsoftmax import AAMSoftmax
from vouch.losses.angleproto import AngleProto
from vouch.losses.ge2e import GE2E
from vouch.losses.proto import Proto
from vouch.losses.softmax import Softmax
from vouch.losses.weighted_sum import WeightedSum

DIM, SPEAKERS = 6, 5


def batch(dtype=torch.float32):
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(8, DIM, generator=generator, dtype=dtype)
    return x.requires_grad_(), torch.tensor([3, 1, 0, 3, 4, 0, 1, 4])


def build(*losses, weights=None):
    torch.manual_seed(7)
    parts = {loss.__name__.lower(): loss(DIM, SPEAKERS) for loss in losses}
    return WeightedSum(DIM, SPEAKERS, parts, weights or dict.fromkeys(parts, 1.0))


@pytest.mark.parametrize(
    "losses", [(AAMSoftmax, AngleProto), (AngleProto, AAMSoftmax), (Softmax, Proto, AngleProto), (Softmax,)]
)
def test_value_and_gradients_are_the_weighted_sums(losses):
    weights = {loss.__name__.lower(): 0.25 + 1.5 * place for place, loss in enumerate(losses)}
    total = build(*losses, weights=weights).double()
    x, labels = batch(torch.float64)
    output = total(x, labels)
    output.loss.backward()
    value, gradient = 0.0, torch.zeros_like(x)
    for loss, (name, weight) in zip(losses, weights.items(), strict=True):
        part = loss(DIM, SPEAKERS).double()
        part.load_state_dict(total.get_submodule(name).state_dict())
        separate = x.detach().clone().requires_grad_()
        loss_alone = part(separate, labels).loss
        loss_alone.backward()
        value += weight * loss_alone.item()
        gradient += weight * separate.grad
        for key, parameter in part.named_parameters():
            torch.testing.assert_close(total.get_parameter(f"{name}.{key}").grad, weight * parameter.grad)
    assert output.loss.item() == pytest.approx(value, rel=1e-12)
    torch.testing.assert_close(x.grad, gradient)


def test_logits_are_those_of_the_first_part():
    x, labels = batch()
    classify_first, compare_first = build(AAMSoftmax, AngleProto), build(AngleProto, AAMSoftmax)
    output = classify_first(x, labels)
    assert torch.equal(output.logits, classify_first.aamsoftmax(x, labels).logits)
    assert torch.equal(output.targets, labels)
    output = compare_first(x, labels)
    assert torch.equal(output.logits, compare_first.angleproto(x, labels).logits)
    assert output.targets.tolist() == [0, 1, 2, 3]


def test_order_of_the_weights_does_not_matter():
    total = build(Softmax, AngleProto, weights={"angleproto": 3.0, "softmax": 1.0})
    x, labels = batch()
    assert torch.equal(total(x, labels).logits, total.softmax(x, labels).logits)


def test_keys_of_the_state():
    keys = {"softmax.fc.weight", "softmax.fc.bias", "angleproto.w", "angleproto.b"}
    assert set(build(Softmax, AngleProto).state_dict()) == keys


def test_precision_under_autocast():
    total = build(Softmax, AngleProto)
    x, labels = batch()
    rounded = x.detach().bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        output = total(rounded, labels)
    assert torch.equal(output.loss, total(rounded.float(), labels).loss)


def test_batches_that_are_wanted():
    assert not build(Softmax, AAMSoftmax).distinct_speakers
    assert build(Softmax, AAMSoftmax).utterances_per_speaker == 1
    for losses in ((Softmax, GE2E), (GE2E, AAMSoftmax)):
        assert build(*losses).distinct_speakers and build(*losses).utterances_per_speaker == 4
    with pytest.raises(VouchError, match="angleproto needs 2 utterances of each"):
        build(Softmax, AngleProto)(torch.ones(4, DIM), torch.tensor([0, 1, 1, 1]))


def test_parts_that_want_different_batches():
    message = "equally many utterances per speaker, not angleproto 2, ge2e 4, proto 2$"
    with pytest.raises(VouchError, match=message):
        build(Softmax, AngleProto, GE2E, Proto)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"softmax": 1.0, "angleprot": 1.0}, "'angleprot', which is no part of the loss.*'angleproto'"),
        ({"softmax": 1.0}, "no weight for part angleproto"),
        ({"softmax": 1.0, "angleproto": 0.0}, "weight of angleproto must be a positive number, not 0.0"),
        ({"softmax": -1.0, "angleproto": 1.0}, "weight of softmax must be a positive number, not -1.0"),
        ({"softmax": math.inf, "angleproto": 1.0}, "weight of softmax must be a positive number, not inf"),
        ({"softmax": math.nan, "angleproto": 1.0}, "weight of softmax must be a positive number, not nan"),
    ],
)
def test_unusable_weights(weights, message):
    with pytest.raises(VouchError, match=message):
        build(Softmax, AngleProto, weights=weights)


def test_no_parts():
    with pytest.raises(VouchError, match="at least one part"):
        WeightedSum(DIM, SPEAKERS, {}, {})
