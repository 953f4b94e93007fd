"""Additive margin softmax against reference vectors made by running voxceleb_trainer, and against loops."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from vouch.base.errors import VouchError
from vouch.losses.amsoftmax import AMSoftmax

GOLDEN = Path(__file__).parents[1] / "golden"
ARRAYS = np.load(GOLDEN / "voxceleb_trainer_losses.npz")
FACTS = json.loads((GOLDEN / "voxceleb_trainer_losses.json").read_text())
CASES = [name for name in FACTS if name.startswith("amsoftmax/")]


def slow_amsoftmax(x, weight, labels, margin, scale):
    """The loss of one batch given as lists."""
    total = 0.0
    for row, label in zip(x, labels, strict=True):
        logits = []
        for column, centre in enumerate(weight):
            product = sum(a * b for a, b in zip(row, centre, strict=True))
            cosine = product / (math.hypot(*row) * math.hypot(*centre))
            logits.append(scale * (cosine - margin if column == label else cosine))
        highest = max(logits)
        total += highest + math.log(sum(math.exp(logit - highest) for logit in logits)) - logits[label]
    return total / len(x)


def load(name):
    options = FACTS[name]["ctor"]
    loss = AMSoftmax(options["nOut"], options["nClasses"], margin=options["margin"], scale=options["scale"])
    loss.load_state_dict({"weight": torch.from_numpy(ARRAYS[f"{name}/param.W"]).T})
    return loss, torch.from_numpy(ARRAYS[f"{name}/x"]), torch.from_numpy(ARRAYS[f"{name}/label"])


@pytest.mark.parametrize("name", CASES)
def test_reference(name):
    loss, x, labels = load(name)
    x.requires_grad_()
    output = loss(x, labels)
    output.loss.backward()
    assert output.loss.item() == pytest.approx(FACTS[name]["loss"], rel=1e-5)
    accuracy = 100 * (output.logits.argmax(1) == output.targets).float().mean()
    assert accuracy == pytest.approx(FACTS[name]["metric"])
    for key, grad in (("grad_x", x.grad), ("grad.W", loss.weight.grad.T)):
        expected = ARRAYS[f"{name}/{key}"]
        np.testing.assert_allclose(grad.numpy(), expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("margin", "scale"), [(0.0, 1.0), (0.2, 30.0), (1.0, 64.0)])
def test_against_loops(dtype, margin, scale):
    _, x, labels = load(CASES[0])
    loss = AMSoftmax(48, 20, margin, scale).to(dtype)
    value = loss(x.to(dtype), labels).loss.item()
    expected = slow_amsoftmax(x.tolist(), loss.weight.tolist(), labels.tolist(), margin, scale)
    assert value == pytest.approx(expected, rel=1e-5 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize("options", [{"margin": -0.1}, {"margin": 1.5}, {"margin": math.nan}])
def test_options_out_of_range(options):
    with pytest.raises(VouchError, match="margin must be from 0 to 1"):
        AMSoftmax(4, 3, **options)


def test_initialisation():
    torch.manual_seed(0)
    weight = AMSoftmax(512, 300).weight
    assert weight.std().item() == pytest.approx((2 / 812) ** 0.5, rel=0.02)
