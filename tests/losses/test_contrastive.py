"""Contrastive loss against reference vectors of pyannote.audio and against loops."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from vouch.base.errors import VouchError
from vouch.losses.contrastive import Contrastive
from vouch.losses.distances import DISTANCES

GOLDEN = Path(__file__).parents[1] / "golden"
ARRAYS = np.load(GOLDEN / "pyannote_losses.npz")
FACTS = json.loads((GOLDEN / "pyannote_losses.json").read_text())


def batch(speakers, utterances, dtype=torch.float32):
    """A shuffled batch."""
    generator = torch.Generator().manual_seed(5)
    labels = torch.arange(speakers).repeat_interleave(utterances)
    labels = labels[torch.randperm(len(labels), generator=generator)]
    return torch.randn(len(labels), 6, dtype=dtype, generator=generator), labels


@pytest.mark.parametrize("name", [name for name in FACTS if name.startswith("contrastive_")])
def test_reference(name):
    metric, margin, *scaled = name.split("_")[1:]
    loss = Contrastive(16, 4, 3, metric=metric, margin=float(margin[1:]))
    assert loss.margin == pytest.approx(FACTS[name].get("margin_", loss.margin))
    x = torch.from_numpy(ARRAYS["x"] * np.float32(0.1 if scaled else 1.0)).requires_grad_()
    output = loss(x, torch.from_numpy(ARRAYS["y_triplet"]))
    output.loss.backward()
    assert output.loss.item() == pytest.approx(FACTS[name]["loss"], rel=2e-6)
    expected = ARRAYS[f"{name}/grad_x"]
    np.testing.assert_allclose(x.grad, expected, atol=1e-5 * np.abs(expected).max())


def slow_pairs(x, labels, metric):
    """Distance of each pair, and whether it is of one speaker, for embeddings and labels given as lists."""
    for i, j in itertools.combinations(range(len(x)), 2):
        cosine = sum(p * q for p, q in zip(x[i], x[j], strict=True)) / math.hypot(*x[i]) / math.hypot(*x[j])
        distances = {
            "euclidean": math.dist(x[i], x[j]),
            "cosine": 1 - cosine,
            "squared": 2 - 2 * cosine,
            "angular": math.acos(cosine),
        }
        yield distances[metric], labels[i] == labels[j]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("utterances", [2, 3])
@pytest.mark.parametrize("metric", DISTANCES)
def test_against_loops(metric, utterances, dtype):
    x, labels = batch(3, utterances, dtype)
    margin = 0.6
    output = Contrastive(6, 3, utterances, metric=metric, margin=margin)(x, labels)
    pairs = list(slow_pairs(x.tolist(), labels.tolist(), metric))
    reach = margin * {"cosine": 2, "euclidean": 2, "angular": math.pi, "squared": 1}[metric]
    terms = [d**2 if same else max(reach - d, 1e-8) ** 2 for d, same in pairs]
    tolerance = 1e-5 if dtype == torch.float32 else 1e-11
    assert output.loss.item() == pytest.approx(sum(terms) / (2 * len(terms)), rel=tolerance)
    # The rows are ordered by speaker; which is right does not depend on that.
    right = [(d < reach / 2) == same for d, same in pairs]
    assert (output.logits.argmax(dim=1) == output.targets).sum() == sum(right)
    assert output.targets.sum() == sum(same for _, same in pairs) and len(output.logits) == len(pairs)


@pytest.mark.parametrize("metric", DISTANCES)
def test_gradient(metric):
    x, labels = batch(4, 2, torch.float64)
    loss = Contrastive(6, 4, metric=metric, margin=0.4)
    assert torch.autograd.gradcheck(lambda x: loss(x, labels).loss, x.requires_grad_())


@pytest.mark.parametrize("kind", ["zeros", "one zero", "identical", "opposite", "tiny", "huge"])
@pytest.mark.parametrize("metric", DISTANCES)
def test_degenerate_embeddings(metric, kind):
    x, labels = batch(4, 2)
    if kind == "zeros":
        x.zero_()
    elif kind == "one zero":
        x[0] = 0
    elif kind in ("identical", "opposite"):
        x[:] = torch.tensor([0.6, 0.8, 0.0, 0.0, 0.0, 0.0])
        if kind == "opposite":
            x[::2] *= -1
    else:
        x *= 1e-12 if kind == "tiny" else 1e6
    x.requires_grad_()
    output = Contrastive(6, 4, metric=metric)(x, labels)
    output.loss.backward()
    assert output.loss.isfinite() and output.logits.isfinite().all() and x.grad.isfinite().all()


def test_identical_and_separated_speakers():
    labels = torch.tensor([0, 1, 0, 1])
    loss = Contrastive(2, 2, margin=0.2)
    assert loss(torch.eye(2)[labels], labels).loss.item() == pytest.approx(0.0, abs=1e-15)
    # Four of the six pairs are of different speakers and lack the whole margin of 0.2 * 2.
    assert loss(torch.ones(4, 2), labels).loss.item() == pytest.approx(4 * 0.4**2 / 12, rel=1e-5)


@pytest.mark.parametrize("metric", DISTANCES)
def test_the_host_never_waits_for_the_device(metric):
    # Tensors without data make every step fail that would have to look at values.
    x = torch.empty(12, 6, device="meta", requires_grad=True)
    labels = torch.empty(12, dtype=torch.int64, device="meta")
    Contrastive(6, 6, metric=metric).compute(x, labels).loss.backward()


def test_batches_it_is_not_defined_for():
    with pytest.raises(VouchError, match="contrastive needs 2 utterances of each of 2 or more speakers, not 3"):
        Contrastive(6, 4)(torch.randn(3, 6), torch.tensor([0, 0, 1]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"utterances_per_speaker": 1}, "at least 2 utterances"),
        ({"metric": "manhattan"}, "unknown metric of contrastive 'manhattan'.*cosine, euclidean, angular, squared"),
        ({"margin": 0.0}, "margin must be a positive number, not 0.0"),
        ({"margin": math.nan}, "margin"),
        ({"margin": math.inf}, "margin"),
    ],
)
def test_unusable_options(options, message):
    with pytest.raises(VouchError, match=message):
        Contrastive(6, 4, **options)


def test_there_are_no_weights():
    assert not list(Contrastive(6, 4).parameters())
