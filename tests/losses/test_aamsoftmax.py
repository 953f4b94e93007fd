"""Additive angular margin softmax against reference vectors and against loops over angles."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from vouch.errors import VouchError
from vouch.losses.aamsoftmax import AAMSoftmax

GOLDEN = Path(__file__).parents[1] / "golden"
ARRAYS = np.load(GOLDEN / "voxceleb_trainer_losses.npz")
FACTS = json.loads((GOLDEN / "voxceleb_trainer_losses.json").read_text())
ALIGNED = "aamsoftmax/exactly_aligned_defect"
CASES = [name for name in FACTS if name.startswith("aamsoftmax/") and name != ALIGNED]


def load(name):
    options = FACTS[name]["ctor"]
    loss = AAMSoftmax(
        options["nOut"],
        options["nClasses"],
        margin=options["margin"],
        scale=options["scale"],
        easy_margin=options.get("easy_margin", False),
    )
    loss.load_state_dict({"weight": torch.from_numpy(ARRAYS[f"{name}/param.weight"])})
    return loss, torch.from_numpy(ARRAYS[f"{name}/x"]), torch.from_numpy(ARRAYS[f"{name}/label"])


def slow_aamsoftmax(x, weight, labels, margin, scale, easy_margin):
    """The loss of one batch given as lists, through the angles themselves."""
    total = 0.0
    for row, label in zip(x, labels, strict=True):
        logits = []
        for column, centre in enumerate(weight):
            product = sum(a * b for a, b in zip(row, centre, strict=True))
            cosine = max(-1.0, min(1.0, product / (math.hypot(*row) * math.hypot(*centre))))
            angle = math.acos(cosine)
            if column == label and easy_margin:
                cosine = math.cos(angle + margin) if angle < math.pi / 2 else cosine
            elif column == label:
                small = angle + margin < math.pi
                cosine = math.cos(angle + margin) if small else cosine - margin * math.sin(math.pi - margin)
            logits.append(scale * cosine)
        highest = max(logits)
        total += highest + math.log(sum(math.exp(logit - highest) for logit in logits)) - logits[label]
    return total / len(x)


@pytest.mark.parametrize("name", CASES)
def test_reference(name):
    loss, x, labels = load(name)
    x.requires_grad_()
    output = loss(x, labels)
    output.loss.backward()
    assert output.loss.item() == pytest.approx(FACTS[name]["loss"], rel=1e-5)
    accuracy = 100 * (output.logits.argmax(1) == output.targets).float().mean()
    assert accuracy == pytest.approx(FACTS[name]["metric"])
    for key, grad in (("grad_x", x.grad), ("grad.weight", loss.weight.grad)):
        expected = ARRAYS[f"{name}/{key}"]
        np.testing.assert_allclose(grad.numpy(), expected, atol=1e-4 * np.abs(expected).max())


def angles_all_around(dtype):
    """Embeddings in a plane at angles from 0 to pi to their class, the boundaries included."""
    # Closely around the changes of rule: pi / 2, pi - 0.5 and pi - 0.2.
    angles = torch.tensor([0.02, 0.3, 1.5, 1.56, 1.58, 2.2, 2.63, 2.65, 2.93, 2.95, 3.1], dtype=dtype)
    x = torch.stack([3 * angles.cos(), 3 * angles.sin(), 0 * angles], dim=1)
    weight = torch.tensor([[2.0, 0.0, 0.0], [0.5, 0.1, 0.2], [0.3, -1.0, 0.2]], dtype=dtype)
    return x, weight, torch.zeros(len(angles), dtype=torch.int64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("easy_margin", [False, True])
@pytest.mark.parametrize("margin", [0.0, 0.2, 0.5])
def test_against_loops(dtype, easy_margin, margin):
    x, weight, labels = angles_all_around(dtype)
    loss = AAMSoftmax(3, 3, margin, 30.0, easy_margin).to(dtype)
    loss.load_state_dict({"weight": weight})
    tolerance = 2e-5 if dtype == torch.float32 else 1e-10
    for one in range(len(x)):
        row, label = x[one : one + 1], labels[one : one + 1]
        expected = slow_aamsoftmax(row.tolist(), weight.tolist(), label.tolist(), margin, 30.0, easy_margin)
        assert loss(row, label).loss.item() == pytest.approx(expected, rel=tolerance, abs=tolerance)
    expected = slow_aamsoftmax(x.tolist(), weight.tolist(), labels.tolist(), margin, 30.0, easy_margin)
    assert loss(x, labels).loss.item() == pytest.approx(expected, rel=tolerance)


def test_no_margin_is_scaled_cosine_softmax():
    torch.manual_seed(0)
    loss = AAMSoftmax(6, 5, margin=0.0, scale=10.0)
    x, labels = torch.randn(4, 6), torch.tensor([1, 4, 0, 4])
    cosines = torch.nn.functional.cosine_similarity(x[:, None], loss.weight[None], dim=2)
    torch.testing.assert_close(loss(x, labels).logits, 10 * cosines)


def test_margin_may_change_between_steps():
    torch.manual_seed(0)
    loss = AAMSoftmax(6, 5, margin=0.0)
    x, labels = torch.randn(4, 6), torch.tensor([1, 4, 0, 4])
    without = loss(x, labels).loss
    loss.margin = 0.4
    assert loss(x, labels).loss > without


@pytest.mark.parametrize("easy_margin", [False, True])
def test_embeddings_on_their_class_vector(easy_margin):
    loss, x, labels = load(ALIGNED)
    loss.easy_margin = easy_margin
    # The second pair has cosines of exactly 1 and -1, where the slope of the sine is infinite.
    axis = torch.eye(3, 48)
    for weight, rows in (
        (loss.weight.detach(), x),
        (loss.weight.detach(), -x),
        (axis, axis[:2]),
        (axis, -axis[:2]),
    ):
        loss.weight.data.copy_(weight)
        loss.zero_grad()
        rows = rows.clone().requires_grad_()
        value = loss(rows, labels).loss
        value.backward()
        assert value.isfinite() and rows.grad.isfinite().all() and loss.weight.grad.isfinite().all()
        assert rows.grad.norm() < 1e3


def test_aligned_value_is_the_reference():
    loss, x, labels = load(ALIGNED)
    assert loss(x, labels).loss.item() == pytest.approx(FACTS[ALIGNED]["loss"], rel=1e-5)


@pytest.mark.parametrize("options", [{"margin": -0.1}, {"margin": 2.0}, {"scale": 0.0}, {"scale": math.nan}])
def test_options_out_of_range(options):
    with pytest.raises(VouchError, match=next(iter(options))):
        AAMSoftmax(4, 3, **options)


def test_initialisation():
    torch.manual_seed(0)
    weight = AAMSoftmax(512, 300).weight
    assert weight.std().item() == pytest.approx((2 / 812) ** 0.5, rel=0.02)
