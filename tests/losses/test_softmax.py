"""Softmax cross-entropy against a reference vector and against loops."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from vouch.losses.softmax import Softmax

GOLDEN = Path(__file__).parents[1] / "golden"
ARRAYS = np.load(GOLDEN / "voxceleb_trainer_losses.npz")
FACTS = json.loads((GOLDEN / "voxceleb_trainer_losses.json").read_text())["softmax"]


def slow_softmax(x, weight, bias, labels):
    total = 0.0
    for row, label in zip(x, labels, strict=True):
        products = [sum(a * b for a, b in zip(row, w, strict=True)) for w in weight]
        scores = [product + offset for product, offset in zip(products, bias, strict=True)]
        total += math.log(sum(math.exp(score) for score in scores)) - scores[label]
    return total / len(x)


def load():
    loss = Softmax(48, 20)
    keys = ("fc.weight", "fc.bias")
    loss.load_state_dict({key: torch.from_numpy(ARRAYS[f"softmax/param.{key}"]) for key in keys})
    return loss, torch.from_numpy(ARRAYS["softmax/x"]), torch.from_numpy(ARRAYS["softmax/label"])


def test_reference():
    loss, x, labels = load()
    x.requires_grad_()
    output = loss(x, labels)
    output.loss.backward()
    assert output.loss.item() == pytest.approx(FACTS["loss"], rel=1e-5)
    assert 100 * (output.logits.argmax(1) == output.targets).float().mean() == pytest.approx(FACTS["metric"])
    for name, grad in (
        ("grad_x", x.grad),
        ("grad.fc.weight", loss.fc.weight.grad),
        ("grad.fc.bias", loss.fc.bias.grad),
    ):
        expected = ARRAYS[f"softmax/{name}"]
        np.testing.assert_allclose(grad.numpy(), expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_against_loops(dtype):
    loss, x, labels = load()
    loss, x = loss.to(dtype), x.to(dtype)
    expected = slow_softmax(x.tolist(), loss.fc.weight.tolist(), loss.fc.bias.tolist(), labels.tolist())
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    assert loss(x, labels).loss.item() == pytest.approx(expected, rel=tolerance)
