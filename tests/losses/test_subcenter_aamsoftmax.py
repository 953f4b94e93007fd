"""Sub-centres and inter-topK penalty against loops over angles."""

import math

import pytest
import torch

from vouch.base.errors import VouchError
from vouch.losses.aamsoftmax import AAMSoftmax
from vouch.losses.subcenter_aamsoftmax import SubcenterAAMSoftmax


def slow_logits(x, weight, labels, scale, margin, subcenters, top_k, top_k_margin):
    """Logits of one batch given as lists; what lies beyond pi falls by 1 - cos(margin)."""
    rows = []
    for row, label in zip(x, labels, strict=True):
        cosines = []
        for centre in weight:
            product = sum(a * b for a, b in zip(row, centre, strict=True))
            cosines.append(max(-1.0, min(1.0, product / (math.hypot(*row) * math.hypot(*centre)))))
        best = [max(cosines[start : start + subcenters]) for start in range(0, len(cosines), subcenters)]
        others = sorted((c for c in range(len(best)) if c != label), key=lambda c: -best[c])
        penalty = top_k_margin * margin / 0.2 if margin >= 0.001 else 0.0
        changed = list(best)
        for column in others[:top_k]:
            changed[column] = math.cos(math.acos(best[column]) - penalty)
        angle = math.acos(best[label]) + margin
        changed[label] = math.cos(angle) if angle < math.pi else best[label] - (1 - math.cos(margin))
        rows.append([scale * value for value in changed])
    return rows


def batch(dtype=torch.float64):
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(12, 5, generator=generator, dtype=dtype)
    labels = torch.arange(12) % 7
    return x, labels


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("subcenters", [1, 3])
@pytest.mark.parametrize(("top_k", "top_k_margin"), [(0, 0.06), (2, 0.06), (5, 0.3), (6, 0.06), (50, 0.06)])
@pytest.mark.parametrize("margin", [0.0, 0.0005, 0.2, 0.5])
def test_against_loops(dtype, subcenters, top_k, top_k_margin, margin):
    torch.manual_seed(1)
    x, labels = batch(dtype)
    loss = SubcenterAAMSoftmax(5, 7, margin, 20.0, subcenters, top_k, top_k_margin).to(dtype)
    x[0] = -loss.weight[:subcenters].detach().mean(dim=0)  # an angle near pi
    arguments = (20.0, margin, subcenters, top_k, top_k_margin)
    expected = torch.tensor(slow_logits(x.tolist(), loss.weight.tolist(), labels.tolist(), *arguments), dtype=dtype)
    output = loss(x, labels)
    torch.testing.assert_close(output.logits, expected, rtol=0, atol=2e-4 if dtype == torch.float32 else 1e-9)
    value = (expected.logsumexp(dim=1) - expected.gather(1, labels[:, None]).squeeze(1)).mean()
    torch.testing.assert_close(output.loss, value, rtol=2e-5, atol=1e-9)


def test_one_subcenter_without_penalty_is_aamsoftmax():
    torch.manual_seed(0)
    x, labels = batch(torch.float32)
    loss = SubcenterAAMSoftmax(5, 7, subcenters=1, top_k=0)
    plain = AAMSoftmax(5, 7, scale=32.0, beyond="continuous")
    plain.load_state_dict(loss.state_dict())
    assert torch.equal(loss(x, labels).loss, plain(x, labels).loss)


@pytest.mark.parametrize("top_k", [0, 2])
def test_gradient(top_k):
    torch.manual_seed(0)
    x, labels = batch()
    loss = SubcenterAAMSoftmax(5, 7, subcenters=2, top_k=top_k).double()
    assert torch.autograd.gradcheck(lambda *_: loss(x, labels).loss, (x.requires_grad_(), loss.weight))


def test_only_the_closest_subcenter_of_a_class_learns():
    torch.manual_seed(0)
    loss = SubcenterAAMSoftmax(5, 7)
    x, labels = batch(torch.float32)
    loss(x[:1], labels[:1]).loss.backward()
    moved = loss.weight.grad.norm(dim=1).view(7, 3) > 0
    cosines = torch.nn.functional.cosine_similarity(x[:1], loss.weight).view(7, 3)
    assert torch.equal(moved, torch.nn.functional.one_hot(cosines.argmax(dim=1), 3).bool())


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_embeddings_on_class_vectors(sign):
    # All sub-centres of a class alike, and some classes too: the closest is not unique, and cosines are 1 or -1.
    loss = SubcenterAAMSoftmax(4, 4)
    loss.weight.data.copy_(torch.eye(4)[[0, 0, 1, 2]].repeat_interleave(3, dim=0))
    x = (sign * torch.eye(4)).requires_grad_()
    output = loss(x, torch.arange(4))
    output.loss.backward()
    for values in (output.loss, output.logits, x.grad, loss.weight.grad):
        assert values.isfinite().all()
    assert x.grad.norm() < 1e3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": -0.1}, "margin must"),
        ({"margin": 1.6}, "margin must"),
        ({"top_k_margin": -0.06}, "top_k_margin must"),
        ({"top_k": -1}, "top_k must be 0 or more"),
        ({"subcenters": 0}, "subcenters must be from 1 to 255"),
        ({"subcenters": 256}, "subcenters must be from 1 to 255"),
        ({"beyond": "continous"}, "unknown value of beyond 'continous'.*'continuous'"),
    ],
)
def test_unusable_options(options, message):
    with pytest.raises(VouchError, match=message):
        SubcenterAAMSoftmax(4, 3, **options)


def test_initialisation():
    torch.manual_seed(0)
    weight = SubcenterAAMSoftmax(512, 100, subcenters=3).weight
    assert weight.shape == (300, 512)
    assert weight.std().item() == pytest.approx((2 / 812) ** 0.5, rel=0.02)
