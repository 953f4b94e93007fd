"""Mining of triplets against reference lists and against loops."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from vouch.base.errors import VouchError
from vouch.losses.distances import DISTANCES
from vouch.losses.mining import MINING, PAIRS_ONLY, MiningOptions

GOLDEN = Path(__file__).parents[1] / "golden"
PYANNOTE = np.load(GOLDEN / "pyannote_losses.npz")
TRAINER = np.load(GOLDEN / "voxceleb_trainer_losses.npz")
TRAINER_FACTS = json.loads((GOLDEN / "voxceleb_trainer_losses.json").read_text())
OPTIONS = MiningOptions(margin=0.4, hard_rank=2, hard_prob=0.5)


def listed(triplets):
    """The triplets that count as a list of (anchor, positive, negative)."""
    counted = torch.tensor(True) if triplets.counted is None else triplets.counted
    *indices, counted = (part.flatten() for part in torch.broadcast_tensors(*triplets[:3], counted))
    return [tuple(row) for row in torch.stack(indices, dim=1)[counted].tolist()]


def random_distances(speakers, utterances, seed=0):
    x = torch.randn(speakers * utterances, 6, generator=torch.Generator().manual_seed(seed))
    return DISTANCES["squared"].pairwise(x)


def slow_triplets(mining, distances, utterances):
    """Triplets by loops over lists of distances."""
    n = len(distances)
    triplets = []
    for a in range(n):
        positives = [p for p in range(n) if p // utterances == a // utterances and p != a]
        negatives = [q for q in range(n) if q // utterances != a // utterances]
        if mining == "hard":
            positives = [max(positives, key=lambda p: distances[a][p])]
        if mining in ("hard", "negative"):
            negatives = [min(negatives, key=lambda q: distances[a][q])]
        triplets += [
            (a, p, q) for p in positives for q in negatives if mining != "easy" or distances[a][p] <= distances[a][q]
        ]
    return triplets


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "angular"])
@pytest.mark.parametrize("mining", ["all", "hard", "negative", "easy"])
def test_reference(metric, mining):
    distances = DISTANCES[metric].pairwise(torch.from_numpy(PYANNOTE["x"]))
    triplets = listed(MINING[mining](distances, 3, OPTIONS))
    assert triplets == [tuple(row) for row in PYANNOTE[f"triplets_{metric}_{mining}"].tolist()]


@pytest.mark.parametrize("shape", [(2, 2), (5, 2), (2, 4), (3, 3)])
@pytest.mark.parametrize("mining", sorted(set(MINING) - set(PAIRS_ONLY)))
def test_against_loops(mining, shape):
    distances = random_distances(*shape)
    assert listed(MINING[mining](distances, shape[1], OPTIONS)) == slow_triplets(mining, distances.tolist(), shape[1])


def negatives_drawn(mining, distances, options, draws=600):
    """How often each speaker was the negative of each: list of counters."""
    counters = [Counter() for _ in range(len(distances) // 2)]
    for _ in range(draws):
        for speaker, (a, p, q) in enumerate(listed(MINING[mining](distances, 2, options))):
            assert (a, p, q % 2) == (2 * speaker, 2 * speaker + 1, 1)
            counters[speaker][q // 2] += 1
    return counters


def check_uniform(counter, expected):
    """Every one of `expected`, none else, and none more than six standard deviations off its share."""
    assert set(counter) == set(expected)
    draws, share = counter.total(), 1 / len(expected)
    for count in counter.values():
        assert abs(count - draws * share) <= 6 * (draws * share * (1 - share)) ** 0.5


@pytest.mark.parametrize(("hard_rank", "hard_prob"), [(0, 1.0), (2, 1.0), (5, 1.0), (2, 0.0)])
def test_rank_draws_uniformly(hard_rank, hard_prob):
    distances = random_distances(7, 2)
    torch.manual_seed(0)
    counters = negatives_drawn("rank", distances, MiningOptions(0.1, hard_rank, hard_prob))
    for speaker, counter in enumerate(counters):
        others = [other for other in range(7) if other != speaker]
        others.sort(key=lambda other: distances[2 * speaker, 2 * other + 1].item())
        check_uniform(counter, others[: hard_rank + 1] if hard_prob else others)


def test_rank_mixes_with_its_probability():
    torch.manual_seed(0)
    distances = random_distances(7, 2)
    counters = negatives_drawn("rank", distances, MiningOptions(0.1, 0, 0.25), draws=2000)
    for counter in counters:
        # The closest one is drawn by rank, or by chance as one of six.
        assert counter.most_common(1)[0][1] / 2000 == pytest.approx(0.25 + 0.75 / 6, abs=0.05)


@pytest.mark.parametrize("margin", [0.0, 1.0, 10.0])
def test_semihard_draws_uniformly(margin):
    distances = random_distances(7, 2)
    torch.manual_seed(0)
    counters = negatives_drawn("semihard", distances, MiningOptions(margin, 10, 0.5))
    sizes = set()
    for speaker, counter in enumerate(counters):
        others = [other for other in range(7) if other != speaker]
        own = distances[2 * speaker, 2 * speaker + 1]
        band = [other for other in others if own < distances[2 * speaker, 2 * other + 1] < own + margin]
        sizes.add(len(band))
        check_uniform(counter, band or others)
    if margin == 1.0:
        assert 0 in sizes and max(sizes) > 1, "the case must hold empty and non-empty bands"


@pytest.mark.parametrize("seed", range(20))
def test_the_positive_is_never_the_negative(seed):
    torch.manual_seed(seed)
    for mining in PAIRS_ONLY:
        for distances in (torch.zeros(8, 8), random_distances(4, 2, seed), torch.full((8, 8), 1e30)):
            assert all(q // 2 != a // 2 for a, _, q in listed(MINING[mining](distances, 2, OPTIONS)))


@pytest.mark.parametrize("name", [name for name in TRAINER_FACTS if name.startswith("triplet/")])
def test_reference_negatives_could_have_been_drawn(name):
    options, negatives = TRAINER_FACTS[name]["ctor"], TRAINER_FACTS[name]["negidx"]
    distances = DISTANCES["squared"].pairwise(torch.from_numpy(TRAINER[f"{name}/x"]).flatten(0, 1))
    np.testing.assert_allclose(distances[::2, 1::2], -TRAINER[f"{name}/similarity"], atol=2e-5)
    mining = "semihard" if options["hard_rank"] < 0 else "rank"
    torch.manual_seed(0)
    given = MiningOptions(options["margin"], max(options["hard_rank"], 0), options["hard_prob"])
    for speaker, counter in enumerate(negatives_drawn(mining, distances, given, draws=300)):
        # Without a candidate in the band, the original may draw the positive itself.
        if negatives[speaker] == speaker:
            assert mining == "semihard" and len(counter) == 7
        else:
            assert negatives[speaker] in counter
            assert options["hard_prob"] < 1 or set(counter) == {negatives[speaker]}


@pytest.mark.parametrize("mining", PAIRS_ONLY)
def test_draws_are_those_of_the_global_generator(mining):
    distances = random_distances(12, 2)
    torch.manual_seed(4)
    state = torch.get_rng_state()
    first = listed(MINING[mining](distances, 2, OPTIONS))
    second = listed(MINING[mining](distances, 2, OPTIONS))
    torch.set_rng_state(state)
    assert listed(MINING[mining](distances, 2, OPTIONS)) == first
    assert listed(MINING[mining](distances, 2, OPTIONS)) == second != first


def test_batch_too_small_for_the_rank():
    message = "hard_rank 10 needs batches of at least 12 speakers, not 11; set hard_rank to at most 9, or .* 24"
    with pytest.raises(VouchError, match=message):
        MINING["rank"](random_distances(11, 2), 2, MiningOptions(0.1, 10, 0.5))
    MINING["rank"](random_distances(12, 2), 2, MiningOptions(0.1, 10, 0.5))


@pytest.mark.parametrize("mining", MINING)
def test_shapes_do_not_depend_on_values(mining):
    # Tensors without data make every step fail that would have to wait for a device.
    on_host = MINING[mining](random_distances(6, 2), 2, OPTIONS)
    without_data = MINING[mining](torch.empty(12, 12, device="meta"), 2, OPTIONS)
    for host, other in zip(on_host, without_data, strict=True):
        assert (host is None) == (other is None)
        if host is not None:
            assert host.shape == other.shape and host.dtype == other.dtype
