"""Triplet loss against reference vectors of pyannote.audio and voxceleb_trainer and against loops."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from vouch.base.errors import VouchError
from vouch.losses.distances import DISTANCES
from vouch.losses.mining import MINING, Triplets
from vouch.losses.triplet import CLAMPS, Triplet

GOLDEN = Path(__file__).parents[1] / "golden"
PYANNOTE = np.load(GOLDEN / "pyannote_losses.npz")
PYANNOTE_FACTS = json.loads((GOLDEN / "pyannote_losses.json").read_text())
TRAINER = np.load(GOLDEN / "voxceleb_trainer_losses.npz")
TRAINER_FACTS = json.loads((GOLDEN / "voxceleb_trainer_losses.json").read_text())


def batch(speakers, utterances, dtype=torch.float32, dim=6):
    """A shuffled batch."""
    generator = torch.Generator().manual_seed(5)
    labels = torch.arange(speakers).repeat_interleave(utterances)
    labels = labels[torch.randperm(len(labels), generator=generator)]
    return torch.randn(len(labels), dim, dtype=dtype, generator=generator), labels


@pytest.mark.parametrize("name", [name for name in PYANNOTE_FACTS if name.startswith("triplet_")])
def test_pyannote_reference(name):
    _, metric, clamp, mining, margin = name.split("_")
    facts = PYANNOTE_FACTS[name]
    loss = Triplet(16, 4, 3, mining=mining, metric=metric, margin=float(margin[1:]), clamp=clamp)
    x = torch.from_numpy(PYANNOTE["x"]).requires_grad_()
    output = loss(x, torch.from_numpy(PYANNOTE["y_triplet"]))
    output.loss.backward()
    assert output.loss.item() == pytest.approx(facts["loss"], rel=2e-6)
    expected = PYANNOTE[f"{name}/grad_x"]
    np.testing.assert_allclose(x.grad, expected, atol=1e-5 * np.abs(expected).max())
    # The logits of "easy" are those of all triplets, of which the right ones are the easy ones.
    right = (output.logits[:, 0] >= output.logits[:, 1]).sum() if mining == "easy" else len(output.logits)
    assert right == facts.get("n_triplets", right)


@pytest.mark.parametrize("name", [name for name in TRAINER_FACTS if name.startswith("triplet/")])
def test_voxceleb_trainer_reference(name):
    facts = TRAINER_FACTS[name]
    margin = facts["ctor"]["margin"]
    loss = Triplet(48, 8, metric="squared", margin=margin, clamp="positive")
    x = torch.from_numpy(TRAINER[f"{name}/x"]).flatten(0, 1).requires_grad_()
    anchor, negative = 2 * torch.arange(8), 2 * torch.tensor(facts["negidx"]) + 1
    output = loss.triplet_loss(DISTANCES["squared"].pairwise(x), Triplets(anchor, anchor + 1, negative))
    output.loss.backward()
    # The original adds 1e-6 to every component of a difference.
    unit = torch.nn.functional.normalize(x.detach().double(), dim=1).tolist()

    def shifted(i, j):
        return sum((a - b + 1e-6) ** 2 for a, b in zip(unit[i], unit[j], strict=True))

    triplets = zip(anchor.tolist(), negative.tolist(), strict=True)
    with_offset = sum(max(0.0, shifted(a, a + 1) - shifted(a, n) + margin) for a, n in triplets) / 8
    assert with_offset == pytest.approx(facts["loss"], rel=1e-5)
    assert output.loss.item() == pytest.approx(facts["loss"], rel=4e-5)
    expected = TRAINER[f"{name}/grad_x"].reshape(16, 48)
    np.testing.assert_allclose(x.grad, expected, atol=1e-4 * np.abs(expected).max())


def test_hardest_rank_reference_with_its_own_mining():
    name = "triplet/rank0_hard"
    options = TRAINER_FACTS[name]["ctor"]
    loss = Triplet(48, 8, mining="rank", metric="squared", clamp="positive", **options)
    x = torch.from_numpy(TRAINER[f"{name}/x"]).flatten(0, 1).requires_grad_()
    # All second utterances before all first ones, and speakers backwards: only the order within a speaker counts.
    order = torch.cat([torch.arange(14, -1, -2), torch.arange(15, 0, -2)])
    output = loss(x[order], order // 2)
    output.loss.backward()
    assert output.loss.item() == pytest.approx(TRAINER_FACTS[name]["loss"], rel=4e-5)
    expected = TRAINER[f"{name}/grad_x"].reshape(16, 48)
    np.testing.assert_allclose(x.grad, expected, atol=1e-4 * np.abs(expected).max())


def slow_triplet(x, labels, metric, clamp, margin):
    """The loss over all triplets of embeddings and labels given as lists."""

    def distance(a, b):
        if metric == "euclidean":
            return math.dist(a, b)
        cosine = sum(p * q for p, q in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)
        return {"cosine": 1 - cosine, "squared": 2 - 2 * cosine, "angular": math.acos(cosine)}[metric]

    margin *= {"cosine": 2, "euclidean": 2, "angular": math.pi, "squared": 1}[metric]
    losses = []
    for a, p, n in itertools.permutations(range(len(x)), 3):
        if labels[a] == labels[p] != labels[n]:
            difference = distance(x[a], x[p]) - distance(x[a], x[n])
            losses.append(
                {
                    "positive": max(0.0, difference + margin),
                    "sigmoid": 1 / (1 + math.exp(-10 * (difference + margin))),
                    "softmargin": math.log(1 + math.exp(difference)),
                }[clamp]
            )
    return sum(losses) / len(losses)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("clamp", CLAMPS)
@pytest.mark.parametrize("metric", DISTANCES)
def test_against_loops(metric, clamp, dtype):
    x, labels = batch(3, 3, dtype)
    loss = Triplet(6, 3, 3, mining="all", metric=metric, margin=0.15, clamp=clamp)
    expected = slow_triplet(x.tolist(), labels.tolist(), metric, clamp, 0.15)
    assert loss(x, labels).loss.item() == pytest.approx(expected, rel=1e-5 if dtype == torch.float32 else 1e-11)


@pytest.mark.parametrize("mining", MINING)
def test_logits(mining):
    x, labels = batch(4, 2)
    torch.manual_seed(0)
    output = Triplet(6, 4, mining=mining, metric="euclidean", hard_rank=1)(x, labels)
    rows = {"all": 48, "easy": 48, "negative": 8, "hard": 8, "rank": 4, "semihard": 4}[mining]
    assert output.logits.shape == (rows, 2) and output.targets.tolist() == [0] * rows
    distance = torch.cdist(x, x)
    pairs = {
        (-distance[a, p].item(), -distance[a, n].item())
        for a, p, n in itertools.permutations(range(8), 3)
        if labels[a] == labels[p] != labels[n]
    }
    for own, other in output.logits.tolist():
        assert min(abs(own - p) + abs(other - n) for p, n in pairs) < 1e-5


@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("metric", DISTANCES)
def test_gradient(mining, metric):
    loss = Triplet(6, 4, mining=mining, metric=metric, hard_rank=1)
    x, labels = batch(4, 2, torch.float64)

    def value(x):
        torch.manual_seed(0)
        return loss(x, labels).loss

    assert torch.autograd.gradcheck(value, x.requires_grad_())


def test_no_easy_triplet():
    # Positives are opposite, negatives at right angles: no triplet is in the right order.
    x = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], requires_grad=True)
    labels = torch.tensor([0, 0, 1, 1])
    output = Triplet(2, 2, mining="easy", metric="cosine")(x, labels)
    output.loss.backward()
    assert output.loss.item() == 0 and torch.equal(x.grad, torch.zeros(4, 2))
    assert len(output.logits) == 8 and not (output.logits.argmax(dim=1) == output.targets).any()


@pytest.mark.parametrize("kind", ["zeros", "one zero", "identical", "opposite", "tiny", "huge"])
@pytest.mark.parametrize("mining", MINING)
def test_degenerate_embeddings(mining, kind):
    for metric, clamp in itertools.product(DISTANCES, CLAMPS):
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
        output = Triplet(6, 4, mining=mining, metric=metric, clamp=clamp, hard_rank=1)(x, labels)
        output.loss.backward()
        assert output.loss.isfinite() and output.logits.isfinite().all() and x.grad.isfinite().all(), (metric, clamp)


def test_separated_and_confused_speakers():
    labels = torch.tensor([0, 1, 0, 1])
    separated = torch.eye(2)[labels]
    confused = separated[torch.tensor([0, 0, 1, 1])]
    # d(a, p) - d(a, n) is -1 for separated speakers and 1, or 0 for half of the negatives, for confused ones.
    positive = Triplet(2, 2, metric="cosine", clamp="positive", margin=0.1)
    assert positive(separated, labels).loss.item() == 0
    assert positive(confused, labels).loss.item() == pytest.approx(1.2)
    sigmoid = Triplet(2, 2, mining="all", metric="cosine", clamp="sigmoid", margin=0.0)
    assert sigmoid(separated, labels).loss.item() == pytest.approx(1 / (1 + math.exp(10)), rel=1e-4)
    assert sigmoid(confused, labels).loss.item() == pytest.approx((1 / (1 + math.exp(-10)) + 0.5) / 2, rel=1e-6)
    softmargin = Triplet(2, 2, mining="negative", metric="cosine", margin=0.7)
    assert softmargin(separated, labels).loss.item() == pytest.approx(math.log(1 + math.exp(-1)))


def test_margin_of_mining_is_the_margin_of_the_loss():
    # d(a, p) is 0 and d(a, n) is 1 or 2, of which only 1 is within the margin of 0.6 * 2.
    x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [-1.0, 0.0], [-1.0, 0.0]])
    loss = Triplet(2, 3, mining="semihard", metric="cosine", margin=0.6)
    for seed in range(20):
        torch.manual_seed(seed)
        logits = loss(x, torch.tensor([0, 0, 1, 1, 2, 2])).logits
        assert logits[[0, 2], 1].tolist() == [-1.0, -1.0]


@pytest.mark.parametrize("mining", MINING)
def test_the_host_never_waits_for_the_device(mining):
    # Tensors without data make every step fail that would have to look at values.
    x = torch.empty(12, 6, device="meta", requires_grad=True)
    labels = torch.empty(12, dtype=torch.int64, device="meta")
    for metric, clamp in itertools.product(DISTANCES, CLAMPS):
        output = Triplet(6, 6, mining=mining, metric=metric, clamp=clamp, hard_rank=4).compute(x, labels)
        output.loss.backward()


def test_batches_it_is_not_defined_for():
    with pytest.raises(VouchError, match="triplet needs 2 utterances of each of 2 or more speakers, not 3"):
        Triplet(6, 4)(torch.randn(3, 6), torch.tensor([0, 0, 1]))
    with pytest.raises(VouchError, match="triplet needs 2 utterances"):
        Triplet(6, 4)(torch.randn(2, 6), torch.tensor([0, 0]))
    with pytest.raises(VouchError, match="hard_rank 10 needs batches of at least 12 speakers, not 4"):
        Triplet(6, 4, mining="rank")(*batch(4, 2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"utterances_per_speaker": 1}, "at least 2 utterances"),
        ({"mining": "rank", "utterances_per_speaker": 3}, "'rank' takes exactly 2 utterances per speaker, not 3"),
        ({"mining": "semihard", "utterances_per_speaker": 4}, "'semihard' takes exactly 2"),
        ({"mining": "semi-hard"}, "unknown mining of triplet 'semi-hard'.*'semihard'"),
        ({"metric": "cosin"}, "unknown metric of triplet 'cosin'.*'cosine'"),
        ({"clamp": "sigmod"}, "unknown clamp of triplet 'sigmod'.*'sigmoid'"),
        ({"margin": -0.1}, "margin must be a number from 0, not -0.1"),
        ({"margin": math.nan}, "margin"),
        ({"margin": math.inf}, "margin"),
        ({"hard_rank": -1}, "hard_rank must be at least 0, not -1"),
        ({"hard_prob": 1.5}, "hard_prob must be from 0 to 1, not 1.5"),
        ({"hard_prob": math.nan}, "hard_prob"),
    ],
)
def test_unusable_options(options, message):
    with pytest.raises(VouchError, match=message):
        Triplet(6, 4, **options)


def test_there_are_no_weights():
    assert not list(Triplet(6, 4).parameters())
