"""Distances against reference vectors of pyannote.audio and against loops."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from vouch.losses import distances
from vouch.losses.distances import DISTANCES

ARRAYS = np.load(Path(__file__).parents[1] / "golden" / "pyannote_losses.npz")


def slow_distance(metric, a, b):
    """Distance of two vectors given as lists."""
    if metric == "euclidean":
        return math.sqrt(sum((p - q) ** 2 for p, q in zip(a, b, strict=True)))
    norms = [math.sqrt(sum(p * p for p in vector)) for vector in (a, b)]
    gap = sum((p / norms[0] - q / norms[1]) ** 2 for p, q in zip(a, b, strict=True))
    # The angle through the half chord, which is as precise near zero as anywhere.
    return {"squared": gap, "cosine": gap / 2, "angular": 2 * math.asin(min(1.0, math.sqrt(gap) / 2))}[metric]


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "angular"])
def test_reference(metric):
    x = torch.from_numpy(ARRAYS["x"])
    result = DISTANCES[metric].pairwise(x).numpy()[np.triu_indices(len(x), 1)]
    np.testing.assert_allclose(result, ARRAYS[f"pdist_{metric}"], rtol=2e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("metric", DISTANCES)
def test_against_loops(metric, dtype):
    x = torch.randn(7, 5, dtype=dtype, generator=torch.Generator().manual_seed(0))
    x[3] = x[0] + 0.1
    result = DISTANCES[metric].pairwise(x)
    assert result.dtype == dtype
    expected = [[slow_distance(metric, a, b) for b in x.tolist()] for a in x.tolist()]
    tolerance = 2e-6 if dtype == torch.float32 else 1e-14
    off_diagonal = ~torch.eye(7, dtype=torch.bool)
    torch.testing.assert_close(
        result[off_diagonal], torch.tensor(expected, dtype=dtype)[off_diagonal], rtol=10 * tolerance, atol=tolerance
    )
    # Next to zero the slope of the arc cosine is limited.
    assert result.diagonal().abs().max() < (5e-4 if metric == "angular" else tolerance)


@pytest.mark.parametrize("metric", DISTANCES)
def test_largest_distance(metric):
    x = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    largest = DISTANCES[metric].pairwise(x)[0, 1].item()
    # A margin for "squared" is not a share of the largest distance.
    assert largest == pytest.approx({"squared": 4.0}.get(metric, DISTANCES[metric].margin_unit), abs=5e-4)


def test_euclidean_distance_of_long_and_close_vectors():
    x = torch.full((2, 64), 1000.0)
    x[1, 0] += 2.0**-10
    x.requires_grad_()
    distance = DISTANCES["euclidean"].pairwise(x)
    assert distance[0, 1].item() == distance[1, 0].item() == 2.0**-10
    distance[0, 1].backward()
    assert x.grad[:, 0].tolist() == [-1.0, 1.0] and not x.grad[:, 1:].any()


def test_euclidean_gradient_of_equal_vectors_is_zero():
    x = torch.ones(3, 4, requires_grad=True)
    distance = DISTANCES["euclidean"].pairwise(x)
    distance.sum().backward()
    assert not distance.any() and not x.grad.any()


def test_euclidean_blocks(monkeypatch):
    x = torch.randn(7, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    weights = torch.randn(7, 7, generator=torch.Generator().manual_seed(1))
    results = []
    for elements in (distances.BLOCK_ELEMENTS, 3 * 7 * 5, 1):
        monkeypatch.setattr(distances, "BLOCK_ELEMENTS", elements)
        value = DISTANCES["euclidean"].pairwise(x)
        results.append((value, *torch.autograd.grad((value * weights).sum(), x)))
    for value, grad in results[1:]:
        assert torch.equal(value, results[0][0])
        torch.testing.assert_close(grad, results[0][1])


@pytest.mark.parametrize("metric", DISTANCES)
@pytest.mark.parametrize("kind", ["zeros", "one zero", "identical", "opposite", "tiny", "huge"])
def test_degenerate_embeddings(metric, kind):
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    if kind == "zeros":
        x.zero_()
    elif kind == "one zero":
        x[0] = 0
    elif kind in ("identical", "opposite"):
        x[:] = torch.tensor([0.6, 0.8, 0.0, 0.0])
        if kind == "opposite":
            x[::2] *= -1
    else:
        x *= 1e-12 if kind == "tiny" else 1e6
    x.requires_grad_()
    distance = DISTANCES[metric].pairwise(x)
    distance.square().sum().backward()
    assert distance.isfinite().all() and x.grad.isfinite().all()


@pytest.mark.parametrize("metric", DISTANCES)
def test_gradient(metric):
    x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    # Without the diagonal, where the Euclidean distance has no derivative.
    assert torch.autograd.gradcheck(lambda x: DISTANCES[metric].pairwise(x).triu(1), x)


@pytest.mark.parametrize("metric", DISTANCES)
def test_memory_does_not_grow_with_pairs_times_dimensions(metric):
    x = torch.randn(40, 30, requires_grad=True)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor.numel()) or tensor, lambda x: x):
        DISTANCES[metric].pairwise(x)
    assert saved and max(saved) <= 40 * 40
