"""Generalised end-to-end loss against reference vectors of several implementations and against loops."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from fill import fill_state

from vouch.base.errors import VouchError
from vouch.losses.ge2e import GE2E
from vouch.models.lstm import GE2ELSTM

GOLDEN = Path(__file__).parents[1] / "golden"
ARRAYS = np.load(GOLDEN / "ge2e_loss.npz")
FACTS = json.loads((GOLDEN / "ge2e_loss.json").read_text())
CLAMPING_ARRAYS = np.load(GOLDEN / "voxceleb_trainer_losses.npz")
CLAMPING_FACTS = json.loads((GOLDEN / "voxceleb_trainer_losses.json").read_text())
CASES = {  # name of the case: embeddings, options
    "softmax_ss": ("emb", {"reduction": "sum"}),
    "softmax_ss_unnormalised": ("emb_unnormalised", {"reduction": "sum"}),
    "softmax_ss_w3_bm1": ("emb", {"reduction": "sum"}),
    "softmax_clampedcos": ("emb", {"reduction": "sum", "min_cosine": 1e-6}),
    "contrast": ("emb", {"reduction": "sum", "min_cosine": 1e-6, "variant": "contrast"}),
    "contrast_unnormalised": (
        "emb_unnormalised",
        {"reduction": "sum", "min_cosine": 1e-6, "variant": "contrast"},
    ),
    "softmax_mean_eps": ("emb", {}),
}


def grouped_labels(speakers, utterances):
    return torch.arange(speakers).repeat_interleave(utterances)


@pytest.mark.parametrize("name", CASES)
def test_reference(name):
    source, options = CASES[name]
    facts = FACTS[name]
    x = torch.from_numpy(ARRAYS[source]).flatten(0, 1).requires_grad_()
    loss = GE2E(16, 4, utterances_per_speaker=5, **options)
    with torch.no_grad():
        loss.w.fill_(facts.get("w", 10.0))
        loss.b.fill_(facts.get("b", -5.0))
    output = loss(x, grouped_labels(4, 5))
    output.loss.backward()
    assert output.loss.item() == pytest.approx(facts["loss"], rel=1e-4)
    expected = ARRAYS[f"{name}/grad_emb"].reshape(20, 16)
    difference = x.grad.numpy() - expected
    if name == "softmax_mean_eps":
        # That one takes embeddings to be of unit length already, so it may differ along each of them.
        unit = ARRAYS[source].reshape(20, 16)
        difference -= (difference * unit).sum(axis=1, keepdims=True) * unit
    assert np.abs(difference).max() < 2e-4 * np.abs(expected).max()
    assert loss.w.grad.item() == pytest.approx(facts["grad_w"], rel=1e-3)
    # The softmax does not depend on b; the originals' gradient comes from a constant inside the logarithm.
    assert loss.b.grad.item() == pytest.approx(facts["grad_b"], rel=1e-3, abs=2e-5)


def test_reference_similarities():
    loss = GE2E(16, 4, utterances_per_speaker=5)
    x = torch.from_numpy(ARRAYS["emb"]).flatten(0, 1)
    logits = loss(x, grouped_labels(4, 5)).logits.detach().numpy()
    np.testing.assert_allclose((logits + 5) / 10, ARRAYS["cossim"].reshape(20, 4), atol=1e-5)


@pytest.mark.parametrize("utterances", [2, 3, 4])
def test_clamping_reference(utterances):
    name = f"ge2e/G{utterances}"
    x = torch.from_numpy(CLAMPING_ARRAYS[f"{name}/x"]).flatten(0, 1).requires_grad_()
    loss = GE2E(48, 8, utterances_per_speaker=utterances, min_cosine=1e-6)
    output = loss(x, grouped_labels(8, utterances))
    output.loss.backward()
    assert output.loss.item() == pytest.approx(CLAMPING_FACTS[name]["loss"], rel=1e-5)
    accuracy = 100 * (output.logits.argmax(1) == output.targets).float().mean()
    assert accuracy == pytest.approx(CLAMPING_FACTS[name]["metric"], rel=1e-5)
    expected = CLAMPING_ARRAYS[f"{name}/grad_x"]
    gradient = x.grad.reshape(expected.shape).numpy()
    np.testing.assert_allclose(gradient, expected, atol=1e-4 * np.abs(expected).max())
    assert loss.w.grad.item() == pytest.approx(float(CLAMPING_ARRAYS[f"{name}/grad.w"]), rel=1e-4)
    assert loss.b.grad.item() == pytest.approx(float(CLAMPING_ARRAYS[f"{name}/grad.b"]), abs=1e-6)


def test_reference_training_steps():
    facts = FACTS["step"]
    model = GE2ELSTM(facts["nfeats"], facts["proj"], facts["hidden"], facts["num_layer"])
    fill_state(model, facts["fill_salt"])
    x = torch.from_numpy(ARRAYS["step/x"])
    utterances = 5
    loss = GE2E(facts["proj"], 4, utterances_per_speaker=utterances, reduction="sum")
    optimizer = torch.optim.SGD([*model.parameters(), *loss.parameters()], lr=facts["lr"])
    for step in facts["steps"]:
        optimizer.zero_grad()
        value = loss(model(x), grouped_labels(len(x) // utterances, utterances)).loss
        assert value.item() == pytest.approx(step["loss"], rel=1e-4)
        value.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), facts["clip_model"])
        assert norm.item() == pytest.approx(step["grad_norm_model_before_clip"], rel=1e-3)
        torch.nn.utils.clip_grad_norm_(loss.parameters(), facts["clip_wb"])
        optimizer.step()
        assert loss.w.item() == pytest.approx(step["w_after"], rel=1e-5)
    np.testing.assert_allclose(model(x).detach().numpy(), ARRAYS["step/emb_after"], atol=1e-4)


def slow_ge2e(groups, w, b, variant, min_cosine):
    """Losses of all utterances; `groups` is a list of speakers, each a list of embeddings, each a list."""

    def mean(vectors):
        return [sum(values) / len(vectors) for values in zip(*vectors, strict=True)]

    losses = []
    for own, speaker in enumerate(groups):
        for left_out, embedding in enumerate(speaker):
            similarities = []
            for other, utterances in enumerate(groups):
                kept = [u for i, u in enumerate(utterances) if other != own or i != left_out]
                centroid = mean(kept)
                product = sum(a * c for a, c in zip(embedding, centroid, strict=True))
                cosine = product / (math.hypot(*embedding) * math.hypot(*centroid))
                similarities.append(w * max(cosine, min_cosine) + b)
            if variant == "softmax":
                losses.append(math.log(sum(math.exp(s) for s in similarities)) - similarities[own])
            else:
                sigmoids = [1 / (1 + math.exp(-s)) for s in similarities]
                losses.append(1 - sigmoids[own] + max(s for k, s in enumerate(sigmoids) if k != own))
    return losses


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("variant", ["softmax", "contrast"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize(("speakers", "utterances"), [(2, 2), (3, 4), (5, 3)])
@pytest.mark.parametrize("min_cosine", [-1.0, 1e-6])
def test_against_loops(dtype, variant, reduction, speakers, utterances, min_cosine):
    generator = torch.Generator().manual_seed(speakers)
    x = torch.randn(speakers, utterances, 6, generator=generator, dtype=dtype) + 0.3
    losses = slow_ge2e(x.tolist(), 10.0, -5.0, variant, min_cosine)
    expected = sum(losses) / (len(losses) if reduction == "mean" else 1)
    loss = GE2E(6, 9, utterances, variant, reduction, min_cosine).to(dtype)
    # Labels neither sorted nor contiguous: the loss has to find the groups itself.
    labels = 7 - grouped_labels(speakers, utterances)
    order = torch.randperm(len(labels), generator=generator)
    value = loss(x.flatten(0, 1)[order], labels[order]).loss
    assert value.item() == pytest.approx(expected, rel=2e-5 if dtype == torch.float32 else 1e-10)


@pytest.mark.parametrize("variant", ["softmax", "contrast"])
@pytest.mark.parametrize("min_cosine", [-1.0, 1e-6])
@pytest.mark.parametrize(
    "x", [torch.zeros(6, 4), torch.ones(6, 4), torch.tensor([[1.0, 0, 0, 0], [-1.0, 0, 0, 0]] * 3)]
)
def test_degenerate_embeddings(variant, min_cosine, x):
    x = x.clone().requires_grad_()
    loss = GE2E(4, 3, 2, variant, min_cosine=min_cosine)
    value = loss(x, grouped_labels(3, 2)).loss
    value.backward()
    assert value.isfinite() and x.grad.isfinite().all()
    assert loss.w.grad.isfinite() and loss.b.grad.isfinite()


def test_contrast_gradient():
    loss = GE2E(5, 3, 3, "contrast").double()
    x = torch.randn(9, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: loss(x, grouped_labels(3, 3)).loss, x)


def test_w_stays_positive_and_comes_back():
    x = torch.eye(3).repeat_interleave(2, dim=0)
    loss = GE2E(3, 3, 2)
    with torch.no_grad():
        loss.w.fill_(-2.0)
    output = loss(x, grouped_labels(3, 2))
    # With w at its floor all similarities are b and the loss is that of guessing among three.
    assert output.loss.item() == pytest.approx(math.log(3), abs=1e-5)
    output.loss.backward()
    assert loss.w.grad < 0, "separated speakers ask for a larger w"


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ([0, 0, 0, 1, 1, 1], "6 utterances of 2 speakers, 3 to 3"),
        ([0, 0, 1, 1, 2], "5 utterances of 3 speakers, 1 to 2"),
        ([0, 1, 1, 1], "4 utterances of 2 speakers, 1 to 3"),
        ([0, 0], "2 utterances of 1 speakers"),
        ([], "0 utterances"),
    ],
)
def test_incomplete_batches(labels, found):
    loss = GE2E(4, 3, utterances_per_speaker=2)
    with pytest.raises(VouchError, match=f"2 utterances of each of 2 or more speakers, not {found}"):
        loss(torch.randn(len(labels), 4), torch.tensor(labels, dtype=torch.int64))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"utterances_per_speaker": 1}, "at least 2 utterances"),
        ({"variant": "sofmax"}, "unknown variant of ge2e 'sofmax'.*'softmax'"),
        ({"reduction": "avg"}, "unknown reduction of ge2e 'avg'"),
        ({"min_cosine": 1.0}, "min_cosine"),
    ],
)
def test_unusable_options(options, message):
    with pytest.raises(VouchError, match=message):
        GE2E(4, 3, **options)
