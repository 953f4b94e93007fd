"""Scale and schedule of the margin, and the cosine of an enlarged angle."""

import math

import pytest
import torch

from vouch.base.errors import VouchError
from vouch.losses.aamsoftmax import AAMSoftmax
from vouch.losses.amsoftmax import AMSoftmax
from vouch.losses.coco import Coco
from vouch.losses.margin import MarginSoftmax, resolve_scale, rotate
from vouch.losses.subcenter_aamsoftmax import SubcenterAAMSoftmax

WITH_MARGIN = [AMSoftmax, AAMSoftmax, SubcenterAAMSoftmax]


@pytest.mark.parametrize(("speakers", "expected"), [(3, 0.980258), (11, 3.256347), (5994, 12.301321)])
def test_automatic_scale(speakers, expected):
    assert resolve_scale("auto", speakers) == pytest.approx(expected, rel=1e-6)
    assert AAMSoftmax(4, speakers, scale="auto").scale == Coco(4, speakers).scale == resolve_scale("auto", speakers)


@pytest.mark.parametrize("scale", [0, -1.0, math.nan, math.inf, "Auto"])
@pytest.mark.parametrize("build", [*WITH_MARGIN, Coco])
def test_impossible_scale(build, scale):
    with pytest.raises(VouchError, match=f"positive number or 'auto', not {scale}"):
        build(4, 9, scale=scale)


@pytest.mark.parametrize("speakers", [1, 2])
def test_automatic_scale_of_too_few_speakers(speakers):
    with pytest.raises(VouchError, match=f"at least 3 speakers, not {speakers}"):
        resolve_scale("auto", speakers)


@pytest.mark.parametrize("angle", [-0.3, -0.06, 0.0, 0.2, 0.5])
def test_rotate(angle):
    angles = torch.linspace(0.01, math.pi - 0.01, 50, dtype=torch.float64)
    rotated, slope = rotate(angles.cos(), torch.tensor(angle, dtype=torch.float64))
    torch.testing.assert_close(rotated, (angles + angle).cos())
    # d cos(t + a) / d cos(t) = sin(t + a) / sin(t)
    torch.testing.assert_close(slope, (angles + angle).sin() / angles.sin())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rotate_at_the_ends(dtype):
    # The second pair is what rounding can make of the first.
    cosines = torch.tensor([1.0, -1.0, 1.0000002, -1.0000002], dtype=dtype)
    rotated, slope = rotate(cosines, torch.tensor(0.3, dtype=torch.float64))
    torch.testing.assert_close(rotated, cosines.sign() * math.cos(0.3), rtol=0, atol=1e-6)
    torch.testing.assert_close(slope, torch.full_like(cosines, math.cos(0.3)))


@pytest.mark.parametrize("build", WITH_MARGIN)
def test_share_of_the_margin(build):
    torch.manual_seed(0)
    loss = build(6, 5, margin=0.3)
    assert isinstance(loss, MarginSoftmax) and loss.margin_share == 1.0 and loss.margin_in_force == 0.3
    x, labels = torch.randn(8, 6), torch.arange(8) % 5
    values = []
    for share in (0.0, 0.5, 1.0):
        other = build(6, 5, margin=0.3 * share)
        other.load_state_dict(loss.state_dict())
        loss.margin_share.fill_(share)
        assert torch.equal(loss(x, labels).logits, other(x, labels).logits)
        values.append(loss(x, labels).loss.item())
    assert values[0] < values[1] < values[2]


def test_numbers_that_may_change_are_double_tensors_that_are_not_saved():
    for build in (*WITH_MARGIN, Coco):
        loss = build(6, 5)
        assert loss.state_dict().keys() == dict(loss.named_parameters()).keys()
        for name, number in loss.named_buffers():
            assert (number.shape, number.dtype) == ((), torch.float64), name


@pytest.mark.parametrize("share", [0.0, 0.004])
def test_without_a_margin_the_hardest_speakers_are_as_they_were(share):
    """To the last bit: a margin of 0, or one too small for a penalty."""
    torch.manual_seed(0)
    loss, plain = SubcenterAAMSoftmax(6, 50, top_k=7), SubcenterAAMSoftmax(6, 50, top_k=0)
    plain.load_state_dict(loss.state_dict())
    x, labels = torch.randn(20, 6, requires_grad=True), torch.arange(20)
    found = []
    for one in (loss, plain):
        one.margin_share.fill_(share)
        x.grad = None
        output = one(x, labels)
        output.loss.backward()
        found.append((output.loss, output.logits, x.grad, one.weight.grad))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
