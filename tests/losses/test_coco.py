"""Congenerous cosine loss against reference vectors made by running pyannote.audio 1, and against loops."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from vouch.losses.coco import Coco

GOLDEN = Path(__file__).parents[1] / "golden"
ARRAYS = np.load(GOLDEN / "pyannote_losses.npz")
FACTS = json.loads((GOLDEN / "pyannote_losses.json").read_text())


def slow_coco(x, centers, labels, scale):
    """The loss of one batch given as lists."""
    total = 0.0
    for row, label in zip(x, labels, strict=True):
        logits = []
        for center in centers:
            product = sum(a * b for a, b in zip(row, center, strict=True))
            logits.append(scale * product / (math.hypot(*row) * math.hypot(*center)))
        total += math.log(sum(math.exp(logit) for logit in logits)) - logits[label]
    return total / len(x)


def load(scale):
    loss = Coco(16, 11, scale)
    loss.load_state_dict({"centers": torch.from_numpy(ARRAYS["W"])})
    return loss, torch.from_numpy(ARRAYS["x"]), torch.from_numpy(ARRAYS["y_class"])


@pytest.mark.parametrize(("name", "scale"), [("coco_default", "auto"), ("coco_alpha6", 6.0)])
def test_reference(name, scale):
    loss, x, labels = load(scale)
    x.requires_grad_()
    output = loss(x, labels)
    output.loss.backward()
    assert loss.scale == pytest.approx(FACTS[name]["scale"])
    assert output.loss.item() == pytest.approx(FACTS[name]["loss"], rel=2e-5)
    np.testing.assert_allclose(output.logits.numpy(), ARRAYS[f"{name}/logits"], atol=2e-5)
    for key, grad in (("grad_x", x.grad), ("grad_p0", loss.centers.grad)):
        expected = ARRAYS[f"{name}/{key}"]
        np.testing.assert_allclose(grad.numpy(), expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_against_loops(dtype, scale):
    loss, x, labels = load(scale)
    loss, x = loss.to(dtype), x.to(dtype)
    expected = slow_coco(x.tolist(), loss.centers.tolist(), labels.tolist(), scale)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    assert loss(x, labels).loss.item() == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_embeddings_on_their_centers(sign):
    loss = Coco(4, 4)
    x = (sign * loss.centers.detach()).requires_grad_()
    output = loss(x, torch.arange(4))
    output.loss.backward()
    assert output.loss.isfinite() and x.grad.isfinite().all() and loss.centers.grad.isfinite().all()


def test_initialisation():
    torch.manual_seed(0)
    centers = Coco(512, 300).centers
    assert centers.std().item() == pytest.approx(1.0, rel=0.02) and abs(centers.mean().item()) < 0.02
