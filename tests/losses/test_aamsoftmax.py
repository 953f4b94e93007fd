"""Additive angular margin softmax against reference vectors made by running two toolkits, and loops over angles."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from vouch.base.errors import VouchError
from vouch.losses.aamsoftmax import AAMSoftmax

GOLDEN = Path(__file__).parents[1] / "golden"
ARRAYS = np.load(GOLDEN / "voxceleb_trainer_losses.npz")
FACTS = json.loads((GOLDEN / "voxceleb_trainer_losses.json").read_text())
ALIGNED = "aamsoftmax/exactly_aligned_defect"
CASES = [name for name in FACTS if name.startswith("aamsoftmax/") and name != ALIGNED]
PYANNOTE_ARRAYS = np.load(GOLDEN / "pyannote_losses.npz")
PYANNOTE_FACTS = json.loads((GOLDEN / "pyannote_losses.json").read_text())
PYANNOTE_CASES = {
    "aam_m0.05_s10": {"margin": 0.05, "scale": 10.0},
    "aam_default": {"margin": 0.1, "scale": "auto"},
    "aam_m0.3_scale30": {"margin": 0.3, "scale": 30.0},
    "aam_m0_s10": {"margin": 0.0, "scale": 10.0},
    "aam_m0.05_s10_aligned": {"margin": 0.05, "scale": 10.0},
}


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


def slow_margin(cosine, margin, rule):
    """The cosine of the own class with the margin, through the angle itself."""
    angle = math.acos(cosine)
    if rule == "easy":
        return math.cos(angle + margin) if angle < math.pi / 2 else cosine
    if rule == "periodic":
        guarded = max(-1 + 1e-4, min(1 - 1e-4, cosine))
        return cosine + math.cos(math.acos(guarded) + margin) - guarded
    if angle + margin < math.pi:
        return math.cos(angle + margin)
    return cosine - {"linear": margin * math.sin(math.pi - margin), "continuous": 1 + math.cos(math.pi - margin)}[rule]


def slow_aamsoftmax(x, weight, labels, margin, scale, rule):
    """The loss of one batch given as lists."""
    total = 0.0
    for row, label in zip(x, labels, strict=True):
        logits = []
        for column, centre in enumerate(weight):
            product = sum(a * b for a, b in zip(row, centre, strict=True))
            cosine = max(-1.0, min(1.0, product / (math.hypot(*row) * math.hypot(*centre))))
            logits.append(scale * (slow_margin(cosine, margin, rule) if column == label else cosine))
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


@pytest.mark.parametrize("name", PYANNOTE_CASES)
def test_pyannote_reference(name):
    loss = AAMSoftmax(16, 11, **PYANNOTE_CASES[name], beyond="periodic")
    loss.load_state_dict({"weight": torch.from_numpy(PYANNOTE_ARRAYS["W"])})
    x = torch.from_numpy(PYANNOTE_ARRAYS["x_aligned" if name.endswith("aligned") else "x"]).requires_grad_()
    output = loss(x, torch.from_numpy(PYANNOTE_ARRAYS["y_class"]))
    output.loss.backward()
    assert output.loss.item() == pytest.approx(PYANNOTE_FACTS[name]["loss"], rel=2e-5)
    for key, values in (("logits", output.logits), ("grad_x", x.grad), ("grad_p0", loss.weight.grad)):
        expected = PYANNOTE_ARRAYS[f"{name}/{key}"]
        tolerance = 2e-5 if key == "logits" else 1e-4
        np.testing.assert_allclose(values.numpy(), expected, atol=tolerance * np.abs(expected).max())


def angles_all_around(dtype):
    """Embeddings in a plane at angles from 0 to pi to their class, the boundaries included."""
    # Closely around the changes of rule: pi / 2, pi - 0.5 and pi - 0.2.
    angles = torch.tensor([0.02, 0.3, 1.5, 1.56, 1.58, 2.2, 2.63, 2.65, 2.93, 2.95, 3.1], dtype=dtype)
    x = torch.stack([3 * angles.cos(), 3 * angles.sin(), 0 * angles], dim=1)
    weight = torch.tensor([[2.0, 0.0, 0.0], [0.5, 0.1, 0.2], [0.3, -1.0, 0.2]], dtype=dtype)
    return x, weight, torch.zeros(len(angles), dtype=torch.int64)


RULES = {
    "linear": {},
    "easy": {"easy_margin": True},
    "continuous": {"beyond": "continuous"},
    "periodic": {"beyond": "periodic"},
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("margin", [0.0, 0.2, 0.5])
def test_against_loops(dtype, rule, margin):
    x, weight, labels = angles_all_around(dtype)
    loss = AAMSoftmax(3, 3, margin, 30.0, **RULES[rule]).to(dtype)
    loss.load_state_dict({"weight": weight})
    tolerance = 2e-5 if dtype == torch.float32 else 1e-10
    for one in range(len(x)):
        row, label = x[one : one + 1], labels[one : one + 1]
        expected = slow_aamsoftmax(row.tolist(), weight.tolist(), label.tolist(), margin, 30.0, rule)
        assert loss(row, label).loss.item() == pytest.approx(expected, rel=tolerance, abs=tolerance)
    expected = slow_aamsoftmax(x.tolist(), weight.tolist(), labels.tolist(), margin, 30.0, rule)
    assert loss(x, labels).loss.item() == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("rule", RULES)
def test_gradient_all_around(rule):
    x, weight, labels = angles_all_around(torch.float64)
    loss = AAMSoftmax(3, 3, 0.5, 30.0, **RULES[rule]).double()
    loss.load_state_dict({"weight": weight})
    assert torch.autograd.gradcheck(lambda *_: loss(x, labels).loss, (x.requires_grad_(), loss.weight))


@pytest.mark.parametrize(("beyond", "jump"), [("linear", -0.0198), ("continuous", 0.0), ("periodic", 0.0)])
def test_jump_where_the_angle_exceeds_pi(beyond, jump):
    loss = AAMSoftmax(2, 3, 0.2, 1.0, beyond=beyond).double()
    angles = torch.tensor([math.pi - 0.2 - 1e-7, math.pi - 0.2 + 1e-7], dtype=torch.float64)
    below, above = loss.with_margin(angles.cos())[0]
    assert (above - below).item() == pytest.approx(jump, abs=1e-4)


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
    loss.margin.fill_(0.4)
    assert loss(x, labels).loss > without


@pytest.mark.parametrize("rule", RULES)
def test_embeddings_on_their_class_vector(rule):
    reference, x, labels = load(ALIGNED)
    loss = AAMSoftmax(48, 3, 0.3, 30.0, **RULES[rule])
    loss.load_state_dict(reference.state_dict())
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


def test_unusable_rules():
    with pytest.raises(VouchError, match=r"unknown value of beyond 'perodic'.*'periodic'"):
        AAMSoftmax(4, 3, beyond="perodic")
    with pytest.raises(VouchError, match=r"easy_margin.*beyond 'continuous'"):
        AAMSoftmax(4, 3, easy_margin=True, beyond="continuous")


def test_initialisation():
    torch.manual_seed(0)
    weight = AAMSoftmax(512, 300).weight
    assert weight.std().item() == pytest.approx((2 / 812) ** 0.5, rel=0.02)
