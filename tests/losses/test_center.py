"""Softmax with centre loss against reference vectors made by running pyannote.audio 1, and against loops."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from vouch.base.errors import VouchError
from vouch.losses.center import Center

GOLDEN = Path(__file__).parents[1] / "golden"
ARRAYS = np.load(GOLDEN / "pyannote_losses.npz")
FACTS = json.loads((GOLDEN / "pyannote_losses.json").read_text())


def slow_parts(x, weight, centers, labels):
    """Cross-entropy and centre part of one batch given as lists."""
    entropy = distance = 0.0
    for row, label in zip(x, labels, strict=True):
        logits = [sum(a * b for a, b in zip(row, w, strict=True)) for w in weight]
        highest = max(logits)
        entropy += highest + math.log(sum(math.exp(logit - highest) for logit in logits)) - logits[label]
        own = centers[label]
        cosine = sum(a * b for a, b in zip(row, own, strict=True)) / (math.hypot(*row) * math.hypot(*own))
        distance += (1 - cosine) ** 2 / 2
    return entropy / len(x), distance / len(x)


def load(loss_weight):
    loss = Center(16, 11, loss_weight)
    weight = torch.from_numpy(ARRAYS["W"])
    loss.load_state_dict({"weight": weight, "centers": weight.flip(0)})
    return loss, torch.from_numpy(ARRAYS["x"]), torch.from_numpy(ARRAYS["y_class"])


@pytest.mark.parametrize(("name", "loss_weight"), [("center_w1", 1.0), ("center_w0.1", 0.1)])
def test_reference(name, loss_weight):
    loss, x, labels = load(loss_weight)
    x.requires_grad_()
    output = loss(x, labels)
    output.loss.backward()
    assert output.loss.item() == pytest.approx(FACTS[name]["loss"], rel=2e-5)
    for key, grad in (("grad_x", x.grad), ("grad_p0", loss.weight.grad), ("grad_p1", loss.centers.grad)):
        expected = ARRAYS[f"{name}/{key}"]
        np.testing.assert_allclose(grad.numpy(), expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("loss_weight", [0.0, 0.5, 3.0])
def test_against_loops(dtype, loss_weight):
    loss, x, labels = load(loss_weight)
    loss, x = loss.to(dtype), x.to(dtype)
    parts = slow_parts(x.tolist(), loss.weight.tolist(), loss.centers.tolist(), labels.tolist())
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    assert loss(x, labels).loss.item() == pytest.approx(parts[0] + loss_weight * parts[1], rel=tolerance)


def test_logits_are_the_classifier():
    loss, x, labels = load(1.0)
    output = loss(x, labels)
    torch.testing.assert_close(output.logits, x @ loss.weight.T)
    assert output.targets is labels


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_embeddings_on_their_centers(sign):
    loss = Center(4, 4)
    x = (sign * loss.centers.detach()).requires_grad_()
    output = loss(x, torch.arange(4))
    output.loss.backward()
    entropy = torch.nn.functional.cross_entropy(output.logits, torch.arange(4)).item()
    assert output.loss.item() - entropy == pytest.approx(0.0 if sign > 0 else 2.0, abs=1e-6)
    assert all(grad.isfinite().all() for grad in (x.grad, loss.weight.grad, loss.centers.grad))


@pytest.mark.parametrize("loss_weight", [-0.1, math.nan, math.inf])
def test_weight_out_of_range(loss_weight):
    with pytest.raises(VouchError, match="loss_weight must be 0 or more"):
        Center(4, 3, loss_weight)


def test_initialisation():
    torch.manual_seed(0)
    loss = Center(100, 400)
    assert loss.centers.std().item() == pytest.approx(1.0, rel=0.02)
    assert loss.weight.abs().max().item() == pytest.approx(0.1, rel=0.01)
    assert loss.weight.std().item() == pytest.approx(0.1 / 3**0.5, rel=0.02)
